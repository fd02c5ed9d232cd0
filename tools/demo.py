"""`make demo`: real recordings become a voice that speaks, in minutes, on a CPU.

Each stage leaves its result in the demo's folder, so that an interrupted demo goes on where it
was. Training has a budget of time that all runs together may spend.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tools" / "runpod")]

from relay import Relay, Tee, stop_signals  # noqa: E402

from demo_report import measure_constant_answer, measure_wav, read_validations  # noqa: E402
from piper.messages import print_error, say  # noqa: E402
from piper.train.resuming import COMMAND_VARIABLE, quote_command  # noqa: E402

SENTENCE = "Привет, это тест."
HELLO = "Доброе утро!"
VOICE_NAME = "ru_RU-demo-tiny"


class DemoError(Exception):
    """A stage failed; the text says what to do."""


class Demo:
    """The stages of the demo and how long each took.

    Args:
        folder: Where everything that the demo makes lies.
        minutes: How long to train, over all runs together.
        utterances: How many recordings to train on.
    """

    def __init__(self, folder: Path, minutes: float, utterances: int) -> None:
        self.folder = folder
        self.minutes = minutes
        self.utterances = utterances
        self.state_path = folder / "state.json"
        self.state: dict[str, Any] = {"seconds": {}, "done": []}
        if self.state_path.exists():
            self.state = json.loads(self.state_path.read_text(encoding="utf-8"))
        if minutes > self.state.get("minutes", minutes) and "training" in self.state["done"]:
            # More time was given: what follows the recordings is done again, from the checkpoint.
            self.state["done"] = ["recordings"]
        self.state["minutes"] = minutes
        self.voice = folder / f"{VOICE_NAME}.onnx"
        self.wav = folder / "output.wav"
        self.log_path = folder / "demo.log"

    def run(self) -> None:
        """Run all stages that are not done yet, then tell what came of them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        say(
            "This demo trains a tiny voice for a few minutes on a CPU. It shows the way from\n"
            "recordings to speech, not a good voice: that takes hours on a GPU and more data.\n",
        )
        self.stage("recordings", self.make_dataset)
        self.stage("training", self.train)
        self.stage("export", self.export)
        self.stage("speech", self.speak)
        self.stage("figures", self.measure)
        self.summarise()

    def stage(self, name: str, work: Callable[[], None]) -> None:
        """Do a stage once, and remember that it is done and how long it took in all."""
        if name in self.state["done"]:
            say(f"== {name}: already there")
            return
        say(f"== {name}")
        begin = time.monotonic()
        try:
            work()
            self.state["done"].append(name)
        finally:
            seconds = self.state["seconds"].get(name, 0.0) + time.monotonic() - begin
            self.state["seconds"][name] = seconds
            self._save_state()
        say(f"   {name} took {seconds:.0f} s")

    def make_dataset(self) -> None:
        """Fetch real Russian speech, or make synthetic speech where that cannot be had."""
        fetch = [
            ROOT / "tools/datasets/fetch_festvox_ru.py",
            *("--output-dir", self.folder / "festvox_ru"),
            *("--limit", self.utterances, "--max-seconds", 8),
        ]
        if run_tool(fetch, self.log_path) == 0:
            self.state["dataset"] = "festvox_ru"
            _set_quality(self.folder / "festvox_ru" / "config.json")
            return
        say(
            "   festvox-ru cannot be had here, so synthetic speech by espeak-ng is used instead.",
        )
        make = [ROOT / "tools/datasets/make_test_dataset.py", "--output-dir"]
        self.must_run([*make, self.folder / "test_ru"])
        self.state["dataset"] = "test_ru"
        _set_quality(self.folder / "test_ru" / "config.json")

    @property
    def dataset(self) -> Path:
        """The folder of the recordings that are trained on."""
        return self.folder / str(self.state["dataset"])

    def last_checkpoint(self) -> Path | None:
        """Return the newest last.ckpt of the demo's trainings."""
        found = list(self.folder.glob("lightning_logs/version_*/checkpoints/last.ckpt"))
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def train(self) -> None:
        """Train until the budget of time is spent, going on from where an earlier run was."""
        seconds = round(self.minutes * 60)
        clock = f"00:{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        command: list[Any] = [
            *("-m", "piper.train", "fit", f"--data.dataset_dir={self.dataset}"),
            *("--data.batch_size=8", "--data.num_workers=0", "--data.num_test_examples=2"),
            *(f"--trainer.default_root_dir={self.folder}", f"--trainer.max_time={clock}"),
            *("--trainer.accelerator=cpu", "--trainer.check_val_every_n_epoch=10"),
            # One short run shows more with larger steps; a voice for use takes the defaults.
            *("--model.learning_rate=1e-3", "--model.learning_rate_d=2e-4"),
            *("--save_minutes=0.5", "--keep_best=1"),
        ]
        checkpoint = self.last_checkpoint()
        if checkpoint is not None:
            command.append(f"--ckpt_path={checkpoint}")
        self.must_run(command, {COMMAND_VARIABLE: "\n".join(demo_command())})

    def export(self) -> None:
        """Write the voice; the export compares it with the network."""
        checkpoint = self.last_checkpoint()
        command = ["-m", "piper.train.export_onnx", "--checkpoint", checkpoint]
        self.must_run([*command, "--output-file", self.voice])

    def speak(self) -> None:
        """Speak the sentence of the quick start."""
        command = ["-m", "piper", "--model", self.voice, "--seed", 1, "--output-file", self.wav]
        self.must_run([*command, "--", SENTENCE])

    def measure(self) -> None:
        """Collect the losses, and what a constant answer would have scored."""
        self.state["validations"] = read_validations(self.folder / "lightning_logs")
        checkpoint = self.last_checkpoint()
        assert checkpoint is not None
        self.state["constant_mel"] = measure_constant_answer(self.dataset, checkpoint)
        self.state["speech"] = measure_wav(self.wav)

    def summarise(self) -> None:
        """Print what was made and where, how long it took, and what to try next."""
        first, last = self.state["validations"][0], self.state["validations"][-1]
        speech = self.state["speech"]
        python = _shown(Path(sys.executable))
        say(f"\n{'what was made':<16}{_shown(self.voice)} and .json beside it")
        say(
            f"{'speech':<16}{_shown(self.wav)}: {speech['seconds']:.2f} s of «{SENTENCE}», "
            f"level {speech['level']:.3f}, clipped samples {speech['clipped']}"
        )
        say(f"{'checkpoint':<16}{_shown(self.last_checkpoint() or self.folder)}")
        say(
            f"{'val_loss':<16}{first['val_loss']:.3f} before the first step, "
            f"{last['val_loss']:.3f} at step {last['step']}"
        )
        say(
            f"{'val_mel':<16}{first['val_mel']:.3f} → {last['val_mel']:.3f} "
            f"({last['val_mel'] / first['val_mel']:.2f} times; the training set's mean mel as a "
            f"constant answer: {self.state['constant_mel']:.3f})"
        )
        times = ", ".join(f"{name} {value:.0f} s" for name, value in self.state["seconds"].items())
        say(f"{'time':<16}{times}")
        say("\nTry next:")
        for words in (
            (*(python, "-m", "piper", "-m", _shown(self.voice)), "-f", "hello.wav", "--", HELLO),
            (python, "-m", "tensorboard.main", f"--logdir={_shown(self.folder)}/lightning_logs"),
            (python, "-m", "piper.train", "fit", "--data.dataset_dir=DIR"),
        ):
            say(f"  {quote_command(words)}")
        over = quote_command(["rm", "-r", _shown(self.folder)])
        say(f"(DIR: a folder of your own recordings.) To start the demo over: {over}")

    def must_run(self, arguments: list[Any], environment: dict[str, str] | None = None) -> None:
        """Run Python with arguments, and stop the demo where it fails."""
        code = run_tool(arguments, self.log_path, environment)
        if code != 0:
            raise DemoError(
                f"The step above ended with code {code}; its last lines say why. Go on with:\n"
                f"  {quote_command(demo_command())}"
            )

    def _save_state(self) -> None:
        temporary = self.state_path.with_suffix(".part")
        temporary.write_text(json.dumps(self.state, ensure_ascii=False, indent=1), encoding="utf-8")
        temporary.replace(self.state_path)


def _shown(path: Path) -> str:
    """Return a path as a person in the present folder would type it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _set_quality(config_path: Path) -> None:
    """Ask for the small quality in the dataset's config.json."""
    data = json.loads(config_path.read_text(encoding="utf-8"))
    data.setdefault("audio", {})["quality"] = "tiny"
    temporary = config_path.with_suffix(".part")
    temporary.write_text(json.dumps(data, ensure_ascii=False, indent=2), encoding="utf-8")
    temporary.replace(config_path)


def demo_command() -> list[str]:
    """Return the command that this demo was started with; it goes on with it, too."""
    if "MAKELEVEL" not in os.environ:
        return list(sys.orig_argv)
    # Variables of make's command line stand in MAKEFLAGS, after its options.
    variables = shlex.split(os.environ.get("MAKEFLAGS", "").partition("-- ")[2])
    words = [word for word in variables if not word.startswith("DEMO_ARGS=")]
    flags = shlex.join(sys.argv[1:])
    return ["make", "demo", *words, *([f"DEMO_ARGS={flags}"] if flags else [])]


def run_tool(
    arguments: list[Any], log_path: Path, environment: dict[str, str] | None = None
) -> int:
    """Run Python with arguments; a signal is passed on to it, and it is waited for.

    Returns:
        Its exit code.

    Raises:
        KeyboardInterrupt: A signal ended it, after it had saved what it has.
    """
    command = [sys.executable, *(str(argument) for argument in arguments)]
    shown = quote_command([_shown(Path(command[0])), *command[1:]])
    tee = Tee(log_path)
    try:
        tee.say(f"   $ {shown}")
        code = Relay(tee).run(command, environment)
    finally:
        tee.close()
    if code in {128 + number for number in stop_signals()}:
        raise KeyboardInterrupt
    return code


def create_parser() -> argparse.ArgumentParser:
    """Return the demo's flags (make demo DEMO_ARGS='…')."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "demo", help="where to put all of it")
    parser.add_argument("--minutes", type=float, default=6.0, help="how long to train, in all")
    parser.add_argument("--utterances", type=int, default=160, help="recordings to train on")
    return parser


def main() -> int:
    """Run the demo; return the exit code."""
    arguments = create_parser().parse_args()
    try:
        Demo(arguments.folder, arguments.minutes, arguments.utterances).run()
    except DemoError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        command = quote_command(demo_command())
        say(f"\nStopped; go on from here with:\n  {command}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
