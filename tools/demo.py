"""`make demo`: real recordings become a voice that a person understands, in minutes, on a CPU.

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
import wave
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools" / name) for name in ("", "runpod", "voices")]

from festvox_ru import (  # noqa: E402
    HELD_OUT,
    RECORDINGS,
    TRAINING,
    divide_recordings,
    load_held_out_names,
    read_lines,
)
from relay import run_logged  # noqa: E402

from piper import PiperVoice, SynthesisConfig  # noqa: E402
from piper.errors import DatasetError, PiperError  # noqa: E402
from piper.files import replace_on_success  # noqa: E402
from piper.messages import print_error, say, translate  # noqa: E402
from piper.progress import ProgressLine  # noqa: E402
from piper.train.aligner.aligner import Aligner, Groups, load_aligner, phonemes_to_groups  # noqa: E402
from piper.train.aligner.features import load_samples  # noqa: E402
from piper.train.checkpoints import find_last_checkpoint  # noqa: E402
from piper.train.data.settings import resolve_settings  # noqa: E402
from piper.train.evaluate.systems import load_rows  # noqa: E402
from piper.train.judges import AUTO, DISTILLMOS, find_quality_predictor, list_missing_judges  # noqa: E402
from piper.train.presets import QUICK  # noqa: E402
from piper.train.quick.features import ALIGNER_NAME, FOLDER  # noqa: E402
from piper.train.resuming import COMMAND_VARIABLE, quote_command  # noqa: E402

SEED = 1
SENTENCE = "Привет, это тест."
HELLO = "Доброе утро!"
VOICE_NAME = "ru_RU-demo-quick"
SAMPLE_RATE = 16000
"""Hertz of the recordings."""
MIN_UTTERANCES = 40
"""Two of them are held out."""
SYNTHETIC_SENTENCES = 160
HELD_OUT_STEP = 14
"""Of the sentences that are spoken in place of recordings."""
SCORES = {
    "DistillMOS": "predicted mean opinion score, 1 to 5; no listening test was made",
    "aligner": "share of the texts' phonemes that it recognises in their places",
}


class Demo:
    """The stages of the demo and how long each took.

    Args:
        folder: Where everything that the demo makes lies.
        minutes: How long to train, over all runs together.
        utterances: How many recordings to take; None: all.
        has_scores: Whether held-out sentences are judged.
    """

    def __init__(
        self, folder: Path, minutes: float, utterances: int | None, *, has_scores: bool
    ) -> None:
        self.folder = folder
        self.minutes = minutes
        self.utterances = utterances
        self.has_scores = has_scores
        self.state_path = folder / "state.json"
        self.state: dict[str, Any] = {"voice": VOICE_NAME, "times": {}, "done": []}
        if self.state_path.exists():
            self.state = json.loads(self.state_path.read_text(encoding="utf-8"))
        if self.state.get("voice") != VOICE_NAME:
            raise PiperError(
                f"{_shown(folder)} holds the demo of an earlier version. Remove it:\n"
                f"  {quote_command(['rm', '-r', _shown(folder)])}"
            )
        if minutes > self.state.get("minutes", minutes) and "training" in self.state["done"]:
            # More time was given: what follows the recordings is done again, from the checkpoint.
            self.state["done"] = ["recordings"]
            self.state.pop("scores", None)
        self.state["minutes"] = minutes
        self.voice = folder / f"{VOICE_NAME}.onnx"
        self.wav = folder / "output.wav"
        self.speech = folder / "speech"
        self.log_path = folder / "demo.log"

    def run(self) -> None:
        """Run all stages that are not done yet, then tell what came of them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        say(
            f"Real recordings become a voice, by {self.minutes:g} minutes of training on a CPU.\n"
            "Stop it when you like (Ctrl+C); run again, it goes on where it was.\n"
        )
        self.stage("recordings", self.make_dataset)
        self.stage("training", self.train)
        self.stage("export", self.export)
        self.stage("speech", self.speak)
        if self.has_scores:
            self.stage("scores", self.judge)
        self.summarise()

    def stage(self, name: str, work: Callable[[], None]) -> None:
        """Do a stage once, and remember that it is done and how long it took in all."""
        if name in self.state["done"]:
            say(f"== {name}: already there")
            return
        say(f"== {name}")
        begin, processor_begin = time.monotonic(), read_processor_seconds()
        try:
            work()
            self.state["done"].append(name)
        finally:
            before, processor_before = self.state["times"].get(name, (0.0, 0.0))
            seconds = before + time.monotonic() - begin
            processor = processor_before + read_processor_seconds() - processor_begin
            self.state["times"][name] = seconds, processor
            self._save_state()
        say(f"   {name} took {seconds:.0f} s, {processor:.0f} s of the processor's time")

    def make_dataset(self) -> None:
        """Fetch real Russian speech, or make synthetic speech where that cannot be had."""
        recordings = self.folder / RECORDINGS
        fetch: list[Any] = [ROOT / "tools/datasets/fetch_festvox_ru.py", "--output-dir", recordings]
        if self.utterances is not None:
            fetch += ["--limit", self.utterances]
        if self.run_python(fetch) == 0:
            held_out = load_held_out_names()
        else:
            say(
                "   festvox-ru cannot be had here, so synthetic speech by espeak-ng is used "
                "instead.",
            )
            recordings = self.folder / "synthetic"
            make = [ROOT / "tools/datasets/make_test_dataset.py", "--output-dir", recordings]
            rate = ["--sample-rate", SAMPLE_RATE]
            self.must_run([*make, *rate, "--sentences", self.utterances or SYNTHETIC_SENTENCES])
            # Each sentence is spoken several times; what is held out is never heard.
            lines = [line.split("|") for line in read_lines(recordings)]
            texts = sorted({text for _, text in lines})[::HELD_OUT_STEP]
            held_out = [name for name, text in lines if text in texts]
        divide_recordings(recordings, held_out, VOICE_NAME, QUICK, SAMPLE_RATE)

    def training_command(self) -> list[Any]:
        """Return what trains until the budget of time is spent, from where an earlier run was."""
        clock = time.strftime("00:%H:%M:%S", time.gmtime(round(60 * self.minutes)))
        return [
            *("-m", "piper.train", "fit", f"--data.dataset_dir={self.folder / TRAINING}"),
            *(f"--trainer.default_root_dir={self.folder}", f"--trainer.max_time={clock}"),
            *("--trainer.accelerator=cpu", "--ckpt_path=last"),
            # The sentences that are judged lie elsewhere, and are judged when training is over.
            *("--data.validation_split=0.02", "--data.num_test_examples=2"),
            *("--validation_quality=off", "--save_minutes=0.5", "--keep_best=0"),
        ]

    def train(self) -> None:
        """Train; on a signal the training saves, and the demo's own command goes on."""
        self.must_run(self.training_command(), {COMMAND_VARIABLE: "\n".join(demo_command())})

    def export(self) -> None:
        """Write the voice; the export compares it with the network."""
        checkpoint = find_last_checkpoint(str(self.folder))
        command = ["-m", "piper.train.export_onnx", "--checkpoint", checkpoint]
        self.must_run([*command, "--output-file", self.voice])

    def speak(self) -> None:
        """Speak the sentence of the quick start, and those that were held out."""
        command = ["-m", "piper", "--model", self.voice, "--seed", SEED, "--output-file", self.wav]
        self.must_run([*command, "--", SENTENCE])
        speak_sentences(self.voice, self.folder / HELD_OUT, self.speech)

    def judge(self) -> None:
        """Score the held-out sentences beside their recordings."""
        for sentence in list_missing_judges([DISTILLMOS]):
            say(f"   {sentence}")
        aligner = self.folder / TRAINING / ".cache" / FOLDER / ALIGNER_NAME
        dataset = self.folder / HELD_OUT
        self.state["scores"] = judge_sentences(self.voice, dataset, self.speech, aligner)

    def summarise(self) -> None:
        """Print what was made and where, how good it is, how long it took, what to try next."""
        with wave.open(str(self.wav)) as file:
            seconds = file.getnframes() / file.getframerate()
        spoken = sorted(self.speech.glob("*.wav"))
        recording = (self.folder / HELD_OUT / "wavs" / spoken[0].name).resolve()
        python = _shown(Path(sys.executable))
        megabytes = self.voice.stat().st_size / 1e6
        say("")
        _tell("the voice", f"{_shown(self.voice)} ({megabytes:.0f} MB) and .json beside it")
        _tell("where to hear", f"{_shown(self.wav)}: «{SENTENCE}», {seconds:.1f} s")
        _tell(
            "",
            f"{_shown(self.speech)}: {len(spoken)} sentences that it was not trained on; "
            f"{_shown(spoken[0])} beside {_shown(recording)}",
        )
        for name, title in SCORES.items():
            if score := self.state.get("scores", {}).get(name):
                spoken_score, recorded = score["spoken"], score["recordings"]
                of_recordings = translate(f"of the recordings {recorded:.2f}")
                _tell(name, f"{spoken_score:.2f}, {of_recordings} ({translate(title)})")
        _tell("checkpoint", _shown(Path(find_last_checkpoint(str(self.folder)) or self.folder)))
        times = self.state["times"]
        _tell("time", ", ".join(f"{translate(name)} {times[name][0]:.0f} s" for name in times))
        _tell("", f"training took {times['training'][1]:.0f} s of the processor's time")
        say("\nTry next:")
        for words in (
            (*(python, "-m", "piper", "-m", _shown(self.voice)), "-f", "hello.wav", "--", HELLO),
            demo_command(max(30.0, 2 * self.minutes)),
            (python, "-m", "piper.train", "fit", "--model.quality=quick", "--data.dataset_dir=DIR"),
        ):
            say(f"  {quote_command(words)}")
        over = quote_command(["rm", "-r", _shown(self.folder)])
        say(f"(DIR: a folder of your own recordings.) To start the demo over: {over}")

    def run_python(self, arguments: list[Any], environment: dict[str, str] | None = None) -> int:
        """Run Python with arguments, see `relay.run_logged`."""
        return run_logged([sys.executable, *map(str, arguments)], self.log_path, environment)

    def must_run(self, arguments: list[Any], environment: dict[str, str] | None = None) -> None:
        """Run Python with arguments, and stop the demo where it fails."""
        code = self.run_python(arguments, environment)
        if code != 0:
            raise PiperError(
                f"The step above ended with code {code}; its last lines say why. Go on with:\n"
                f"  {quote_command(demo_command())}"
            )

    def _save_state(self) -> None:
        with replace_on_success(self.state_path) as temporary:
            temporary.write_text(json.dumps(self.state, indent=1), encoding="utf-8")


def speak_sentences(voice_path: Path, dataset: Path, folder: Path) -> None:
    """Say a dataset's sentences into a folder, a WAV each, named as its recording."""
    voice = PiperVoice.load(voice_path)
    rows = load_rows(resolve_settings(dataset_dir=dataset))
    folder.mkdir(exist_ok=True)
    progress = ProgressLine("Speaking", len(rows), "sentences")
    for done, row in enumerate(rows, 1):
        chunks = list(voice.synthesize(row.text, SynthesisConfig(seed=SEED)))
        samples = np.concatenate([chunk.audio_int16_array for chunk in chunks])
        soundfile.write(folder / row.audio_path.name, samples, voice.config.sample_rate)
        progress.show(done)
    progress.finish(len(rows))


def judge_sentences(
    voice_path: Path, dataset: Path, folder: Path, aligner_path: Path
) -> dict[str, dict[str, float]]:
    """Return scores by name: means over the sentences, of what was spoken and of the recordings.

    `DistillMOS`, where that is installed, is a predicted mean opinion score. `aligner` is the
    share of a text's phonemes that the aligner hears where they should be.
    """
    voice, aligner = PiperVoice.load(voice_path), load_aligner(aligner_path)
    predict = find_quality_predictor(AUTO)
    rows = load_rows(resolve_settings(dataset_dir=dataset))
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    progress = ProgressLine("Measuring", len(rows), "sentences")
    for done, row in enumerate(rows, 1):
        signs = [sign for phonemes in voice.phonemize(row.text) for sign in [*phonemes, " "]]
        groups = phonemes_to_groups(signs)
        paths = {"spoken": folder / row.audio_path.name, "recordings": row.audio_path}
        for whose, path in paths.items():
            scores["aligner"][whose].append(find_share_found(aligner, path, groups))
            if predict is not None:
                samples, rate = soundfile.read(path, dtype="float32")
                scores["DistillMOS"][whose].append(predict(samples, rate))
        progress.show(done)
    progress.finish(len(rows))
    return {
        name: {whose: mean(values) for whose, values in each.items()}
        for name, each in scores.items()
    }


def find_share_found(aligner: Aligner, path: Path, groups: Groups) -> float:
    """Return the share of phonemes that are likelier than all others somewhere in their place."""
    try:
        alignment = aligner.align(aligner.score_frames(load_samples(path)), groups)
    except DatasetError:  # shorter than its text: what a voice of a few updates says
        return 0.0
    edges = [*np.flatnonzero(np.diff(alignment.states, prepend=-1)), len(alignment.states)]
    found = [
        bool((alignment.scores[start:end] >= 0).any())
        for start, end in pairwise(edges)
        if alignment.units[start] != 0
    ]
    return mean(found)


def _tell(label: str, text: str) -> None:
    """Print a line of the summary."""
    say(f"{translate(label):<14}{translate(text)}")


def _shown(path: Path) -> str:
    """Return a path as a person in the present folder would type it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def read_processor_seconds() -> float:
    """Return the processor's time of this process and of all that it has waited for."""
    return sum(os.times()[:4])


def demo_command(minutes: float | None = None) -> list[str]:
    """Return the command that this demo was started with; it goes on with it, too.

    Args:
        minutes: To train in all, instead of those that were given.
    """
    before = len(sys.orig_argv) - len(sys.argv) + 1
    start, flags = sys.orig_argv[:before], list(sys.argv[1:])
    if minutes is not None:
        _, flags = _minutes_parser().parse_known_args(flags)
        flags = ["--minutes", f"{minutes:g}", *flags]
    if "MAKELEVEL" not in os.environ:
        return [*start, *flags]
    # Variables of make's command line stand in MAKEFLAGS, after its options.
    variables = shlex.split(os.environ.get("MAKEFLAGS", "").partition("-- ")[2])
    words = [word for word in variables if not word.startswith("DEMO_ARGS=")]
    return ["make", "demo", *words, *([f"DEMO_ARGS={shlex.join(flags)}"] if flags else [])]


def _minutes_parser() -> argparse.ArgumentParser:
    """Return the flag that says how long to train, by itself."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--minutes", type=float, default=8.0, help="how long to train, in all")
    return parser


def create_parser() -> argparse.ArgumentParser:
    """Return the demo's flags (make demo DEMO_ARGS='…')."""
    parser = argparse.ArgumentParser(description=__doc__, parents=[_minutes_parser()])
    parser.add_argument("--folder", type=Path, default=ROOT / "demo", help="where to put all of it")
    parser.add_argument(
        "--utterances",
        type=int,
        help=f"recordings to take, {MIN_UTTERANCES} or more; default: all",
    )
    parser.add_argument("--no-scores", action="store_true", help="judge nothing")
    return parser


def main() -> int:
    """Run the demo; return the exit code."""
    parser = create_parser()
    arguments = parser.parse_args()
    if arguments.utterances is not None and arguments.utterances < MIN_UTTERANCES:
        parser.error(f"--utterances: give {MIN_UTTERANCES} or more")
    try:
        Demo(
            arguments.folder,
            arguments.minutes,
            arguments.utterances,
            has_scores=not arguments.no_scores,
        ).run()
    except PiperError as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        command = quote_command(demo_command())
        say(f"\nStopped; go on from here with:\n  {command}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
