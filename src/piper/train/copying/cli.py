"""`python -m piper.train copy`: a voice speaks, and a quick voice is trained on what it said."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from piper.config import VoiceConfig, load_voice_config
from piper.errors import CheckpointError, ConfigError, name_some
from piper.files import (
    append_record,
    digest_file,
    load_kept_object,
    load_results,
    read_bounded,
    refuse_overwriting,
    replace_on_success,
    write_json,
)
from piper.jobs import MIN_JOBS_A_PROCESS, Lost, run_in_processes
from piper.messages import configure_logging, say
from piper.options import CommandParser
from piper.progress import ProgressLine
from piper.system import available_cores
from piper.train.command import run_command
from piper.voices import VoiceFiles, find_voice

if TYPE_CHECKING:
    from piper.text.frontend import Sentence
    from piper.train.families import KeptText
    from piper.voice.session import PartsSession, SpeechSettings
    from piper.voice.voice import PiperVoice

TRAINING, HELD_OUT = "training", "held_out"
"""Folders: what the copy is trained on, and the sentences of the comparison alone."""
SPOKEN = "spoken.jsonl"
HELD_OUT_SENTENCES = 30
SPEECH_MINUTES = 40.0
SPEECH_MINUTES_A_SPEAKER = 5.0
"""For each speaker after the first; together at most the next."""
MAX_SPEECH_MINUTES = 180.0
PHONEMES_A_SECOND = 18.0
"""Stress marks and spaces among them."""
LEARNT_PITCH_NOISE = 1.2
"""At which a quick voice's pitch deviates by as much as it has learnt: smoothing takes a sixth."""
SPEAKING_SHARE = 0.25
"""Of the budget, after which a slow voice is stopped: what it has said is to be trained on, too."""
ALWAYS = 1_000_000
"""Updates; none makes so many."""
COMPARISON_FLAGS = (
    ("scores", "NAMES", "what is measured"),
    ("recogniser", "NAME:MODEL", "a recogniser of words"),
    ("phoneme-recogniser", "FILE", "one of phonemes"),
)
_LICENSE = re.compile(r"^\W*licen[sc]e\b\W*(\S.*?)\W*$", re.IGNORECASE | re.MULTILINE)


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of a copy."""
    parser = CommandParser(
        prog="python -m piper.train copy",
        description="Copy a voice into one that speaks several times faster: it speaks sentences, "
        "a quick voice is trained on them, and both are compared.",
        epilog="Flags of fit (--trainer.…, --data.…, --model.…) are handed on to it.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("voice", metavar="VOICE.onnx", help="the voice to copy")
    text = "the copy; with the ending .ckpt a checkpoint of the voice itself, whose posterior "
    text += "encoder and discriminators have been made from its speech: to train on from"
    add("-f", "--output-file", type=Path, required=True, metavar="FAST.onnx", help=text)
    add("-c", "--config", type=Path, metavar="FILE", help="the voice's JSON; default: beside it")
    add(
        "--minutes",
        type=float,
        default=20.0,
        metavar="N",
        help="for speaking and training, over all runs together; default: %(default)g",
    )
    add(
        "--texts",
        type=Path,
        metavar="FILE",
        help="text in the voice's language, such as a book, for it to say; default: sentences made "
        "of the words that espeak-ng lists",
    )
    add(
        "--speakers",
        metavar="NAMES",
        help="of a voice with several: names or numbers, joined by commas; default: all",
    )
    add(
        "--license",
        metavar="NAME",
        help="of the voice; needed where neither its JSON nor a MODEL_CARD beside it says one",
    )
    add(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="where speech, checkpoints and the comparison go; default: FAST.copy beside the copy",
    )
    for name, metavar, what in COMPARISON_FLAGS:
        add(f"--{name}", metavar=metavar, help=f"{what}, for the comparison: see evaluate")
    add(
        "--keep",
        choices=("text",),
        help="what of a VITS voice stays as it is: text, so that durations, their noise and the "
        "many readings of a sentence are the voice's own, and its decoder alone is copied",
    )
    add("--seed", type=int, default=1234, metavar="N", help="of all choices; default: %(default)s")
    return parser


@dataclass(frozen=True)
class Plan:
    """What is copied, and where to.

    Attributes:
        files: The voice.
        config: Its JSON.
        speakers: Names of those that are copied, and their numbers in the voice.
        license: Of the voice, which is the copy's, too.
        output: The copy's ONNX file.
        folder: Where all else goes.
        minutes: For speaking and training.
        kept_latents: Channels of a frame of the text side that is kept; 0: the whole is copied.
    """

    files: VoiceFiles
    config: VoiceConfig
    speakers: dict[str, int]
    license: str
    output: Path
    folder: Path
    minutes: float
    kept_latents: int = 0

    @property
    def is_checkpoint(self) -> bool:
        """Whether the voice itself becomes one that can be trained, not a quick one."""
        return self.output.suffix == ".ckpt"


def main(argv: Sequence[str] | None = None) -> int:
    """Copy a voice; return the exit code."""
    words = list(sys.argv[2:] if argv is None else argv)
    parser = create_parser()
    arguments, of_fit = parser.parse_known_args(words)
    if wrong := [flag for flag in of_fit if not re.match(r"--(trainer|data|model)\.", flag)]:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    configure_logging()
    logging.getLogger("piper").setLevel(logging.INFO)
    stopped = "Stopped; what was spoken and trained is kept, and the same command goes on."
    return run_command(lambda: _copy(arguments, of_fit, words), stopped)


def _copy(arguments: argparse.Namespace, of_fit: Sequence[str], words: Sequence[str]) -> int:
    plan = _create_plan(arguments)
    _speak_all(plan, arguments.texts, arguments.seed)
    if code := _train(plan, arguments.seed, of_fit, words):
        return code
    if plan.is_checkpoint:
        return _write_checkpoint(plan)
    _export(plan)
    return _compare(plan, arguments)


def _create_plan(arguments: argparse.Namespace) -> Plan:
    files = find_voice(arguments.voice, config_path=arguments.config)
    config = load_voice_config(files.config)
    if arguments.minutes <= 0:
        raise ConfigError("--minutes is a number above 0.")
    output: Path = arguments.output_file
    if output.suffix not in (".onnx", ".ckpt"):
        raise ConfigError(
            f"--output-file {output}: the name of a voice ends in .onnx, that of a checkpoint in "
            ".ckpt."
        )
    if arguments.keep and output.suffix != ".onnx":
        raise ConfigError(
            "--keep text makes a voice; give --output-file a name that ends in .onnx."
        )
    refuse_overwriting(
        {"--output-file": output}, {"the voice": files.model, "--texts": arguments.texts}
    )
    licence = arguments.license or _find_license(files, config)
    if not licence:
        raise ConfigError(
            f"Neither {files.config.name} nor a MODEL_CARD beside it says the voice's licence, "
            "which is the copy's, too; give it with --license (--license unknown where it cannot "
            "be found out)."
        )
    folder = arguments.work_dir or output.with_suffix(".copy")
    plan = Plan(
        files,
        config,
        _find_speakers(config, arguments.speakers),
        licence,
        output,
        folder,
        arguments.minutes,
    )
    if arguments.keep or plan.is_checkpoint:
        latents = _find_latents(plan)
        plan = replace(plan, kept_latents=latents if arguments.keep else 0)
    if plan.kept_latents and config.num_speakers > 1 and len(plan.speakers) == 1:
        raise ConfigError("--keep text keeps two speakers or more; leave the flag out for one.")
    folder.mkdir(parents=True, exist_ok=True)
    asked = {
        "voice": digest_file(files.model),
        "texts": digest_file(arguments.texts) if arguments.texts else "",
        "speakers": plan.speakers,
        "seed": arguments.seed,
        **({"kind": "checkpoint"} if plan.is_checkpoint else {}),
        **({"keep": arguments.keep} if arguments.keep else {}),
    }
    known = load_kept_object(folder / "copy.json")
    # Where nothing was spoken yet, the last run found a mistake in what it was given.
    is_begun = any((folder / name / SPOKEN).is_file() for name in (TRAINING, HELD_OUT))
    if known and is_begun and known != asked:
        raise ConfigError(
            f"{folder} holds a copy of another voice, or by other --texts, --speakers, --keep or "
            "--seed; remove it, or give another --work-dir."
        )
    if not (known and is_begun):
        write_json(folder / "copy.json", asked)
    return plan


def _find_latents(plan: Plan) -> int:
    """Return how many channels a frame has in the voice, whose weights must have names."""
    from piper.voice.weights import load_voice_weights

    asked, advice = "--keep text", "Leave the flag out to copy the whole voice."
    if plan.is_checkpoint:
        asked = f"--output-file {plan.output.name}"
        advice = "A name that ends in .onnx copies the whole voice."
        names = plan.config.speaker_id_map
        if not names and 1 < len(plan.speakers) < plan.config.num_speakers:
            raise ConfigError(
                "--speakers: the voice's speakers have no names; give one, or leave the flag out."
            )
    try:
        weights, graph = load_voice_weights(plan.files.model)
    except CheckpointError as error:
        raise ConfigError(f"{asked}: {error} {advice}") from None
    if graph.hop_length != plan.config.hop_length:
        raise ConfigError(
            f"{asked}: a frame has {graph.hop_length} samples in {plan.files.model.name}, but "
            f"{plan.config.hop_length} in its JSON; correct hop_length there."
        )
    return int(weights["enc_p.proj.weight"].shape[0]) // 2


def _find_license(files: VoiceFiles, config: VoiceConfig) -> str:
    if said := config.extra.get("license"):
        return str(said)
    for name in ("MODEL_CARD", "MODEL_CARD.md"):
        path = files.model.with_name(name)
        if path.is_file():
            text = read_bounded(path, "model card").decode("utf-8", "replace")
            if match := _LICENSE.search(text):
                return match[1]
    return ""


def _find_speakers(config: VoiceConfig, wanted: str | None) -> dict[str, int]:
    if config.num_speakers == 1:
        if wanted:
            raise ConfigError("--speakers: the voice has one speaker.")
        return {}
    names = {number: name for name, number in config.speaker_id_map.items()}
    every = {names.get(number, str(number)): number for number in range(config.num_speakers)}
    if wanted is None:
        return every
    numbers = {str(number): number for number in every.values()}
    found = {}
    for name in filter(None, map(str.strip, wanted.split(","))):
        number = every.get(name, numbers.get(name))
        if number is None:
            raise ConfigError(
                f'--speakers: there is no speaker "{name}"; there are {name_some(every, 12)}.'
            )
        found[names.get(number, str(number))] = number
    if not found:
        raise ConfigError("--speakers names no speaker.")
    return found


# -- speaking


@dataclass(frozen=True)
class _Job:
    """A sentence to speak; its key says all that its sound depends on."""

    name: str
    ids: tuple[int, ...]
    speaker: int
    noise_scale: float
    noise_w_scale: float
    seed: int

    @property
    def key(self) -> str:
        return repr(self)


@dataclass(frozen=True)
class _Spoken:
    """What came of it.

    Attributes:
        seconds: Of speech.
        frames: Of each id, where the voice says them.
        elapsed: Seconds since the dataset's first sentence was asked for, over all runs.
    """

    seconds: float
    frames: list[int] | None
    elapsed: float = 0.0


class _Speaker:
    """Speaks sentences into a folder, as loud as the network makes them; on one thread.

    Can be sent to other processes; the voice is loaded with the first sentence.
    """

    def __init__(self, files: VoiceFiles, folder: Path, *, keeps_latents: bool) -> None:
        self._files = files
        self._folder = folder
        self._keeps_latents = keeps_latents
        self._voice: PiperVoice | None = None

    def __call__(self, job: _Job) -> _Spoken:
        """Speak a sentence."""
        from piper.audio.output import write_wav
        from piper.voice.session import SpeechSettings
        from piper.voice.voice import PiperVoice

        if self._voice is None:
            self._voice = PiperVoice.load(self._files.model, self._files.config, threads=1)
            if self._keeps_latents:
                self._voice.network = _load_parts(self._files, self._folder.parents[1])
        config = self._voice.config
        settings = SpeechSettings(
            job.noise_scale, config.length_scale, job.noise_w_scale, {job.speaker: 1.0}
        )
        rng = np.random.default_rng(job.seed)
        spoken = self._voice.network.speak(job.ids, settings, rng, is_streamed=False)
        samples = np.concatenate([np.zeros(0, np.float32), *spoken.audio])
        write_wav(self._folder / f"{job.name}.wav", samples, config.sample_rate)
        if self._keeps_latents:
            self._write_latents(job, settings)
        frames = None
        if spoken.id_samples is not None and not (spoken.id_samples % config.hop_length).any():
            frames = (spoken.id_samples // config.hop_length).tolist()
        return _Spoken(len(samples) / config.sample_rate, frames)

    def _write_latents(self, job: _Job, settings: SpeechSettings) -> None:
        """Write what the decoder was given."""
        from piper.train.quick.data import find_kept_path

        assert self._voice is not None
        network: Any = self._voice.network
        latents, _ = network.find_latents(job.ids, settings, np.random.default_rng(job.seed))
        path = find_kept_path(self._folder / f"{job.name}.wav")
        with replace_on_success(path) as temporary, temporary.open("wb") as file:
            np.save(file, latents.astype(np.float16))


def _speak_all(plan: Plan, texts: Path | None, seed: int) -> None:
    """Let the voice speak: what is trained on, and what is held out for the comparison."""
    from piper.train.copying.texts import choose_sentences, load_sentences
    from piper.voice.voice import PiperVoice

    if all((plan.folder / name / "metadata.csv").is_file() for name in (TRAINING, HELD_OUT)):
        return
    voice = PiperVoice.load(plan.files.model, plan.files.config)
    frontend = voice.frontend
    sentences = load_sentences(texts, frontend, plan.config.espeak_voice, seed)
    held_out = min(HELD_OUT_SENTENCES, len(sentences) // 10)
    # At the default noise, as users know the voice.
    noise = (plan.config.noise_scale, plan.config.noise_w_scale)
    _speak(plan, HELD_OUT, sentences[:held_out], noise, seed)
    minutes = SPEECH_MINUTES + SPEECH_MINUTES_A_SPEAKER * max(0, len(plan.speakers) - 1)
    left = 60.0 * min(minutes, MAX_SPEECH_MINUTES, 4 * plan.minutes) * PHONEMES_A_SECOND
    chosen = []
    for sentence in choose_sentences(sentences[held_out:], frontend, seed):
        chosen.append(sentence)
        left -= len(sentence.phonemes)
        if left < 0:
            break
    if voice.network.mean_hertz is not None:
        # A quick voice's noise is in pitch and rhythm alone, and the copy learns how far they go.
        noise = (LEARNT_PITCH_NOISE, plan.config.noise_w_scale)
    elif not plan.is_checkpoint and not plan.kept_latents:
        # Without noise what is said follows from the text alone, which is easier to predict.
        noise = (0.0, 0.0)
    _speak(plan, TRAINING, chosen, noise, seed)


def _speak(
    plan: Plan, name: str, sentences: Sequence[Sentence], noise: tuple[float, float], seed: int
) -> None:
    """Speak sentences into a dataset; what was spoken before is not spoken again."""
    from piper.train.data.metadata import write_metadata

    folder = plan.folder / name
    (folder / "wavs").mkdir(parents=True, exist_ok=True)
    speakers: list[tuple[str | None, int]] = [*plan.speakers.items()] or [(None, 0)]
    jobs = [
        _Job(
            f"{place:05d}",
            tuple(sentence.ids),
            speakers[place % len(speakers)][1],
            *noise,
            seed + place,
        )
        for place, sentence in enumerate(sentences)
    ]
    spoken = _load_spoken(folder)
    begin = time.monotonic() - _find_elapsed(spoken)
    missing = [job for job in jobs if job.key not in spoken]
    progress = ProgressLine("Speaking", len(jobs), "sentences", start=len(jobs) - len(missing))
    is_kept = name == TRAINING and plan.kept_latents > 0
    speaker = _Speaker(plan.files, folder / "wavs", keeps_latents=is_kept)
    processes = min(available_cores(), len(missing) // MIN_JOBS_A_PROCESS)
    results: Any = ((place, speaker(job)) for place, job in enumerate(missing))
    if processes > 1:
        results = run_in_processes(speaker, missing, processes)
    with closing(results):
        for place, result in results:
            if isinstance(result, Lost):  # another process speaks it
                continue
            elapsed = time.monotonic() - begin
            spoken[missing[place].key] = replace(result, elapsed=elapsed)
            append_record(folder / SPOKEN, [missing[place].key, asdict(spoken[missing[place].key])])
            progress.show(len(spoken))
            if name == TRAINING and elapsed > SPEAKING_SHARE * 60.0 * plan.minutes:
                break
    progress.finish(len(spoken))
    said = [(place, spoken[job.key]) for place, job in enumerate(jobs) if job.key in spoken]
    has_frames = all(one.frames is not None for _, one in said)
    rows = []
    for place, one in said:
        text = " ".join(sentences[place].text.replace("|", " ").split())
        ids = [str(number) for number in sentences[place].ids]
        if has_frames:
            ids = [f"{i}:{n}" for i, n in zip(ids, one.frames or [], strict=True)]
        # The original needs the name of one of its speakers, a copy of one speaker has none.
        who = speakers[place % len(speakers)][0]
        if name == HELD_OUT:
            rows.append([jobs[place].name, who, text])
        else:
            rows.append([jobs[place].name, who if len(speakers) > 1 else None, text, " ".join(ids)])
    speakers_of = plan.speakers if name == TRAINING else _find_speakers(plan.config, None)
    write_json(folder / "config.json", _create_config(plan, speakers_of))
    write_metadata(folder, rows)


def _load_spoken(folder: Path) -> dict[str, _Spoken]:
    """Return what was spoken into a dataset in earlier runs, by the jobs' keys."""
    return load_results(folder / SPOKEN, lambda data: _Spoken(**data))


def _find_elapsed(spoken: Mapping[str, _Spoken]) -> float:
    """Return how many seconds speaking took, in all runs."""
    return max((float(one.elapsed) for one in spoken.values()), default=0.0)


def _create_config(plan: Plan, speakers: Iterable[str]) -> dict[str, Any]:
    """Return the copy's JSON: the voice's, with where it comes from."""
    from piper import __version__

    data = plan.config.to_dict()
    if not plan.is_checkpoint:
        data["audio"] = {**data["audio"], "quality": "quick"}
    numbers = {name: number for number, name in enumerate(speakers)}
    data["num_speakers"] = max(1, len(numbers))
    data["speaker_id_map"] = numbers
    data.pop("default_speaker_id", None)
    data["license"] = plan.license
    data["copy_of"] = plan.files.model.stem
    data["copied_by"] = "piper-workshop " + __version__
    return data


# -- training


def _train(plan: Plan, seed: int, of_fit: Sequence[str], words: Sequence[str]) -> int:
    """Train, or go on with it; return the exit code."""
    from piper.train.cli import main as train
    from piper.train.resuming import COMMAND_VARIABLE

    spoken = sum(_find_elapsed(_load_spoken(plan.folder / name)) for name in (HELD_OUT, TRAINING))
    seconds = max(60, round(60 * plan.minutes - spoken))
    clock = f"00:{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    flags = [
        *("fit", f"--data.dataset_dir={plan.folder / TRAINING}", "--ckpt_path=last"),
        *("--data.dataset_type=phoneme_ids", "--data.trim_silence=false"),
        # Half a voice cannot speak sentences in training.
        f"--data.num_test_examples={0 if plan.kept_latents else 2}",
        "--data.validation_split=0.02",
        *_find_network_flags(plan),
        *(f"--trainer.default_root_dir={plan.folder}", f"--trainer.max_time={clock}"),
        *("--trainer.devices=1", "--validation_quality=off", "--keep_best=0"),
        *(f"--save_minutes={5 if plan.is_checkpoint else 0.5}", f"--seed_everything={seed}"),
        *of_fit,
    ]
    before = os.environ.get(COMMAND_VARIABLE, "")
    os.environ[COMMAND_VARIABLE] = "\n".join(["python", "-m", "piper.train", "copy", *words])
    try:
        return train(flags)
    finally:
        os.environ[COMMAND_VARIABLE] = before


def _find_network_flags(plan: Plan) -> list[str]:
    """Return the flags that say what is trained, and of a checkpoint from what, and which part."""
    if not plan.is_checkpoint:
        shape = ["--model.quality=quick", f"--model.hop_length={plan.config.hop_length}"]
        return [*shape, f"--model.kept_latents={plan.kept_latents}"]
    from piper.train.checkpoints import network_config_from_checkpoint
    from piper.train.presets import find_quality
    from piper.voice.weights import load_voice_weights

    weights, graph = load_voice_weights(plan.files.model)
    said = {
        "state_dict": {f"model_g.{name}": weight for name, weight in weights.items()},
        "hyper_parameters": {**asdict(graph), "hop_length": graph.hop_length},
    }
    network = network_config_from_checkpoint(said)
    shape = [f"--model.quality={find_quality(network)}"]
    if find_quality(network) is None:
        of_dataset = {"sample_rate", "num_symbols", "num_speakers", "mel_fmax"}
        if len(plan.speakers) == 1:  # one speaker has no table
            of_dataset.add("gin_channels")
        fields = asdict(network).items()
        values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields}
        shape = [f"--model.{k}={v}" for k, v in values.items() if k not in of_dataset]
    if len(plan.speakers) == 1:
        shape += [f"--model.warmstart_speaker={number}" for number in plan.speakers.values()]
    return [*shape, f"--model.warmstart={plan.files.model}", f"--model.hold_voice={ALWAYS}"]


def _write_checkpoint(plan: Plan) -> int:
    """Write what was trained, without the optimizers' means, which serve this training alone."""
    import torch

    from piper.train.checkpoints import find_checkpoint, load_checkpoint

    checkpoint = load_checkpoint(find_checkpoint(plan.folder))
    checkpoint.pop("optimizer_states", None)
    with replace_on_success(plan.output) as temporary:
        torch.save(checkpoint, temporary)
    name = plan.files.model.stem
    say(f"{plan.output}: {name} ({plan.license}), to start from: --model.warmstart={plan.output}")
    return 0


def _export(plan: Plan) -> None:
    from piper.train.export import export_voice

    kept = _load_kept_text(plan) if plan.kept_latents else None
    export_voice(plan.folder, plan.output, kept=kept)
    lexicon = Path(f"{plan.files.model}.lexicon")
    if lexicon.is_file():
        shutil.copyfile(lexicon, f"{plan.output}.lexicon")


def _load_kept_text(plan: Plan) -> KeptText:
    from piper.train.families import KeptText
    from piper.voice.weights import load_voice_weights

    weights, graph = load_voice_weights(plan.files.model)
    numbers = list(plan.speakers.values()) or [0]
    if plan.speakers:
        weights["emb_g.weight"] = weights["emb_g.weight"][numbers]
        graph = replace(graph, num_speakers=len(numbers))
    return KeptText(weights, graph, _load_parts(plan.files, plan.folder), numbers)


def _load_parts(files: VoiceFiles, folder: Path) -> PartsSession:
    """Load the optimised model, in which a text side is found, wherever it is cached."""
    from piper.voice.cache import find_cache_dir, load_network
    from piper.voice.session import PartsSession

    network = load_network(files.model, find_cache_dir() or folder / "cache", threads=1)
    if not isinstance(network, PartsSession):
        raise ConfigError(
            f"--keep text: {files.model} cannot be taken apart; leave the flag out to copy the "
            "whole voice."
        )
    return network


def _compare(plan: Plan, arguments: argparse.Namespace) -> int:
    """Evaluate the copy beside the voice, on sentences that it was not taught."""
    from piper.train.evaluate.cli import main as evaluate

    facts = plan.folder / "card.json"
    write_json(facts, {"license": plan.license, "started_from": plan.files.model.stem})
    flags = [
        *("--model", f"copy={plan.output}", "--model", f"original={plan.files.model}"),
        *("--dataset", str(plan.folder / HELD_OUT), "--held-out", "all", "--words", "0"),
        *("--output-dir", str(plan.folder / "comparison"), "--card-facts", str(facts)),
    ]
    for name, *_ in COMPARISON_FLAGS:
        if given := getattr(arguments, name.replace("-", "_")):
            flags += [f"--{name}", given]
    code = evaluate(flags)
    say(f"{plan.output}: a copy of {plan.files.model.stem} ({plan.license})")
    return code
