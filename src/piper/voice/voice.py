"""PiperVoice: text in, speech out, sentence by sentence. Knows nothing of flags and sinks."""

from __future__ import annotations

import logging
import math
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from piper.audio import encode
from piper.audio.chunk import (
    SAMPLE_CHANNELS,
    SAMPLE_WIDTH_BYTES,
    AudioChunk,
    FloatArray,
    PhonemeAlignment,
    scale_audio,
)
from piper.config import SynthesisConfig, VoiceConfig, load_voice_config
from piper.errors import PiperError
from piper.text.espeak import Espeak
from piper.text.frontend import Frontend, create_frontend
from piper.voice.session import NetworkOutput, VoiceSession
from piper.voice.speakers import find_speaker
from piper.voice.timing import ids_to_alignments
from piper.voices import find_voice

_logger = logging.getLogger(__name__)


class PiperVoice:
    """A voice that is ready to speak; `PiperVoice.load()` makes one.

    Args:
        session: The network.
        config: What the voice's JSON says.
        frontend: Text to ids; made from the config where none is given.
    """

    def __init__(
        self, session: VoiceSession, config: VoiceConfig, frontend: Frontend | None = None
    ) -> None:
        self.session = session
        self.config = config
        self.frontend = frontend if frontend is not None else create_frontend(config)

    @classmethod
    def load(
        cls,
        model_path: Path | str,
        config_path: Path | str | None = None,
        use_cuda: bool = False,
        espeak_data_dir: Path | str | None = None,
        *,
        include_alignments: bool = False,
        seed: int | None = None,
    ) -> PiperVoice:
        """Load a voice.

        Args:
            model_path: The ONNX file.
            config_path: Its JSON; None means the file beside it, `<model>.json`.
            use_cuda: Run on an NVIDIA GPU.
            espeak_data_dir: Another data folder for espeak-ng than the one that came with it.
            include_alignments: Warn here where the voice cannot give durations.
            seed: Makes speech repeatable: the same sentences in the same order give the same
                samples on the same machine.

        Raises:
            VoiceNotFoundError: The ONNX file or its JSON is not there.
            ConfigError: The JSON cannot be used.
            PhonemizeError: The voice wants a phonemizer that is not there.
            PiperError: The file is no voice, or CUDA is not there.
        """
        files = find_voice(model_path, config_path=config_path)
        config = load_voice_config(files.config)
        frontend = _create_frontend(config, espeak_data_dir)
        _warn_about_phonemizer(config, frontend)
        session = VoiceSession(files.model, use_cuda=use_cuda, seed=seed)
        if include_alignments and not session.has_durations:
            _logger.warning(
                "%s gives no durations, so there will be no alignments; export it again to get "
                "them.",
                files.model,
            )
        return cls(session, config, frontend)

    def phonemize(self, text: str) -> list[list[str]]:
        """Return the phonemes (single code points) of each sentence."""
        return self.frontend.text_to_phonemes(text)

    def phonemes_to_ids(self, phonemes: Sequence[str]) -> list[int]:
        """Return the ids of one sentence, BOS … EOS; a phoneme without ids is left out."""
        return self.frontend.phonemes_to_ids(phonemes)

    def synthesize(
        self,
        text: str,
        syn_config: SynthesisConfig | None = None,
        include_alignments: bool = False,
    ) -> Iterator[AudioChunk]:
        """Speak a text, one chunk a sentence; nothing for a text without words.

        Args:
            text: One or more sentences.
            syn_config: How to speak; None takes the voice's defaults.
            include_alignments: Also say how long each phoneme lasts, where the voice can.

        Raises:
            PiperError: The voice has no such speaker, or a value makes no sense.
        """
        syn_config = syn_config or SynthesisConfig()
        for sentence in self.frontend.text_to_sentences(text):
            output = self._run(sentence.ids, syn_config)
            audio = scale_audio(
                output.audio, normalize=syn_config.normalize_audio, volume=syn_config.volume
            )
            id_samples, alignments = None, None
            if include_alignments:
                id_samples = self._id_samples(output, sentence.ids)
            if id_samples is not None:
                alignments = ids_to_alignments(
                    sentence.phonemes, sentence.ids, id_samples, self.config.phoneme_id_map
                )
            yield AudioChunk(
                sample_rate=self.config.sample_rate,
                sample_width=SAMPLE_WIDTH_BYTES,
                sample_channels=SAMPLE_CHANNELS,
                audio_float_array=audio,
                phonemes=list(sentence.phonemes),
                phoneme_ids=list(sentence.ids),
                phoneme_id_samples=id_samples,
                phoneme_alignments=alignments,
            )

    def synthesize_wav(
        self,
        text: str,
        wav_file: wave.Wave_write,
        syn_config: SynthesisConfig | None = None,
        set_wav_format: bool = True,
        include_alignments: bool = False,
    ) -> list[PhonemeAlignment] | None:
        """Speak a text into an open WAV file.

        Args:
            text: One or more sentences.
            wav_file: Opened for writing.
            syn_config: How to speak; None takes the voice's defaults.
            set_wav_format: Set rate, width and channels first.
            include_alignments: Also return how long each phoneme lasts.

        Returns:
            The alignments of all sentences, one after the other, where they were asked for and
            the voice gives them; else None.

        Raises:
            PiperError: As `synthesize`.
        """
        if set_wav_format:
            # Before the first sentence: without one, closing an unset file is an error of wave's.
            encode.set_wav_format(wav_file, self.config.sample_rate)
        alignments: list[PhonemeAlignment] = []
        has_alignments = include_alignments
        for chunk in self.synthesize(text, syn_config, include_alignments):
            wav_file.writeframes(chunk.audio_int16_bytes)
            if chunk.phoneme_alignments is None:
                has_alignments = False
            else:
                alignments.extend(chunk.phoneme_alignments)
        return alignments if has_alignments else None

    @overload
    def phoneme_ids_to_audio(
        self,
        phoneme_ids: Sequence[int],
        syn_config: SynthesisConfig | None = None,
        include_alignments: Literal[False] = False,
    ) -> FloatArray: ...

    @overload
    def phoneme_ids_to_audio(
        self,
        phoneme_ids: Sequence[int],
        syn_config: SynthesisConfig | None = None,
        *,
        include_alignments: Literal[True],
    ) -> tuple[FloatArray, npt.NDArray[np.int64] | None]: ...

    @overload
    def phoneme_ids_to_audio(
        self,
        phoneme_ids: Sequence[int],
        syn_config: SynthesisConfig | None,
        include_alignments: bool,
    ) -> FloatArray | tuple[FloatArray, npt.NDArray[np.int64] | None]: ...

    def phoneme_ids_to_audio(
        self,
        phoneme_ids: Sequence[int],
        syn_config: SynthesisConfig | None = None,
        include_alignments: bool = False,
    ) -> FloatArray | tuple[FloatArray, npt.NDArray[np.int64] | None]:
        """Speak the ids of one sentence, neither scaled nor clipped.

        Args:
            phoneme_ids: (P,) BOS … EOS.
            syn_config: Its speaker and scales are read; loudness is `synthesize`'s business.
            include_alignments: Also return the samples of each id.

        Returns:
            (S,) float32; with `include_alignments` that and (P,) int64 samples of each id, None
            where the voice does not give them.

        Raises:
            PiperError: As `synthesize`.
        """
        output = self._run(phoneme_ids, syn_config or SynthesisConfig())
        if not include_alignments:
            return output.audio
        return output.audio, self._id_samples(output, phoneme_ids)

    def _run(self, ids: Sequence[int], syn_config: SynthesisConfig) -> NetworkOutput:
        config = self.config
        highest = max(ids, default=0)
        if not ids or min(ids) < 0 or highest >= config.num_symbols:
            raise PiperError(
                f"The phoneme ids must not be empty and lie between 0 and "
                f"{config.num_symbols - 1}, which is what the voice's num_symbols allows, but the "
                f"highest is {highest}; check phoneme_id_map and num_symbols in its JSON."
            )
        return self.session.run(
            ids,
            noise_scale=_check_scale("noise_scale", syn_config.noise_scale, config.noise_scale),
            length_scale=_check_scale(
                "length_scale", syn_config.length_scale, config.length_scale, is_zero_allowed=False
            ),
            noise_w_scale=_check_scale(
                "noise_w_scale", syn_config.noise_w_scale, config.noise_w_scale
            ),
            speaker_id=find_speaker(config, syn_config.speaker_id),
        )

    def _id_samples(
        self, output: NetworkOutput, ids: Sequence[int]
    ) -> npt.NDArray[np.int64] | None:
        durations = output.durations_frames
        if durations is None or len(durations) != len(ids):
            return None
        return durations * self.config.hop_length


def _create_frontend(config: VoiceConfig, espeak_data_dir: Path | str | None) -> Frontend:
    if espeak_data_dir is None:
        return create_frontend(config)
    return Frontend(
        config.phoneme_type,
        config.espeak_voice,
        config.phoneme_id_map,
        config.phoneme_map,
        espeak=Espeak(data_dir=espeak_data_dir),
    )


def _warn_about_phonemizer(config: VoiceConfig, frontend: Frontend) -> None:
    trained, present = config.phonemizer, frontend.phonemizer
    if trained is not None and trained != present:
        _logger.warning(
            "The voice was trained on phonemes of %s %s, but speaks with those of %s %s; "
            "some words may sound worse.",
            trained.name,
            trained.version,
            present.name,
            present.version,
        )


def _check_scale(
    name: str, value: float | None, default: float, *, is_zero_allowed: bool = True
) -> float:
    value = default if value is None else value
    if not math.isfinite(value) or value < 0 or (value == 0 and not is_zero_allowed):
        bound = "0 or more" if is_zero_allowed else "more than 0"
        raise PiperError(f"{name} is {value}, but it must be {bound}.")
    return value
