"""Speaks sentences: noise, pauses, loudness and times around a network.

Voices were trained on recordings whose silence was trimmed, often with the quiet beginning of an
s, sh or t, and on sentences that ended in a mark. So they begin such a sound at full strength with
the first sample, and swallow the last consonant of a text without a mark.
`benchmarks/short_utterances.py` measures both.

There is one way from ids to sound, `Narrator.speak`; whole sentences and streams are made of it.
Shapes: P phonemes, S samples.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import (
    SAMPLE_CHANNELS,
    SAMPLE_WIDTH_BYTES,
    SILENCE_PEAK,
    AudioChunk,
    FloatArray,
    PhonemeAlignment,
    WordTiming,
    scale_audio,
)
from piper.config import SynthesisConfig, VoiceConfig
from piper.errors import PiperError, describe_os_error
from piper.text.frontend import BOS, EOS, PAD, Sentence
from piper.text.markup import Pitch, Span
from piper.text.sentence import Word
from piper.voice.incoming import PacedSentence
from piper.voice.session import Network, SpeechSettings, SpokenSentence, StreamChunk
from piper.voice.settings import Loudness, check_ids, check_silence, resolve_settings

RUN_UP_PADS = 2
"""Fewest pads more that let all of 165 short utterances of the voice joe begin below -50 dB; with
one, 5 still began above -40 dB; more only add silence."""
FULL_STOP = "."
_MARKS = frozenset(".?!,:;…。．？！、，：；।۔؟،؛")


def is_wanted(sentence: Sentence, whole_ends: bool | None) -> bool:
    """Return whether a sentence gets the room: None means where it has no more than one word."""
    if whole_ends is None:
        # Not by `sentence.words`, which takes 10 ms of a long sentence to find.
        return len(sentence.text.split()) <= 1
    return whole_ends


def widen_ends(sentence: Sentence, id_map: Mapping[str, Sequence[int]]) -> Sentence:
    """Return the sentence with pads more after BOS, and with a full stop where it has no mark.

    Args:
        sentence: Its phonemes and ids; without phonemes the ids are somebody's own and stay.
        id_map: Phoneme to ids; what it lacks is not added.
    """
    bos, pad, eos = (list(id_map.get(symbol, ())) for symbol in (BOS, PAD, EOS))
    ids, phonemes = sentence.ids, sentence.phonemes
    if not (phonemes and bos and pad and eos):
        return sentence
    if ids[: len(bos)] != bos or ids[-len(eos) :] != eos:
        return sentence
    inner = ids[len(bos) : -len(eos)]
    spoken = [phoneme for phoneme in phonemes if phoneme in id_map and not phoneme.isspace()]
    if FULL_STOP in id_map and spoken and spoken[-1] not in _MARKS:
        inner = [*inner, *id_map[FULL_STOP], *pad]
        phonemes = [*phonemes, FULL_STOP]
    return replace(sentence, phonemes=phonemes, ids=[*bos, *(pad * RUN_UP_PADS), *inner, *eos])


MEMORY_BYTES = 64 * 2**20
"""13 minutes at 22,050 Hz; longer utterances wait in a temporary file, 5 MB a minute."""


def level_chunks(chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
    """Yield the chunks so that the highest peak of all is 1; silence stays silence.

    The first chunk comes when all are spoken, since only then the peak is known.

    Raises:
        PiperError: There is no room for the temporary file.
    """
    import tempfile  # which a cold start need not wait for

    empty = np.zeros(0, dtype=np.float32)
    waiting: list[tuple[AudioChunk, int]] = []
    peak = 0.0
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as file:
        for chunk in chunks:
            audio = chunk.audio_float_array
            peak = max(peak, float(np.max(np.abs(audio), initial=0.0)))
            try:
                file.write(audio.astype(np.float32, copy=False).tobytes())
            except OSError as error:
                raise PiperError(describe_os_error(error)) from None
            waiting.append((replace(chunk, audio_float_array=empty), len(audio)))
        gain = np.float32(1.0 / peak if peak > SILENCE_PEAK else 1.0)
        file.seek(0)
        for chunk, num_samples in waiting:
            audio = np.frombuffer(file.read(num_samples * 4), dtype=np.float32)
            yield replace(chunk, audio_float_array=audio * gain)


def ids_to_alignments(
    phonemes: Sequence[str],
    ids: Sequence[int],
    id_samples: npt.NDArray[np.int64],
    id_map: Mapping[str, Sequence[int]],
) -> list[PhonemeAlignment] | None:
    """Say how long each phoneme of a sentence lasts, BOS and EOS included.

    Args:
        phonemes: The sentence's phonemes; those that the map lacks were dropped and get nothing.
        ids: (P,) what the phonemes became.
        id_samples: (P,) samples of each id.
        id_map: Phoneme to ids.

    Returns:
        One entry a phoneme, the pads after it counted in; their samples add up to the sentence's.
        None where the ids are not those of the phonemes.
    """
    if len(ids) != len(id_samples):
        return None
    pad = list(id_map.get(PAD, ()))
    alignments: list[PhonemeAlignment] = []
    start = 0
    for symbol in (BOS, *(phoneme for phoneme in phonemes if phoneme in id_map), EOS):
        own = list(id_map.get(symbol, ()))
        end = start + len(own)
        if list(ids[start:end]) != own:
            return None
        while pad and list(ids[end : end + len(pad)]) == pad:
            end += len(pad)
        alignments.append(
            PhonemeAlignment(symbol, list(ids[start:end]), int(id_samples[start:end].sum()))
        )
        start = end
    return alignments if start == len(ids) else None


def find_phoneme_ends(
    phonemes: Sequence[str], ids: Sequence[int], id_map: Mapping[str, Sequence[int]]
) -> list[int] | None:
    """Return for BOS and each phoneme the number of ids up to its end, pads after it included.

    A phoneme that the map lacks ends where the one before it ends. None where the ids are not
    those of the phonemes.
    """
    alignments = ids_to_alignments(phonemes, ids, np.zeros(len(ids), dtype=np.int64), id_map)
    if alignments is None:
        return None
    lengths = iter([len(alignment.phoneme_ids) for alignment in alignments])
    own = [next(lengths), *(next(lengths) if p in id_map else 0 for p in phonemes)]
    return [int(end) for end in np.cumsum(own)]


def words_to_timings(
    words: Sequence[Word],
    phoneme_ends: Sequence[int],
    id_samples: npt.NDArray[np.int64],
    sample_rate: int,
) -> list[WordTiming]:
    """Say when each word of a sentence is spoken.

    Args:
        words: The words with their phonemes.
        phoneme_ends: As `find_phoneme_ends` returned them.
        id_samples: (P,) samples of each id.
        sample_rate: Hertz.
    """
    seconds = np.concatenate([[0], np.cumsum(id_samples)]) / sample_rate
    return [
        WordTiming(
            word.text,
            float(seconds[phoneme_ends[word.first_phoneme]]),
            float(seconds[phoneme_ends[word.last_phoneme]]),
        )
        for word in words
    ]


class Pauses:
    """The pauses of one text, asked for sentence by sentence.

    Args:
        config: Their lengths.
        sample_rate: Hertz.
        id_map: Phoneme to ids.

    Raises:
        PiperError: A length makes no sense.
    """

    def __init__(
        self, config: SynthesisConfig, sample_rate: int, id_map: Mapping[str, Sequence[int]]
    ) -> None:
        def to_samples(name: str, seconds: float) -> int:
            check_silence(name, seconds)
            return round(seconds * sample_rate)

        self._sample_rate = sample_rate
        sentence, clause = config.sentence_silence_seconds, config.clause_silence_seconds
        paragraph, ellipsis = config.paragraph_silence_seconds, config.ellipsis_silence_seconds
        self._sentence = to_samples("sentence_silence_seconds", sentence)
        self._clause = to_samples("clause_silence_seconds", clause)
        self._paragraph = to_samples(
            "paragraph_silence_seconds", sentence if paragraph is None else paragraph
        )
        self._ellipsis = to_samples(
            "ellipsis_silence_seconds", clause if ellipsis is None else ellipsis
        )
        self._id_map = id_map
        self._previous: Sentence | None = None

    def add(self, paced: PacedSentence, spoken: SpokenSentence) -> SpokenSentence:
        """Put silence around the next sentence and inside it.

        What stands before it counts as a part of BOS, what stands after it as a part of EOS, what
        stands after a clause as a part of the clause's last phoneme, so that the ids' samples
        still add up to the sentence's.
        """
        before = round(paced.silence_before_seconds * self._sample_rate)
        after = round(paced.silence_after_seconds * self._sample_rate)
        if self._previous is not None:
            if self._previous.goes_on:
                before += self._clause
            elif self._previous.ends_paragraph or paced.begins_paragraph:
                before += self._paragraph
            else:
                before += self._sentence
        self._previous = paced.sentence
        # How long the sound is shows only at its end.
        places = Counter({0: before, sys.maxsize: after})
        id_samples = spoken.id_samples
        if id_samples is None:
            total = spoken.num_samples + places.total()
            return SpokenSentence(_insert_silence(spoken.audio, places), None, total)
        ends = np.cumsum(id_samples)
        longer = id_samples.copy()
        longer[0] += before
        longer[-1] += after
        for index, samples in self._find_inside(paced.sentence).items():
            longer[index] += samples
            places[int(ends[index])] += samples
        total = spoken.num_samples + places.total()
        return SpokenSentence(_insert_silence(spoken.audio, places), longer, total)

    def _find_inside(self, sentence: Sentence) -> dict[int, int]:
        """Return the index of the last id before each pause, and the pause's samples."""
        if not (self._clause or self._ellipsis) or not sentence.clause_breaks:
            return {}
        ends = find_phoneme_ends(sentence.phonemes, sentence.ids, self._id_map)
        if ends is None:
            return {}
        ellipses = set(sentence.ellipses)
        return {
            ends[phoneme + 1] - 1: self._ellipsis if phoneme in ellipses else self._clause
            for phoneme in sentence.clause_breaks
        }


def _insert_silence(
    pieces: Iterator[FloatArray], places: Mapping[int, int]
) -> Iterator[FloatArray]:
    """Put silence into sound that comes in pieces.

    Args:
        pieces: (S,) each.
        places: Samples of sound before a silence, and the samples of that silence.
    """
    waiting = sorted((place, length) for place, length in places.items() if length)
    start = 0
    for piece in pieces:
        parts: list[npt.NDArray[np.float32]] = []
        cut = 0
        while waiting and waiting[0][0] < start + len(piece):
            place, length = waiting.pop(0)
            parts += [piece[cut : place - start], np.zeros(length, dtype=np.float32)]
            cut = place - start
        parts.append(piece[cut:])
        yield np.concatenate(parts) if len(parts) > 1 else piece
        start += len(piece)
    for _, length in waiting:
        yield np.zeros(length, dtype=np.float32)


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
        spoken = self.speak(sentences, syn_config, is_streamed=False)
        return self._synthesize(spoken, syn_config, loudness, include_alignments)

    def _synthesize(
        self,
        spoken_sentences: Iterable[tuple[Sentence, SpokenSentence]],
        syn_config: SynthesisConfig,
        loudness: Loudness,
        include_alignments: bool,
    ) -> Iterator[AudioChunk]:
        chunks = self._whole_sentences(spoken_sentences, include_alignments)
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
        max_planned_ids: int = 0,
        watch: Callable[[int], None] | None = None,
    ) -> Iterator[StreamChunk]:
        """Speak sentences in small pieces; in whole sentences, where their peaks are needed."""
        total = None
        spoken_sentences: Iterable[tuple[Sentence, SpokenSentence]]
        if max_planned_ids:
            sentences = list(sentences)
            if sum(len(paced.sentence.ids) for paced in sentences) > max_planned_ids:
                max_planned_ids = 0
        spoken_sentences = self.speak(sentences, syn_config, is_streamed=loudness == "off")
        if max_planned_ids:
            planned: deque[tuple[Sentence, SpokenSentence]] = deque()
            for sentence, spoken in spoken_sentences:
                if watch is not None:
                    watch(spoken.num_samples)
                planned.append((sentence, spoken))
            total = sum(spoken.num_samples for _, spoken in planned)
            # What has been spoken is not kept.
            spoken_sentences = (planned.popleft() for _ in range(len(planned)))
        if watch is not None:
            spoken_sentences = _watch(spoken_sentences, watch, is_planned=total is not None)
        if loudness != "off":
            chunks = self._synthesize(spoken_sentences, syn_config, loudness, include_alignments)
            for number, chunk in enumerate(chunks):
                yield StreamChunk(
                    sample_rate=chunk.sample_rate,
                    audio_float_array=chunk.audio_float_array,
                    sentence=number,
                    is_first=True,
                    text=chunk.text,
                    phoneme_alignments=chunk.phoneme_alignments,
                    word_timings=chunk.word_timings,
                    total_samples=total,
                )
            return
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
                    total_samples=total,
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
        spoken_sentences: Iterable[tuple[Sentence, SpokenSentence]],
        include_alignments: bool,
    ) -> Iterator[AudioChunk]:
        """Give sentences whole, as loud as the network makes them."""
        for sentence, spoken in spoken_sentences:
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


def _watch(
    spoken_sentences: Iterable[tuple[Sentence, SpokenSentence]],
    watch: Callable[[int], None],
    *,
    is_planned: bool,
) -> Iterator[tuple[Sentence, SpokenSentence]]:
    """Give the sentences, whose sound tells of each of its pieces."""

    def pieces(audio: Iterator[FloatArray]) -> Iterator[FloatArray]:
        for piece in audio:
            watch(0 if is_planned else len(piece))
            yield piece

    for sentence, spoken in spoken_sentences:
        yield sentence, replace(spoken, audio=pieces(spoken.audio))


@lru_cache(maxsize=256)
def _warn_about_pitch(voice: str) -> None:
    """Say it once of each voice, also where that is loaded again and again."""
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
