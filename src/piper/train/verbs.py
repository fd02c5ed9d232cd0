"""The verbs of `python -m piper.train` that need no Lightning, and so start at once."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

VERBS = {
    "import": ("piper.train.formats.cli", "make a dataset from recordings and texts in any layout"),
    "split": ("piper.train.splitting.cli", "cut a long recording with its text into utterances"),
    "check": ("piper.train.check.cli", "say what is wrong with a dataset"),
    "review": ("piper.train.review.cli", "open a page to decide on what the check doubts"),
    "excerpts": (
        "piper.train.excerpts.cli",
        "add words and short phrases as utterances",
    ),
    "phonemes": ("piper.train.data.phonemes_cli", "show what a voice will hear of the texts"),
    "evaluate": ("piper.train.evaluate.cli", "say how good voices are"),
    "prepare": ("piper.train.data.prepare_cli", "fill the cache that training reads"),
    "listening-test": (
        "piper.train.listening_test.cli",
        "let people compare voices blindly, on a page",
    ),
}
"""Each verb's module, which has `main(argv)`, and what it does."""


def run_verb(arguments: Sequence[str]) -> int | None:
    """Run the verb that a command line begins with.

    Args:
        arguments: Without the program's name.

    Returns:
        Its exit code; None where it is none of these verbs.
    """
    if not arguments or arguments[0] not in VERBS:
        return None
    module, _ = VERBS[arguments[0]]
    return int(import_module(module).main(arguments[1:]))


def describe_verbs() -> str:
    """Return what the verbs do, in a line for `--help`."""
    return "; ".join(f"{name}: {purpose}" for name, (_, purpose) in VERBS.items())
