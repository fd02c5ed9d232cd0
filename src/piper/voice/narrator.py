"""Speaks sentences: noise, pauses, loudness and times around a network. Knows no files, no text.

There is one way from ids to sound, `Narrator.speak`; whole sentences and streams are made of it.
Shapes: P phonemes, S samples.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import (
    SAMPLE_CHANNELS,
    SAMPLE_WIDTH_BYTES,
    AudioChunk,
    PhonemeAlignment,
    WordTiming,
    scale_audio,
)
from piper.config import SynthesisConfig, VoiceConfig
from piper.text.frontend import Sentence
from piper.text.piece import Pitch, Span
from piper.voice.ends import is_wanted, widen_ends
from piper.voice.incoming import PacedSentence
from piper.voice.loudness import level_chunks
from piper.voice.pauses import Pauses
from piper.voice.session import Network, SpeechSettings, SpokenSentence
from piper.voice.settings import Loudness, check_ids, resolve_settings
from piper.voice.stream import StreamChunk
from piper.voice.timing import find_phoneme_ends, ids_to_alignments, words_to_timings

_logger = logging.getLogger(__name__)


class Narrator:
    """Speaks sentences by a network; safe to use from many threads.

    Args:
        session: The network.
        config: What the voice's JSON says.
        seed: Makes speech repeatable, where the network takes its noise from here.
        is_shared: Others speak by the same network at the same time.
    """

    def __init__(
        self,
        session: Network,
        config: VoiceConfig,
        seed: int | None = None,
        *,
        is_shared: bool = False,
    ) -> None:
        self.session = session
        self.config = config
        self._is_shared = is_shared
        self._seeds = SeedSource(seed)
        self._has_warned = False

    def synthesize(
        self,
        sentences: Iterable[PacedSentence],
        syn_config: SynthesisConfig,
        loudness: Loudness,
        include_alignments: bool,
    ) -> Iterator[AudioChunk]:
        """Speak sentences, one chunk each, as loud as is asked for."""
        chunks = self._whole_sentences(sentences, syn_config, include_alignments)
        for chunk in level_chunks(chunks) if loudness == "utterance" else chunks:
            chunk.audio_float_array = scale_audio(
                chunk.audio_float_array,
                normalize=loudness == "sentence",
                volume=syn_config.volume,
            )
            yield chunk

    def stream(
        self,
        sentences: Iterable[PacedSentence],
        syn_config: SynthesisConfig,
        loudness: Loudness,
        include_alignments: bool,
    ) -> Iterator[StreamChunk]:
        """Speak sentences in small pieces; in whole sentences, where their peaks are needed."""
        if loudness != "off":
            chunks = self.synthesize(sentences, syn_config, loudness, include_alignments)
            for number, chunk in enumerate(chunks):
                yield StreamChunk(
                    sample_rate=chunk.sample_rate,
                    audio_float_array=chunk.audio_float_array,
                    sentence=number,
                    is_first=True,
                    text=chunk.text,
                    phoneme_alignments=chunk.phoneme_alignments,
                    word_timings=chunk.word_timings,
                )
            return
        spoken_sentences = self.speak(sentences, syn_config, is_streamed=True)
        for number, (sentence, spoken) in enumerate(spoken_sentences):
            for place, piece in enumerate(spoken.audio):
                is_asked = include_alignments and place == 0
                alignments, words = self._find_times(
                    sentence, spoken.id_samples if is_asked else None
                )
                yield StreamChunk(
                    sample_rate=self.config.sample_rate,
                    audio_float_array=scale_audio(piece, normalize=False, volume=syn_config.volume),
                    sentence=number,
                    is_first=place == 0,
                    text=sentence.text,
                    phoneme_alignments=alignments,
                    word_timings=words,
                )

    def speak(
        self, sentences: Iterable[PacedSentence], syn_config: SynthesisConfig, *, is_streamed: bool
    ) -> Iterator[tuple[Sentence, SpokenSentence]]:
        """Speak sentences one after the other: the one way from ids to sound."""
        settings = resolve_settings(syn_config, self.config)
        pauses = Pauses(syn_config, self.config.sample_rate, self.config.phoneme_id_map)
        seeds = self._seeds
        if syn_config.seed is not None:
            seeds = SeedSource(syn_config.seed)
            self._warn_about_seed()
        for paced in sentences:
            sentence = paced.sentence
            if is_wanted(sentence, syn_config.whole_ends):
                sentence = widen_ends(sentence, self.config.phoneme_id_map)
            check_ids(sentence.ids, self.config)
            spoken = self.session.speak(
                sentence.ids,
                self._shape(settings, replace(paced, sentence=sentence)),
                seeds.create_random(),
                is_streamed=is_streamed,
                is_shared=self._is_shared,
            )
            yield sentence, pauses.add(replace(paced, sentence=sentence), spoken)

    def _shape(self, settings: SpeechSettings, paced: PacedSentence) -> SpeechSettings:
        """Return how a sentence is to be spoken, by the piece that it stands in."""
        pitch = self._find_pitch(settings.pitch, None)
        semitones = np.full(len(paced.sentence.ids), pitch, dtype=np.float32)
        emphasis = np.zeros_like(semitones)
        for span in paced.spans:
            place = self._find_ids(paced.sentence, span)
            semitones[place] = self._find_pitch(settings.pitch, span.pitch)
            emphasis[place] = span.emphasis
        is_even = bool((semitones == semitones[0]).all())
        return replace(
            settings,
            length_scale=settings.length_scale / paced.rate,
            pitch=float(semitones[0]) if is_even else pitch,
            semitones=None if is_even else semitones,
            emphasis=emphasis if emphasis.any() else None,
        )

    def _find_pitch(self, around: float, pitch: Pitch | None) -> float:
        """Return the semitones of words; 0 where they cannot be set, which is said once."""
        if not around and pitch in (None, Pitch()):
            return 0.0
        mean_hertz = self.session.mean_hertz
        if mean_hertz is None:
            _warn_about_pitch(self.config.source.removesuffix(".json") or "this voice")
            return 0.0
        return around if pitch is None else pitch.find_semitones(around, mean_hertz)

    def _find_ids(self, sentence: Sentence, span: Span) -> slice:
        """Return the ids of words; all of them where all words are meant, none without words."""
        id_map = self.config.phoneme_id_map
        ends = find_phoneme_ends(sentence.phonemes, sentence.ids, id_map)
        words = sentence.words
        meant = [
            i for i, word in enumerate(words) if word.start < span.end and word.end > span.start
        ]
        if ends is None or not meant:
            return slice(0)
        first, last = meant[0], meant[-1]
        # What is no word, at the sentence's ends, goes with the word beside it.
        start = ends[words[first].first_phoneme] if first else 0
        is_end = last == len(words) - 1
        return slice(start, None if is_end else ends[words[last].last_phoneme])

    def _whole_sentences(
        self,
        sentences: Iterable[PacedSentence],
        syn_config: SynthesisConfig,
        include_alignments: bool,
    ) -> Iterator[AudioChunk]:
        """Speak sentences as loud as the network makes them."""
        for sentence, spoken in self.speak(sentences, syn_config, is_streamed=False):
            id_samples = spoken.id_samples if include_alignments else None
            alignments, words = self._find_times(sentence, id_samples)
            yield AudioChunk(
                sample_rate=self.config.sample_rate,
                sample_width=SAMPLE_WIDTH_BYTES,
                sample_channels=SAMPLE_CHANNELS,
                audio_float_array=np.concatenate(list(spoken.audio)),
                phonemes=list(sentence.phonemes),
                phoneme_ids=list(sentence.ids),
                phoneme_id_samples=id_samples,
                phoneme_alignments=alignments,
                text=sentence.text,
                word_timings=words,
            )

    def _find_times(
        self, sentence: Sentence, id_samples: npt.NDArray[np.int64] | None
    ) -> tuple[list[PhonemeAlignment] | None, list[WordTiming] | None]:
        """Return how long each phoneme lasts and when each word is spoken, where it is known."""
        if id_samples is None:
            return None, None
        id_map = self.config.phoneme_id_map
        alignments = ids_to_alignments(sentence.phonemes, sentence.ids, id_samples, id_map)
        ends = find_phoneme_ends(sentence.phonemes, sentence.ids, id_map)
        if ends is None:
            return alignments, None
        rate = self.config.sample_rate
        return alignments, words_to_timings(sentence.words, ends, id_samples, rate)

    def _warn_about_seed(self) -> None:
        if not self.session.can_seed and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "This voice speaks by its own graph, whose noise takes no seed at each call; "
                "give the seed to PiperVoice.load()."
            )


@lru_cache(maxsize=256)
def _warn_about_pitch(voice: str) -> None:
    """Say it once of each voice: servers have many narrators."""
    _logger.warning(
        "The pitch of %s cannot be set, and stays as it is; only that of quick voices can.", voice
    )


class SeedSource:
    """Gives each sentence a source of noise of its own; safe to use from many threads.

    Args:
        seed: The same seed gives the same sources, in the order of asking.
    """

    def __init__(self, seed: int | None) -> None:
        self._sequence = np.random.SeedSequence(seed)
        self._lock = threading.Lock()

    def create_random(self) -> np.random.Generator:
        """Return the next source of noise."""
        with self._lock:
            [child] = self._sequence.spawn(1)
        return np.random.Generator(np.random.PCG64(child))
