"""What is evaluated: voices, checkpoints, speech in files; and their sentences, spoken."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import soundfile

from piper.audio.chunk import FloatArray
from piper.audio.output import AudioWriter
from piper.config import SynthesisConfig, load_voice_config
from piper.errors import ConfigError, DatasetError, PiperError, name_some
from piper.files import load_kept_object, read_bounded, replace_on_success
from piper.progress import ProgressLine
from piper.train.checkpoints import find_checkpoint
from piper.train.data.audio import decode
from piper.train.data.metadata import Row, load_metadata
from piper.train.data.settings import DataSettings
from piper.train.data.split import count_held_out, rank_recordings
from piper.train.evaluate.results import Kind, Sentence
from piper.voice.voice import PiperVoice
from piper.voices import find_voice

RECORDINGS_LABEL = "recordings"
_UNFIT = re.compile(r"[^\w.-]+")


class SourceKind(Enum):
    """How a system's sentences come to be spoken, as flags call it."""

    VOICE = "model"
    CHECKPOINT = "checkpoint"
    SPEECH = "speech"


@dataclass(frozen=True)
class Source:
    """A system as it was given.

    Attributes:
        path: The file, or the folder of speech.
    """

    label: str
    kind: SourceKind
    path: Path


def parse_sources(given: Sequence[tuple[SourceKind, str]]) -> list[Source]:
    """Return the systems of a command line, each `PATH` or `LABEL=PATH`."""
    sources: list[Source] = []
    for kind, text in given:
        label, separator, rest = text.partition("=")
        # A path may hold the sign, too: `epoch=3-val_loss=20.ckpt`.
        has_label = bool(separator and label and not _UNFIT.search(label))
        has_label = has_label and not Path(text).exists()
        path = Path(rest if has_label else text)
        if kind is SourceKind.CHECKPOINT:
            path = Path(find_checkpoint(path))
        _check_there(kind, path)
        taken = {source.label for source in sources} | {RECORDINGS_LABEL}
        if has_label and label in taken:
            raise ConfigError(f'The label "{label}" is taken; give each system one of its own.')
        name = label if has_label else _find_free(_UNFIT.sub("_", path.stem), taken)
        sources.append(Source(name, kind, path))
    return sources


def describe_voice(model_path: Path) -> dict[str, str]:
    """Return what a voice's JSON says of it."""
    config = load_voice_config(find_voice(model_path).config)
    details = {
        "sample rate": f"{config.sample_rate:,} Hz",
        "quality": config.quality or "",
        "language": config.language.get("code") or config.espeak_voice,
        "speakers": str(config.num_speakers) if config.num_speakers > 1 else "",
    }
    return {name: value for name, value in details.items() if value}


def _check_there(kind: SourceKind, path: Path) -> None:
    if kind is SourceKind.VOICE:
        find_voice(path)  # names what is missing, and where voices are had
    elif kind is SourceKind.CHECKPOINT and not path.is_file():
        raise PiperError(f"--checkpoint: {path} does not exist; name a .ckpt file or a folder.")
    elif kind is SourceKind.SPEECH and not path.is_dir():
        raise PiperError(f"--speech: {path} is no folder; name one with a file for each sentence.")


def _find_free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


SPLIT, ALL = "split", "all"
MAX_LETTERS = 40
"""An alphabet; of writing with more signs those that are met most often."""


def load_rows(settings: DataSettings) -> list[Row]:
    """Return the lines of a dataset."""
    return load_metadata(
        settings.csv_path,
        settings.audio_dir,
        num_speakers=settings.num_speakers,
        dataset_type=settings.dataset_type,
        has_stress_marks=settings.has_stress_marks,
    )


def split_rows(
    rows: Sequence[Row], held_out: str, settings: DataSettings
) -> tuple[list[Row], list[Row]]:
    """Return the lines that may be learnt on, and those that are held out, in a fixed order.

    Args:
        held_out: `split` (those that training holds out), `all`, or a file of recordings' names.
        settings: Share and seed of the split.
    """
    if held_out == ALL:
        return [], list(rows)
    if held_out == SPLIT:
        ranked = rank_recordings([(row.audio_path.name, row.text) for row in rows], settings.seed)
        places = ranked[: count_held_out(len(rows), settings.validation_split)]
        if not places:
            raise DatasetError(
                f"Nothing is held out of {len(rows)} recordings; pass --held-out all where none of "
                "them was trained on."
            )
        chosen = set(places)
        return (
            [row for place, row in enumerate(rows) if place not in chosen],
            [rows[place] for place in places],
        )
    names = load_names(Path(held_out))
    by_name = {name: row for row in rows for name in (row.audio_path.name, row.audio_path.stem)}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise ConfigError(
            f"{held_out} names {name_some(missing)}, which the dataset lacks; name recordings "
            "as metadata.csv does, one a line."
        )
    lines = {by_name[name].line for name in names}
    return [row for row in rows if row.line not in lines], [by_name[name] for name in names]


def load_names(path: Path) -> list[str]:
    """Return recordings' names from a file, one a line; lines that begin with `#` do not count."""
    wish = "give split, all, or a file with a recording's name in each line"
    names = read_lines(path, "--held-out", wish)
    found = list(dict.fromkeys(name for name in names if not name.startswith("#")))
    if not found:
        raise ConfigError(f"--held-out: {path} names no recording.")
    return found


def rows_to_sentences(rows: Sequence[Row], most: int) -> list[Sentence]:
    """Return the first lines as something to say, with their recordings."""
    return [
        Sentence(row.audio_path.stem, row.text, Kind.SENTENCE, row.audio_path, row.speaker)
        for row in rows[:most]
    ]


def load_texts(path: Path, most: int) -> list[Sentence]:
    """Return the lines of a file as something to say."""
    wish = "give a UTF-8 file with a sentence in each line"
    texts = read_lines(path, "--texts", wish)[:most]
    if not texts:
        raise ConfigError(f"--texts: {path} is empty; write a sentence in each line.")
    return [Sentence(f"sentence_{place:04d}", text) for place, text in enumerate(texts, 1)]


def read_lines(path: Path, flag: str, wish: str) -> list[str]:
    """Return the lines of a file that hold something."""
    try:
        text = read_bounded(path, "text file").decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{flag}: {path} cannot be read ({reason}); {wish}.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def find_singles(sentences: Sequence[Sentence], num_words: int) -> list[Sentence]:
    """Return single words of sentences, and the letters that they are written with.

    Short utterances are where voices fail first: a word has no context that would carry it.

    Args:
        num_words: How many words, the same ones each time; 0 gives neither words nor letters.
    """
    if num_words <= 0:
        return []
    words = [word for sentence in sentences for word in _find_words(sentence.text)]
    counts = Counter(letter for word in words for letter in word.replace("+", ""))
    # Evenly over all lengths, since short and long ones fail in different ways.
    ranked = sorted(set(words), key=lambda word: (len(word), word))
    step = max(1.0, len(ranked) / num_words)
    chosen = dict.fromkeys(
        ranked[int((i + 0.5) * step)] for i in range(min(num_words, len(ranked)))
    )
    letters = sorted(counts, key=lambda letter: (-counts[letter], letter))[:MAX_LETTERS]
    return [
        *(Sentence(f"word_{place:02d}", word, Kind.WORD) for place, word in enumerate(chosen, 1)),
        *(
            Sentence(f"letter_{place:02d}", letter, Kind.LETTER)
            for place, letter in enumerate(sorted(letters), 1)
        ),
    ]


def _find_words(text: str) -> list[str]:
    signs = "".join(sign if _is_of_word(sign) else " " for sign in text.lower())
    return [word for word in signs.split() if any(sign.isalpha() for sign in word)]


def _is_of_word(sign: str) -> bool:
    return sign == "+" or unicodedata.category(sign)[0] in "LM"


SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3")


@dataclass(frozen=True)
class Speech:
    """What a system said.

    Attributes:
        samples: (S,) float32.
        joints_seconds: Where sentences of one text meet.
    """

    path: Path
    samples: FloatArray
    sample_rate: int
    joints_seconds: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.sample_rate


def speak_all(
    model_path: Path, sentences: Sequence[Sentence], folder: Path, seed: int, label: str
) -> list[Speech]:
    """Return all sentences spoken, in their order; those that lie in the folder are taken from it.

    Args:
        seed: Of the voice's noise. Each sentence is spoken by itself, whatever was spoken before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = ProgressLine(f"Speaking ({label})", len(sentences), "sentences")
    voice: PiperVoice | None = None
    spoken = []
    for done, sentence in enumerate(sentences, 1):
        path = folder / f"{sentence.name}.flac"
        speech = _load_spoken(path, sentence)
        if speech is None:
            voice = voice or PiperVoice.load(model_path, seed=seed)
            speech = _speak(voice, sentence, path, seed)
        spoken.append(speech)
        progress.show(done)
    progress.finish(len(sentences))
    return spoken


def _load_spoken(path: Path, sentence: Sentence) -> Speech | None:
    notes = path.with_suffix(".json")
    if not (path.is_file() and notes.is_file()):
        return None
    known = load_kept_object(notes)
    if known.get("text") != sentence.text or known.get("speaker") != sentence.speaker:
        return None
    try:
        joints = tuple(map(float, known["joints_seconds"]))
        samples, rate = soundfile.read(path, dtype="float32")
    except (LookupError, TypeError, ValueError, soundfile.SoundFileError):
        return None  # of a damaged disk, or of another hand
    return Speech(path, samples, rate, joints)


def _speak(voice: PiperVoice, sentence: Sentence, path: Path, seed: int) -> Speech:
    # The seed here, too: a sentence's noise then depends on none that came before.
    config = SynthesisConfig(
        speaker_id=_find_speaker(voice, sentence.speaker),
        seed=seed if voice.network.can_seed else None,
    )
    rate = voice.config.sample_rate
    parts = [chunk.audio_float_array for chunk in voice.synthesize(sentence.text, config)]
    samples = np.concatenate(parts) if parts else np.zeros(rate // 10, dtype=np.float32)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    joints = tuple(round(float(end) / rate, 6) for end in ends)
    with AudioWriter(path, rate) as writer:
        writer.write(samples)
    known = {"text": sentence.text, "speaker": sentence.speaker, "joints_seconds": joints}
    with replace_on_success(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(known, ensure_ascii=False) + "\n", encoding="utf-8")
    written, _ = soundfile.read(path, dtype="float32")
    return Speech(path, written, rate, joints)


def find_speech(folder: Path, sentences: Sequence[Sentence]) -> list[Speech]:
    """Return what lies in a folder, a file for each sentence, named as its recording."""
    found = []
    for sentence in sentences:
        paths = [folder / f"{sentence.name}{suffix}" for suffix in SUFFIXES]
        path = next((path for path in paths if path.is_file()), None)
        if path is None:
            raise ConfigError(
                f"--speech: {folder} has no {sentence.name} (.wav, .flac, .opus, .ogg or .mp3); "
                "name each file as the sentence's recording."
            )
        found.append(load_speech(path))
    return found


def load_speech(path: Path) -> Speech:
    """Return a file's samples, the mean of its channels."""
    decoded = decode(path)
    return Speech(path, decoded.mix(), decoded.sample_rate)


def _find_speaker(voice: PiperVoice, name: str | None) -> int | None:
    if voice.config.num_speakers == 1 or name is None:
        return None
    known = voice.config.speaker_id_map or {str(i): i for i in range(voice.config.num_speakers)}
    if name not in known:
        raise PiperError(f'The voice has no speaker "{name}"; it has {name_some(known, 12)}.')
    return known[name]
