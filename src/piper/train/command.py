"""How a command of ours ends: an exit code, and one sentence where something went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from piper.errors import describe_error
from piper.jobs import calm_threads, stops_as_interrupt
from piper.messages import print_error, say
from piper.options import guess
from piper.system import open_standard_streams

EXTRA = "train"
"""Brings what these commands import; what one of them needs beside, it names itself."""
FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT


def report_failure(error: Exception) -> int:
    """Show what the user can mend, in an `except` block; return the exit code.

    What is a fault of the program is raised again.
    """
    said = describe_error(error, EXTRA)
    if said is None:
        raise error
    print_error(said)
    return FAILED


def run_command(work: Callable[[], int], if_stopped: str) -> int:
    """Return the exit code of a command's work.

    Args:
        work: Does it, and returns its exit code.
        if_stopped: What to say after Ctrl+C, SIGTERM or SIGHUP: what was kept, and how to go on.
    """
    open_standard_streams()
    calm_threads()
    with stops_as_interrupt() as received:
        try:
            Path.cwd()  # torch ends the process where the folder is gone
            return work()
        except BrokenPipeError:
            # Who read the output has gone: `… | head`. Nothing is written to it any more.
            sys.stdout = None
            return FAILED
        except Exception as error:
            return report_failure(error)
        except KeyboardInterrupt:
            say(if_stopped, sys.stderr)
            return 128 + received[0] if received else INTERRUPTED


SUBCOMMANDS = {
    "import": ("piper.train.formats.cli", "make a dataset from recordings and texts in any layout"),
    "split": ("piper.train.splitting.cli", "cut a long recording with its text into utterances"),
    "check": ("piper.train.check.cli", "say what is wrong with a dataset"),
    "review": ("piper.train.review.cli", "open a page to decide on the issues of a check"),
    "excerpts": ("piper.train.excerpts.cli", "add words and short phrases as utterances"),
    "phonemes": (
        "piper.train.data.phonemes_cli",
        "show the phonemes of the texts",
    ),
    "prepare": ("piper.train.prepare_cli", "fill the cache that training reads"),
    "copy": ("piper.train.copying.cli", "copy a voice into one that speaks faster"),
    "evaluate": ("piper.train.evaluate.cli", "say how good voices are"),
    "listening-test": (
        "piper.train.listening_test.cli",
        "let people compare voices blindly, on a page",
    ),
    "export": ("piper.train.export_for", "write a voice for sherpa-onnx, Sonata or a browser"),
    "publish": ("piper.train.publish", "put a voice on the Hugging Face Hub"),
}
"""Each subcommand's module, which has `main(argv)`, and what it does."""

_AFTER_TRAINING = ("evaluate", "listening-test", "export", "publish")
WITH_LANGUAGE = ("import", "split")
"""Subcommands whose --language is that of the texts; the environment says that of the messages."""

TRAINER_SUBCOMMANDS = {
    "fit": "train a voice, or go on with it",
    "validate": "measure a checkpoint on the held-out recordings",
}
ABSENT_SUBCOMMANDS = {
    "preprocess": "`import` makes a dataset of recordings and texts in any layout, and training "
    "prepares it by itself (or `prepare`, beforehand)",
    "train": "it is called `fit`",
    "test": "`validate` measures the losses, and `evaluate` says how good a voice is",
    "predict": "export a voice (`python -m piper.train.export_onnx`) and speak with it "
    "(`python -m piper`)",
}
PROGRAM = "python -m piper.train"
WRONG_USAGE = 2


def run_subcommand(arguments: Sequence[str]) -> int | None:
    """Run the subcommand that a command line begins with; None where it is for the trainer."""
    first = arguments[0] if arguments else "--help"
    if first in SUBCOMMANDS:
        module, _ = SUBCOMMANDS[first]
        return int(import_module(module).main(arguments[1:]))
    if first in ("-h", "--help"):
        print(describe_subcommands())
        return 0 if arguments else WRONG_USAGE
    if first.startswith("-") or first in TRAINER_SUBCOMMANDS:
        return None
    if first in ABSENT_SUBCOMMANDS:
        print_error(f"There is no `{first}` here: {ABSENT_SUBCOMMANDS[first]}.")
        return WRONG_USAGE
    meant = guess(first, [*SUBCOMMANDS, *TRAINER_SUBCOMMANDS])
    print_error(f"{PROGRAM} has no subcommand {first}{meant} ({PROGRAM} --help lists them)")
    return WRONG_USAGE


def describe_subcommands() -> str:
    """Return the subcommands with what they do, in the order in which a voice comes to be."""
    lines = {name: purpose for name, (_, purpose) in SUBCOMMANDS.items()}
    # What trains comes after what prepares, and before what measures.
    ordered = dict.fromkeys(name for name in lines if name not in _AFTER_TRAINING)
    ordered |= dict.fromkeys([*TRAINER_SUBCOMMANDS, *lines])
    lines |= TRAINER_SUBCOMMANDS
    return "\n".join(
        [
            f"usage: {PROGRAM} VERB [options]",
            "",
            "From recordings to a voice; each verb has --help.",
            "",
            *(f"  {name:<16}{lines[name]}" for name in ordered),
            "",
            f"{PROGRAM}.export_onnx makes a checkpoint a voice, python -m piper speaks with it.",
            "Messages are in the language of LANG, or of --language (en, ru).",
        ]
    )
