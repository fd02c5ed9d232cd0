"""Speaks sentences by a voice into files, as a user would hear them. Scores nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from piper.atomic import replace_on_success
from piper.audio.chunk import FloatArray, float_to_int16
from piper.config import SynthesisConfig
from piper.errors import ConfigError, PiperError
from piper.json_reader import load_kept_object
from piper.progress import ProgressLine
from piper.train.data.audio import decode
from piper.train.evaluate.results import Sentence
from piper.voice.voice import PiperVoice

SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3")


@dataclass(frozen=True)
class Speech:
    """What a system said.

    Attributes:
        path: The file.
        samples: (S,) float32.
        sample_rate: Hertz.
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


class VoiceSpeaker:
    """A voice that speaks sentences into a folder; what lies there already is not spoken again.

    Args:
        model_path: The ONNX file.
        folder: For the files; of this voice and seed alone.
        seed: Of its noise. Each sentence is spoken by itself, whatever was spoken before it.
    """

    def __init__(self, model_path: Path, folder: Path, seed: int) -> None:
        self._model_path = model_path
        self._folder = folder
        self._seed = seed
        self._voice: PiperVoice | None = None

    def speak_all(self, sentences: Sequence[Sentence], label: str) -> list[Speech]:
        """Return all sentences spoken, in their order.

        Raises:
            PiperError: The voice cannot be loaded, or has no such speaker.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        progress = ProgressLine(f"Speaking ({label})", len(sentences), "sentences")
        spoken = []
        for done, sentence in enumerate(sentences, 1):
            spoken.append(self._find(sentence) or self._speak(sentence))
            progress.show(done)
        progress.finish(len(sentences))
        return spoken

    def _find(self, sentence: Sentence) -> Speech | None:
        path, notes = self._paths(sentence)
        if not (path.is_file() and notes.is_file()):
            return None
        known = load_kept_object(notes)
        if known.get("text") != sentence.text or known.get("speaker") != sentence.speaker:
            return None
        samples, rate = soundfile.read(path, dtype="float32")
        return Speech(path, samples, rate, tuple(known["joints_seconds"]))

    def _speak(self, sentence: Sentence) -> Speech:
        if self._voice is None:
            self._voice = PiperVoice.load(self._model_path, seed=self._seed)
        voice = self._voice
        # The seed here, too: a sentence's noise then depends on none that came before.
        config = SynthesisConfig(
            speaker_id=_find_speaker(voice, sentence.speaker),
            seed=self._seed if voice.network.can_seed else None,
        )
        rate = voice.config.sample_rate
        parts = [chunk.audio_float_array for chunk in voice.synthesize(sentence.text, config)]
        samples = np.concatenate(parts) if parts else np.zeros(rate // 10, dtype=np.float32)
        ends = np.cumsum([len(part) for part in parts])[:-1]
        joints = tuple(round(float(end) / rate, 6) for end in ends)
        path, notes = self._paths(sentence)
        with replace_on_success(path) as temporary:
            soundfile.write(temporary, float_to_int16(samples), rate, format="FLAC")
        known = {"text": sentence.text, "speaker": sentence.speaker, "joints_seconds": joints}
        with replace_on_success(notes) as temporary:
            temporary.write_text(json.dumps(known, ensure_ascii=False) + "\n", encoding="utf-8")
        heard, _ = soundfile.read(path, dtype="float32")
        return Speech(path, heard, rate, joints)

    def _paths(self, sentence: Sentence) -> tuple[Path, Path]:
        path = self._folder / f"{sentence.name}.flac"
        return path, path.with_suffix(".json")


def find_speech(folder: Path, sentences: Sequence[Sentence]) -> list[Speech]:
    """Return what lies in a folder, a file for each sentence, named as its recording.

    Raises:
        ConfigError: A sentence has no file.
        DatasetError: A file cannot be decoded.
    """
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
    """Return a file's samples, the mean of its channels.

    Raises:
        DatasetError: It cannot be decoded.
    """
    decoded = decode(path)
    return Speech(path, decoded.mix(), decoded.sample_rate)


def _find_speaker(voice: PiperVoice, name: str | None) -> int | None:
    if voice.config.num_speakers == 1 or name is None:
        return None
    known = voice.config.speaker_id_map or {}
    if name not in known:
        raise PiperError(
            f'The voice has no speaker "{name}"; it has {", ".join(list(known)[:12])}.'
        )
    return known[name]
