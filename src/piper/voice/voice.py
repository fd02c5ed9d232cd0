"""PiperVoice: text in, speech out, sentence by sentence."""

from __future__ import annotations

import logging
import warnings
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt

from piper.audio import output
from piper.audio.chunk import AudioChunk, FloatArray, PhonemeAlignment, StreamChunk, samples_to_pcm
from piper.config import SynthesisConfig, VoiceConfig, load_voice_config
from piper.errors import ConfigError, PiperError
from piper.phoneme_ids import BOS, EOS, PAD
from piper.text.frontend import Frontend, Sentence, TextOptions, create_frontend
from piper.text.lexicon import load_lexicon
from piper.text.phonemizers import Espeak, find_espeak_data
from piper.text.pieces import Piece
from piper.voice.cache import CacheDir, load_network
from piper.voice.incoming import pace_parts
from piper.voice.session import Cuda, Network, VoiceSession, create_session
from piper.voice.synthesizer import (
    MAX_SPOKEN_IDS,
    PacedSentence,
    SpeechSynthesizer,
    pace_sentences,
    resolve_loudness,
    scale_audio,
)
from piper.voices import VoiceFiles, find_voice

if TYPE_CHECKING:
    import onnxruntime

_MAX_WHOLE_IDS = 2000
"""About 50 seconds; the text encoder takes 150 MB for them, and 600 MB for twice as many."""
_FORMER_NAMES = {
    "speaker_id": "speaker_id",
    "length_scale": "length_scale",
    "noise_scale": "noise_scale",
    "noise_w": "noise_w_scale",
    "sentence_silence": "sentence_silence_seconds",
}
"""What Piper 1.2 called the fields of today's `SynthesisConfig`."""
_LOGGER = logging.getLogger(__name__)


class PiperVoice:
    """A voice that is ready to speak; `PiperVoice.load()` makes one.

    Args:
        session: The network, or a session that ONNX Runtime made of a voice's ONNX.
        config: What the voice's JSON says.
        espeak_data_dir: Another data folder for espeak-ng than the one that came with it.
        download_dir: Kept for programs that read it back; nothing is downloaded into it.
        frontend: Text to ids; made from the config where none is given.
        seed: Makes speech repeatable, where the network takes its noise from here.
        is_shared: Several threads speak at the same time: larger windows, which are less work.

    Attributes:
        network: What speaks.
    """

    def __init__(
        self,
        session: Network | onnxruntime.InferenceSession,
        config: VoiceConfig,
        espeak_data_dir: Path | str | None = None,
        download_dir: Path | str | None = None,
        *,
        frontend: Frontend | None = None,
        seed: int | None = None,
        is_shared: bool = False,
    ) -> None:
        self.network: Network = session if hasattr(session, "speak") else VoiceSession(session)
        self.config = config
        self._espeak_data_dir = espeak_data_dir
        self.download_dir = Path(download_dir or ".")
        if frontend is None:
            espeak = None if espeak_data_dir is None else Espeak(data_dir=espeak_data_dir)
            frontend = create_frontend(config, espeak=espeak)
        self.frontend = frontend
        self._synthesizer = SpeechSynthesizer(self.network, config, seed, is_shared=is_shared)
        self._load_session: Callable[[], onnxruntime.InferenceSession] | None = None

    @property
    def espeak_data_dir(self) -> Path:
        """espeak-ng's data folder."""
        return Path(self._espeak_data_dir or find_espeak_data())

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The voice's own graph in ONNX Runtime, for programs that run it by themselves.

        Speaking may do without it (`piper.voice.cache`), so it is loaded when first asked for.

        Raises:
            PiperError: The voice was not made of a file, or that cannot be loaded any more.
        """
        if isinstance(self.network, VoiceSession):
            return self.network.session
        if self._load_session is None:
            raise PiperError("This voice has no graph of its own; make it by PiperVoice.load().")
        return self._load_session()

    @classmethod
    def load(
        cls,
        model_path: Path | str | VoiceFiles,
        config_path: Path | str | None = None,
        use_cuda: Cuda = False,
        espeak_data_dir: Path | str | None = None,
        download_dir: Path | str | None = None,
        include_alignments: bool = False,
        *,
        seed: int | None = None,
        threads: int | None = None,
        cache_dir: CacheDir = None,
        text_options: TextOptions | None = None,
        is_shared: bool = False,
    ) -> PiperVoice:
        """Load a voice.

        The first time, an optimised model is made of the voice and kept (`piper.voice.cache`); with
        it the voice loads and speaks sooner, and can stream, align, mix speakers and take seeds.

        Args:
            model_path: The ONNX file, or the files that `find_voice` has found.
            config_path: Its JSON; None means the file beside it, `<model>.json`.
            use_cuda: Run on an NVIDIA GPU; where none can be started, the CPU speaks after a
                warning. `strict` makes that an error.
            espeak_data_dir: Another data folder for espeak-ng than the one that came with it.
            download_dir: Kept for programs that read it back; nothing is downloaded into it.
            include_alignments: Warn here where the voice cannot give durations.
            seed: Makes speech repeatable: the same sentences in the same order give the same
                samples on the same machine.
            threads: Threads of one sentence's network; None takes a core each.
            cache_dir: Folder for the optimised model; None means the environment variable
                PIPER_CACHE_DIR, else the user's cache folder; False means none, so that the
                voice's own graph speaks.
            text_options: How texts are prepared; None takes the voice's own. Without a lexicon
                there, the file `<model>.lexicon` is one, if it exists.
            is_shared: Several threads speak at the same time: larger windows, which are less work.

        Raises:
            VoiceNotFoundError: The ONNX file or its JSON is not there.
            ConfigError: The JSON cannot be used.
            PhonemizeError: The voice wants a phonemizer that is not there.
            PiperError: The file is no voice, or CUDA is wanted strictly and not there.
        """
        if isinstance(model_path, VoiceFiles):
            files = model_path
        else:
            files = find_voice(model_path, config_path=config_path)
        text_options = _add_own_lexicon(text_options, files.model)
        config = load_voice_config(files.config)
        espeak = None if espeak_data_dir is None else Espeak(data_dir=espeak_data_dir)
        frontend = create_frontend(config, text_options, espeak)
        network = load_network(
            files.model, cache_dir, use_cuda=use_cuda, threads=threads, seed=seed
        )
        if (known := network.num_speakers) is not None and config.num_speakers > known:
            raise ConfigError(
                f"{files.config} says num_speakers {config.num_speakers}, but the network has "
                f"{known}; correct the file, or take the one that belongs to the voice."
            )
        _warn_about_phonemizer(config, frontend)
        if include_alignments and not network.has_durations:
            _LOGGER.warning(
                "%s gives no durations, so there will be no alignments; export it again to get "
                "them.",
                files.model,
            )
        voice = cls(
            network,
            config,
            espeak_data_dir,
            download_dir,
            frontend=frontend,
            seed=seed,
            is_shared=is_shared,
        )
        voice._load_session = partial(
            create_session, files.model, use_cuda=use_cuda, threads=threads, seed=seed
        )
        return voice

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
        syn_config: SynthesisConfig | wave.Wave_write | None = None,
        include_alignments: bool = False,
        *,
        text_options: TextOptions | None = None,
        **former: Any,
    ) -> Iterator[AudioChunk]:
        """Speak a text, one chunk a sentence; nothing for a text without words.

        Args:
            text: One or more sentences, or the pieces of a text with markup, as
                `piper.text.markup.parse_markup` gives them.
            syn_config: How to speak; None takes the voice's defaults.
            include_alignments: Also say how long each phoneme lasts and when each word is spoken.
            text_options: How this text is prepared; what they leave open, the voice's say.
            former: What Piper 1.2 took in place of `syn_config`, which may be its `wav_file`:
                `speaker_id`, `length_scale`, `noise_scale`, `noise_w`, `sentence_silence`. It is
                understood with a DeprecationWarning.

        Raises:
            PiperError: The voice has no such speaker, or a value makes no sense.
        """
        wav_file = former.pop("wav_file", None)
        if syn_config is not None and not isinstance(syn_config, SynthesisConfig):
            wav_file, syn_config = syn_config, None
        if wav_file is not None:
            _warn_about_call("synthesize(text, wav_file)", "synthesize_wav(text, wav_file)")
            self.synthesize_wav(text, wav_file, _to_config(former), text_options=text_options)
            return iter(())
        if former:
            _warn_about_call("synthesize(text, …)", "synthesize(text, SynthesisConfig(…))")
            syn_config = _to_config(former)
        frontend = self._find_frontend(text_options)
        syn_config = syn_config or SynthesisConfig()
        loudness = resolve_loudness(syn_config, is_streamed=False)
        sentences = pace_sentences(frontend, text)
        spoken = self._synthesizer.speak(sentences, syn_config)
        return self._synthesizer.join(spoken, loudness, syn_config.volume, include_alignments)

    def synthesize_stream(
        self,
        text: str | Iterable[str] | Iterable[Piece] | Iterable[PacedSentence],
        syn_config: SynthesisConfig | None = None,
        include_alignments: bool = False,
        *,
        text_options: TextOptions | None = None,
        max_planned_ids: int = 0,
        watch: Callable[[int], None] | None = None,
    ) -> Iterator[StreamChunk]:
        """Speak a text in small pieces, the first of which comes before the sentence is done.

        Together the pieces are what `synthesize` gives with the same seed and loudness. Scaling to
        full range needs the whole sentence (or text), so it is off here unless
        `syn_config.normalize` asks for it, and then there is one piece a sentence.

        Args:
            text: As for `synthesize`; or parts of a text that may still be in the making, cut
                anywhere: each sentence is spoken as soon as it is complete; or sentences, as
                `piper.voice.synthesizer` gives them.
            syn_config: How to speak; None takes the voice's defaults.
            include_alignments: Also say how long each phoneme lasts and when each word is spoken.
            text_options: How this text is prepared; what they leave open, the voice's say.
            max_planned_ids: Of a text of no more phoneme ids the durations are found first, a tenth
                of the work, so that each piece says `total_samples`.
            watch: Called before each piece of work is given on, with the number of samples that
                are newly known of (planned ones count once, when they are planned). What it raises
                ends the speech.

        Raises:
            PiperError: As `synthesize`.
        """
        syn_config = syn_config or SynthesisConfig()
        loudness = resolve_loudness(syn_config, is_streamed=True)
        sentences = pace_parts(self._find_frontend(text_options), text)
        return self._synthesizer.stream(
            sentences, syn_config, loudness, include_alignments, max_planned_ids, watch
        )

    def synthesize_stream_raw(self, text: str, **former: Any) -> Iterator[bytes]:
        """Give the 16-bit samples of each sentence, as Piper 1.2 did; `synthesize` is of today."""
        _warn_about_call("synthesize_stream_raw(text)", "synthesize(text)")
        chunks = self.synthesize(text, _to_config(former))
        return (chunk.audio_int16_bytes for chunk in chunks)

    def synthesize_ids_to_raw(self, phoneme_ids: Sequence[int], **former: Any) -> bytes:
        """Return the 16-bit samples of one sentence's ids, as Piper 1.2 did."""
        _warn_about_call("synthesize_ids_to_raw(ids)", "phoneme_ids_to_audio(ids)")
        audio = self.phoneme_ids_to_audio(phoneme_ids, _to_config(former))
        return samples_to_pcm(scale_audio(audio, normalize=True, volume=1.0))

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
            output.set_wav_format(wav_file, self.config.sample_rate)
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

        More than 50 seconds of them are spoken in parts, cut at spaces, lest they take all memory.

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
        parts = _cut_ids(list(phoneme_ids), self.config.phoneme_id_map)
        sentences = [PacedSentence(Sentence([], [*head, *ids, *tail])) for head, ids, tail in parts]
        audio: list[FloatArray] = []
        samples: list[npt.NDArray[np.int64]] = []
        spoken_parts = self._synthesizer.speak(sentences, syn_config or SynthesisConfig())
        for (head, ids, _), (_, spoken) in zip(parts, spoken_parts, strict=True):
            audio += spoken.audio
            if spoken.id_samples is not None:
                # What was put around a part counts as its first and its last id.
                inner = spoken.id_samples[len(head) : len(head) + len(ids)].copy()
                inner[0] += spoken.id_samples[: len(head)].sum()
                inner[-1] += spoken.id_samples[len(head) + len(ids) :].sum()
                samples.append(inner)
        whole = np.concatenate(audio)
        if not include_alignments:
            return whole
        return whole, np.concatenate(samples) if len(samples) == len(parts) else None


def _cut_ids(
    ids: list[int], id_map: Mapping[str, Sequence[int]]
) -> list[tuple[list[int], list[int], list[int]]]:
    """Return the parts of a long sentence's ids, each with what begins and ends it."""
    bos, pad, eos, space = (list(id_map.get(symbol, ())) for symbol in (BOS, PAD, EOS, " "))
    parts: list[tuple[list[int], list[int], list[int]]] = []
    start = 0
    while len(ids) > _MAX_WHOLE_IDS and len(ids) - start > MAX_SPOKEN_IDS:
        most = min(MAX_SPOKEN_IDS, len(ids) - start - 1)
        spaces = [
            place for place in range(start + 1, start + most) if ids[place : place + 1] == space
        ]
        end = min(spaces[-1] + 1 + len(pad), start + most) if spaces else start + most
        parts.append(([*bos, *pad] if start else [], ids[start:end], eos))
        start = end
    return [*parts, ([*bos, *pad] if start else [], ids[start:], [])]


def _add_own_lexicon(options: TextOptions | None, model: Path) -> TextOptions | None:
    """Return the options with the lexicon beside the voice, if they have none and it exists."""
    path = Path(f"{model}.lexicon")
    if (options is not None and options.lexicon is not None) or not path.is_file():
        return options
    return replace(options or TextOptions(), lexicon=load_lexicon(path))


def _warn_about_phonemizer(config: VoiceConfig, frontend: Frontend) -> None:
    """Say where a voice was trained on phonemes of another program or version."""
    trained, present = config.phonemizer, frontend.phonemizer
    if trained is not None and trained != present:
        _LOGGER.warning(
            "The voice was trained on phonemes of %s %s, but speaks with those of %s %s; "
            "some words may sound worse.",
            trained.name,
            trained.version,
            present.name,
            present.version,
        )


def _to_config(former: Mapping[str, Any]) -> SynthesisConfig:
    """Return the arguments of Piper 1.2 as today's.

    Raises:
        TypeError: It had no such argument either.
    """
    if unknown := former.keys() - _FORMER_NAMES.keys():
        names = ", ".join(sorted(unknown))
        raise TypeError(f"There is no argument {names}; say how to speak by a SynthesisConfig.")
    given = {_FORMER_NAMES[name]: value for name, value in former.items() if value is not None}
    return SynthesisConfig(**given)


def _warn_about_call(old: str, new: str) -> None:
    sentence = f"PiperVoice.{old} is Piper 1.2's; call {new} in its place."
    warnings.warn(sentence, DeprecationWarning, stacklevel=3)
