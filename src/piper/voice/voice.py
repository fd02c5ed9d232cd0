"""PiperVoice: text in, speech out, sentence by sentence. Knows nothing of flags and sinks."""

from __future__ import annotations

import logging
import wave
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from piper.audio import encode
from piper.audio.chunk import (
    AudioChunk,
    FloatArray,
    PhonemeAlignment,
)
from piper.config import SynthesisConfig, VoiceConfig, load_voice_config
from piper.text.espeak import Espeak
from piper.text.frontend import Frontend, Sentence, create_frontend
from piper.text.options import TextOptions
from piper.text.piece import Piece
from piper.voice.cache import CacheDir, find_cache_dir
from piper.voice.incoming import PacedSentence, pace_sentences
from piper.voice.loading import add_own_lexicon, check_speakers, load_network, warn_about_phonemizer
from piper.voice.narrator import Narrator
from piper.voice.session import Network
from piper.voice.settings import resolve_loudness
from piper.voice.stream import StreamChunk
from piper.voices import find_voice

_logger = logging.getLogger(__name__)


class PiperVoice:
    """A voice that is ready to speak; `PiperVoice.load()` makes one.

    Args:
        session: The network.
        config: What the voice's JSON says.
        frontend: Text to ids; made from the config where none is given.
        seed: Makes speech repeatable, where the network takes its noise from here.
    """

    def __init__(
        self,
        session: Network,
        config: VoiceConfig,
        frontend: Frontend | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self.session = session
        self.config = config
        self.frontend = frontend if frontend is not None else create_frontend(config)
        self._narrator = Narrator(session, config, seed)

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
        threads: int | None = None,
        cache_dir: CacheDir = None,
        text_options: TextOptions | None = None,
    ) -> PiperVoice:
        """Load a voice.

        The first time, a clean graph is made of the voice and kept (`piper.voice.cache`); with it
        the voice loads and speaks sooner, and can stream, align, mix speakers and take seeds.

        Args:
            model_path: The ONNX file.
            config_path: Its JSON; None means the file beside it, `<model>.json`.
            use_cuda: Run on an NVIDIA GPU.
            espeak_data_dir: Another data folder for espeak-ng than the one that came with it.
            include_alignments: Warn here where the voice cannot give durations.
            seed: Makes speech repeatable: the same sentences in the same order give the same
                samples on the same machine.
            threads: Threads of one sentence's network; None takes a core each.
            cache_dir: Folder for the clean graph; None means the environment variable
                PIPER_CACHE_DIR, else the user's cache folder; False means none, so that the
                voice's own graph speaks.
            text_options: How texts are prepared; None takes the voice's own. Without a lexicon
                there, the file `<model>.lexicon` is one, if it exists.

        Raises:
            VoiceNotFoundError: The ONNX file or its JSON is not there.
            ConfigError: The JSON cannot be used.
            PhonemizeError: The voice wants a phonemizer that is not there.
            PiperError: The file is no voice, or CUDA is not there.
        """
        files = find_voice(model_path, config_path=config_path)
        config = load_voice_config(files.config)
        espeak = None if espeak_data_dir is None else Espeak(data_dir=espeak_data_dir)
        text_options = add_own_lexicon(text_options or TextOptions(), files.model)
        frontend = create_frontend(config, text_options, espeak)
        warn_about_phonemizer(config, frontend)
        session = load_network(
            files.model,
            find_cache_dir(cache_dir),
            use_cuda=use_cuda,
            threads=threads,
            seed=seed,
        )
        check_speakers(session, config, files.config)
        if include_alignments and not session.has_durations:
            _logger.warning(
                "%s gives no durations, so there will be no alignments; export it again to get "
                "them.",
                files.model,
            )
        return cls(session, config, frontend, seed=seed)

    def _find_frontend(self, text_options: TextOptions | None) -> Frontend:
        return self.frontend if text_options is None else self.frontend.with_options(text_options)

    def phonemize(self, text: str) -> list[list[str]]:
        """Return the phonemes (single code points) of each sentence."""
        return self.frontend.text_to_phonemes(text)

    def phonemes_to_ids(self, phonemes: Sequence[str]) -> list[int]:
        """Return the ids of one sentence, BOS … EOS; a phoneme without ids is left out."""
        return self.frontend.phonemes_to_ids(phonemes)

    def synthesize(
        self,
        text: str | Iterable[Piece],
        syn_config: SynthesisConfig | None = None,
        include_alignments: bool = False,
        *,
        text_options: TextOptions | None = None,
    ) -> Iterator[AudioChunk]:
        """Speak a text, one chunk a sentence; nothing for a text without words.

        Args:
            text: One or more sentences, or the pieces of a text with markup, as
                `piper.text.markup.parse_markup` gives them.
            syn_config: How to speak; None takes the voice's defaults.
            include_alignments: Also say how long each phoneme lasts and when each word is spoken.
            text_options: How this text is prepared; what they leave open, the voice's say.

        Raises:
            PiperError: The voice has no such speaker, or a value makes no sense.
        """
        sentences = pace_sentences(self._find_frontend(text_options), text)
        syn_config = syn_config or SynthesisConfig()
        loudness = resolve_loudness(syn_config, is_streamed=False)
        return self._narrator.synthesize(sentences, syn_config, loudness, include_alignments)

    def synthesize_stream(
        self,
        text: str | Iterable[str] | Iterable[Piece],
        syn_config: SynthesisConfig | None = None,
        include_alignments: bool = False,
        *,
        text_options: TextOptions | None = None,
    ) -> Iterator[StreamChunk]:
        """Speak a text in small pieces, the first of which comes before the sentence is done.

        Together the pieces are what `synthesize` gives with the same seed and loudness. Scaling to
        full range needs the whole sentence (or text), so it is off here unless
        `syn_config.normalize` asks for it, and then there is one piece a sentence.

        Args:
            text: As for `synthesize`; or parts of a text that may still be in the making, cut
                anywhere: each sentence is spoken as soon as it is complete.
            syn_config: How to speak; None takes the voice's defaults.
            include_alignments: Also say how long each phoneme lasts and when each word is spoken.
            text_options: How this text is prepared; what they leave open, the voice's say.

        Raises:
            PiperError: As `synthesize`.
        """
        sentences = pace_sentences(self._find_frontend(text_options), text)
        syn_config = syn_config or SynthesisConfig()
        loudness = resolve_loudness(syn_config, is_streamed=True)
        return self._narrator.stream(sentences, syn_config, loudness, include_alignments)

    def synthesize_wav(
        self,
        text: str | Iterable[Piece],
        wav_file: wave.Wave_write,
        syn_config: SynthesisConfig | None = None,
        set_wav_format: bool = True,
        include_alignments: bool = False,
        *,
        text_options: TextOptions | None = None,
    ) -> list[PhonemeAlignment] | None:
        """Speak a text into an open WAV file.

        Args:
            text: As for `synthesize`.
            wav_file: Opened for writing.
            syn_config: How to speak; None takes the voice's defaults.
            set_wav_format: Set rate, width and channels first.
            include_alignments: Also return how long each phoneme lasts.
            text_options: As for `synthesize`.

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
        for chunk in self.synthesize(
            text, syn_config, include_alignments, text_options=text_options
        ):
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
        sentence = PacedSentence(Sentence([], list(phoneme_ids)))
        syn_config = syn_config or SynthesisConfig()
        [(_, spoken)] = self._narrator.speak([sentence], syn_config, is_streamed=False)
        audio = np.concatenate(list(spoken.audio))
        return (audio, spoken.id_samples) if include_alignments else audio
