"""Sentences to speech: their pace, settings, pauses, loudness and times.

Voices were trained on recordings whose silence was trimmed, often with the quiet beginning of an
s, sh or t, and on sentences that ended in a mark. So they begin such a sound at full strength with
the first sample, and swallow the last consonant of a text without a mark.
docs/RESULTS.md has the figures.

There is one way from ids to sound, `SpeechSynthesizer.speak`; whole sentences and streams are
made of it. Shapes: P phonemes, S samples.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import (
    SAMPLE_CHANNELS,
    SAMPLE_WIDTH_BYTES,
    AudioChunk,
    FloatArray,
    PhonemeAlignment,
    StreamChunk,
    WordTiming,
)
from piper.config import SynthesisConfig, VoiceConfig
from piper.errors import PiperError, describe_os_error, name_some
from piper.phoneme_ids import BOS, EOS, PAD
from piper.text.frontend import Frontend, Sentence
from piper.text.pieces import Piece, Pitch, Span
from piper.voice.session import Network, SpeechSettings, SpokenSentence

Loudness = Literal["sentence", "utterance", "off"]
IdMap = Mapping[str, Sequence[int]]
IdSamples = npt.NDArray[np.int64]

MAX_SPOKEN_IDS = 400
"""Longer sentences are spoken in parts, each of some 11 seconds: the memory that the text encoder
takes grows with the square of the ids."""
LONGEST_SILENCE_SECONDS = 600
LARGEST_PITCH = 12
"""Semitones up or down: an octave, beyond which no voice is like itself."""
RUN_UP_PADS = 2
"""Fewest pads more that let all of 165 short utterances of the voice joe begin below -50 dB; with
one, 5 still began above -40 dB; more only add silence."""
FULL_STOP = "."
SILENCE_PEAK = 1e-8
"""Below this peak a sentence counts as silence: scaling it up would only give noise."""
MEMORY_BYTES = 64 * 2**20
"""13 minutes at 22,050 Hz; longer utterances wait in a temporary file, 5 MB a minute."""

_MARKS = frozenset(".?!,:;…。．？！、，：；।۔؟،؛")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class PacedSentence:
    """A sentence with what the piece that it stands in says of its pace.

    Attributes:
        sentence: The sentence.
        rate: Factor on the speed; 2 is twice as fast.
        begins_paragraph: Whether a paragraph ended between it and the sentence before it.
        silence_before_seconds: Of pieces without words before it.
        silence_after_seconds: Of its piece, whose last sentence it is.
        spans: Of words in its text; where they overlap, the later one counts.
    """

    sentence: Sentence
    rate: float = 1.0
    begins_paragraph: bool = False
    silence_before_seconds: float = 0.0
    silence_after_seconds: float = 0.0
    spans: tuple[Span, ...] = ()


def pace_sentences(frontend: Frontend, text: str | Iterable[Piece]) -> Iterator[PacedSentence]:
    """Yield the sentences of a text, or of pieces, which are read when they are asked for.

    Raises:
        PiperError: The pace of a piece makes no sense.
    """
    begins_paragraph = False
    silence = 0.0
    for piece in [Piece(text)] if isinstance(text, str) else text:
        if not (math.isfinite(piece.rate) and piece.rate > 0):
            raise PiperError(f"The rate of a piece is {piece.rate}, but it must be more than 0.")
        check_silence("The silence of a piece", piece.silence_seconds)
        sentences = frontend.text_to_sentences(piece.text, MAX_SPOKEN_IDS) if piece.text else []
        place = 0
        for number, sentence in enumerate(sentences, start=1):
            after = piece.silence_seconds if number == len(sentences) else 0.0
            place = max(place, piece.text.find(sentence.text, place))
            end = place + len(sentence.text)
            spans = tuple(
                replace(one, start=one.start - place, end=one.end - place)
                for one in piece.spans
                if one.start < end and one.end > place
            )
            yield PacedSentence(sentence, piece.rate, begins_paragraph, silence, after, spans)
            place = end
            begins_paragraph, silence = False, 0.0
        begins_paragraph = begins_paragraph or piece.ends_paragraph
        if not sentences:
            silence += piece.silence_seconds


def find_speaker(config: VoiceConfig, speaker: int | str | None) -> int:
    """Return a speaker's number, given it, its text or a name; None means the voice's default."""
    if speaker is None:
        speaker = config.default_speaker_id
    num_speakers = max(1, config.num_speakers)
    number = speaker
    if isinstance(speaker, str):
        number = int(speaker) if speaker.isascii() and speaker.isdecimal() else -1
        # Names may be numbers, too (those of LibriTTS-R are). A number means what it means to
        # other clients, and is a name only where there is no such number.
        if not 0 <= number < num_speakers:
            number = config.speaker_id_map.get(speaker, -1)
    if isinstance(number, int) and 0 <= number < num_speakers:
        return number
    has = "one speaker, 0" if num_speakers == 1 else f"speakers 0 to {num_speakers - 1}"
    if num_speakers > 1 and (names := list(config.speaker_id_map)):
        has += f" ({name_some(names, 10)})"
    raise PiperError(f"There is no speaker {speaker}: the voice has {has}; choose one of these.")


def resolve_speaker(config: VoiceConfig, speaker: int | str | None) -> dict[str, Any]:
    """Return the fields of a `SynthesisConfig` that a speaker, or `3:0.7,anna:0.3`, means."""
    mix = None
    if isinstance(speaker, str) and ":" in speaker and speaker not in config.speaker_id_map:
        mix = parse_speaker_mix(config, speaker)
    return {"speaker_id": find_speaker(config, None if mix else speaker), "speaker_mix": mix}


def parse_speaker_mix(config: VoiceConfig, text: str) -> dict[int, float]:
    """Return the shares of speakers written as `3:0.7,anna:0.3`."""
    mix: dict[int, float] = {}
    for part in text.split(","):
        name, colon, share = part.strip().rpartition(":")
        try:
            value = float(share)
        except ValueError:
            colon = ""
        if not colon:
            raise PiperError(
                f"{text!r} is no mixture of speakers; write speakers and shares like 3:0.7,5:0.3."
            )
        number = find_speaker(config, name)
        mix[number] = mix.get(number, 0.0) + value
    return check_speaker_mix(config, mix)


def check_speaker_mix(config: VoiceConfig, mix: Mapping[int, float]) -> dict[int, float]:
    """Return the shares divided by their sum."""
    total = math.fsum(mix.values())
    if not math.isfinite(total) or total <= 0 or min(mix.values()) < 0:
        raise PiperError(
            f"The speakers' shares are {', '.join(map(str, mix.values())) or 'none'}; "
            "give shares of 0 or more whose sum is more than 0."
        )
    return {find_speaker(config, number): share / total for number, share in mix.items()}


def resolve_settings(syn_config: SynthesisConfig, config: VoiceConfig) -> SpeechSettings:
    """Return what the network is to be told."""
    if syn_config.speaker_mix is not None:
        speakers = check_speaker_mix(config, syn_config.speaker_mix)
    else:
        speakers = {find_speaker(config, syn_config.speaker_id): 1.0}
    scales = {}
    for name in ("noise_scale", "length_scale", "noise_w_scale"):
        given = getattr(syn_config, name)
        scales[name] = value = getattr(config, name) if given is None else given
        is_zero_wrong = name == "length_scale"
        if not math.isfinite(value) or value < 0 or (value == 0 and is_zero_wrong):
            bound = "more than 0" if is_zero_wrong else "0 or more"
            raise PiperError(f"{name} is {value}, but it must be {bound}.")
    pitch = syn_config.pitch
    # Written so that a NaN is wrong, too.
    if not -LARGEST_PITCH <= pitch <= LARGEST_PITCH:
        raise PiperError(
            f"pitch is {pitch}, but it must be from -{LARGEST_PITCH} to {LARGEST_PITCH} semitones."
        )
    return SpeechSettings(**scales, speakers=speakers, pitch=pitch)


def resolve_loudness(syn_config: SynthesisConfig, *, is_streamed: bool) -> Loudness:
    """Return over what the sound is brought to full range."""
    if syn_config.normalize is None:
        return "sentence" if syn_config.normalize_audio and not is_streamed else "off"
    if syn_config.normalize not in (known := get_args(Loudness)):
        raise PiperError(
            f"normalize is {syn_config.normalize!r}, but it must be one of {', '.join(known)}."
        )
    return syn_config.normalize


def check_silence(name: str, seconds: float) -> None:
    """Check that a silence can be made."""
    if not 0 <= seconds <= LONGEST_SILENCE_SECONDS:
        raise PiperError(
            f"{name} is {seconds}, but it must be from 0 to {LONGEST_SILENCE_SECONDS} seconds."
        )


def check_ids(ids: Sequence[int], config: VoiceConfig) -> None:
    """Check that the network has a row for each id."""
    highest = max(ids, default=0)
    if not ids or min(ids) < 0 or highest >= config.num_symbols:
        raise PiperError(
            f"The phoneme ids must not be empty and lie between 0 and "
            f"{config.num_symbols - 1}, which is what the voice's num_symbols allows, but the "
            f"highest is {highest}; check phoneme_id_map and num_symbols in its JSON."
        )


def needs_room(sentence: Sentence, whole_ends: bool | None) -> bool:
    """Return whether a sentence gets wide ends: None means where it has no more than one word."""
    if whole_ends is None:
        # Not by `sentence.words`, which takes 10 ms of a long sentence to find.
        return len(sentence.text.split()) <= 1
    return whole_ends


def widen_ends(sentence: Sentence, id_map: IdMap) -> Sentence:
    """Return the sentence with pads more after BOS, and with a full stop where it has no mark.

    Without phonemes the ids are somebody's own and stay; what the map lacks is not added.
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


def compute_phoneme_ends(sentence: Sentence, id_map: IdMap) -> list[int] | None:
    """Return for BOS, each phoneme and EOS the number of ids up to its end, pads included.

    A phoneme that the map lacks ends where the one before it ends. None where the ids are not
    those of the phonemes.
    """
    ids, pad = list(sentence.ids), list(id_map.get(PAD, ()))
    ends: list[int] = []
    end = 0
    for symbol in (BOS, *sentence.phonemes, EOS):
        own = list(id_map.get(symbol, ()))
        if ids[end : end + len(own)] != own:
            return None
        end += len(own)
        while own and pad and ids[end : end + len(pad)] == pad:
            end += len(pad)
        ends.append(end)
    return ends if end == len(ids) else None


def compute_alignments(
    sentence: Sentence, ends: Sequence[int], id_samples: IdSamples, id_map: IdMap
) -> list[PhonemeAlignment]:
    """Say how long each phoneme that has ids lasts, BOS and EOS included; pads count with it.

    Args:
        sentence: The sentence.
        ends: As `compute_phoneme_ends` returned them.
        id_samples: (P,) samples of each id.
        id_map: Phoneme to ids.
    """
    places = zip((BOS, *sentence.phonemes, EOS), [0, *ends], ends, strict=False)
    return [
        PhonemeAlignment(symbol, list(sentence.ids[start:end]), int(id_samples[start:end].sum()))
        for symbol, start, end in places
        if symbol in id_map
    ]


def compute_word_timings(
    sentence: Sentence, ends: Sequence[int], id_samples: IdSamples, sample_rate: int
) -> list[WordTiming]:
    """Say when each word of a sentence is spoken; arguments as for `compute_alignments`."""
    seconds = np.concatenate([[0], np.cumsum(id_samples)]) / sample_rate
    return [
        WordTiming(
            word.text,
            float(seconds[ends[word.first_phoneme]]),
            float(seconds[ends[word.last_phoneme]]),
        )
        for word in sentence.words
    ]


class Pauses:
    """The pauses of one text, asked for sentence by sentence.

    Raises:
        PiperError: A length makes no sense.
    """

    def __init__(self, config: SynthesisConfig, sample_rate: int, id_map: IdMap) -> None:
        sentence, clause = config.sentence_silence_seconds, config.clause_silence_seconds
        paragraph, ellipsis = config.paragraph_silence_seconds, config.ellipsis_silence_seconds
        lengths = {
            "sentence": sentence,
            "clause": clause,
            "paragraph": sentence if paragraph is None else paragraph,
            "ellipsis": clause if ellipsis is None else ellipsis,
        }
        for name, seconds in lengths.items():
            check_silence(f"{name}_silence_seconds", seconds)
        self._samples = {name: round(seconds * sample_rate) for name, seconds in lengths.items()}
        self._sample_rate = sample_rate
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
            is_paragraph = self._previous.ends_paragraph or paced.begins_paragraph
            other = "paragraph" if is_paragraph else "sentence"
            before += self._samples["clause" if self._previous.goes_on else other]
        self._previous = paced.sentence
        # How long the sound is shows only at its end.
        places = Counter({0: before, sys.maxsize: after})
        id_samples = spoken.id_samples
        if id_samples is not None:
            ends = np.cumsum(id_samples)
            id_samples = id_samples.copy()
            id_samples[0] += before
            id_samples[-1] += after
            for index, samples in self._find_inside(paced.sentence).items():
                id_samples[index] += samples
                places[int(ends[index])] += samples
        total = places.total()
        audio = _insert_silence(spoken.audio, places) if total else spoken.audio
        return SpokenSentence(audio, id_samples, spoken.num_samples + total)

    def _find_inside(self, sentence: Sentence) -> dict[int, int]:
        """Return the index of the last id before each pause, and the pause's samples."""
        clause, ellipsis = self._samples["clause"], self._samples["ellipsis"]
        if not (clause or ellipsis) or not sentence.clause_breaks:
            return {}
        ends = compute_phoneme_ends(sentence, self._id_map)
        if ends is None:
            return {}
        ellipses = set(sentence.ellipses)
        return {
            ends[phoneme + 1] - 1: ellipsis if phoneme in ellipses else clause
            for phoneme in sentence.clause_breaks
        }


def _insert_silence(
    pieces: Iterator[FloatArray], places: Mapping[int, int]
) -> Iterator[FloatArray]:
    """Put silences into sound that comes in pieces, each after so many samples of sound."""
    waiting = sorted((place, length) for place, length in places.items() if length)
    start = 0
    for piece in pieces:
        parts: list[FloatArray] = []
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


def scale_audio(samples: FloatArray, *, normalize: bool, volume: float) -> FloatArray:
    """Scale (S,) to a peak of 1 where asked, silence excepted, then by the volume; clip to ±1."""
    if normalize:
        peak = float(np.max(np.abs(samples), initial=0.0))
        samples = samples / peak if peak > SILENCE_PEAK else np.zeros_like(samples)
    if volume != 1.0:
        samples = samples * np.float32(volume)
    return np.clip(samples, -1.0, 1.0).astype(np.float32, copy=False)


def level_chunks(chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
    """Yield the chunks so that the highest peak of all is 1; silence stays silence.

    The first chunk comes when all are spoken, since only then the peak is known.
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


class SeedSource:
    """Gives sentences a source of noise each, by a seed in order; safe to use from many threads."""

    def __init__(self, seed: int | None) -> None:
        self._sequence = np.random.SeedSequence(seed)
        self._lock = threading.Lock()

    def create_rng(self) -> np.random.Generator:
        """Return the next source of noise."""
        with self._lock:
            [child] = self._sequence.spawn(1)
        return np.random.Generator(np.random.PCG64(child))


Spoken = tuple[Sentence, SpokenSentence]
"""A sentence as the network was given it, and its sound."""


class SpeechSynthesizer:
    """Speaks sentences by a network; safe to use from many threads.

    Args:
        network: The network.
        config: What the voice's JSON says.
        seed: Makes speech repeatable, where the network takes its noise from here.
        is_shared: Others speak by the same network at the same time.
    """

    def __init__(
        self,
        network: Network,
        config: VoiceConfig,
        seed: int | None = None,
        *,
        is_shared: bool = False,
    ) -> None:
        self._network = network
        self._config = config
        self._is_shared = is_shared
        self._seeds = SeedSource(seed)
        self._has_warned = False

    def speak(
        self,
        sentences: Iterable[PacedSentence],
        syn_config: SynthesisConfig,
        *,
        is_streamed: bool = False,
    ) -> Iterator[Spoken]:
        """Speak sentences one after the other, as loud as the network makes them."""
        settings = resolve_settings(syn_config, self._config)
        id_map = self._config.phoneme_id_map
        pauses = Pauses(syn_config, self._config.sample_rate, id_map)
        seeds = self._seeds
        if syn_config.seed is not None:
            seeds = SeedSource(syn_config.seed)
            self._warn_about_seed()
        for paced in sentences:
            if needs_room(paced.sentence, syn_config.whole_ends):
                paced = replace(paced, sentence=widen_ends(paced.sentence, id_map))
            sentence = paced.sentence
            check_ids(sentence.ids, self._config)
            spoken = self._network.speak(
                sentence.ids,
                self._shape(settings, paced),
                seeds.create_rng(),
                is_streamed=is_streamed,
                is_shared=self._is_shared,
            )
            yield sentence, pauses.add(paced, spoken)

    def join(
        self,
        spoken: Iterable[Spoken],
        loudness: Loudness,
        volume: float,
        include_alignments: bool,
    ) -> Iterator[AudioChunk]:
        """Give sentences whole, as loud as is asked for."""
        chunks = (self._join_pieces(*pair, include_alignments) for pair in spoken)
        for chunk in level_chunks(chunks) if loudness == "utterance" else chunks:
            chunk.audio_float_array = scale_audio(
                chunk.audio_float_array, normalize=loudness == "sentence", volume=volume
            )
            yield chunk

    def _join_pieces(
        self, sentence: Sentence, spoken: SpokenSentence, include_alignments: bool
    ) -> AudioChunk:
        id_samples = spoken.id_samples if include_alignments else None
        return AudioChunk(
            sample_rate=self._config.sample_rate,
            sample_width=SAMPLE_WIDTH_BYTES,
            sample_channels=SAMPLE_CHANNELS,
            audio_float_array=np.concatenate(list(spoken.audio)),
            phonemes=list(sentence.phonemes),
            phoneme_ids=list(sentence.ids),
            phoneme_id_samples=id_samples,
            text=sentence.text,
            **self._compute_times(sentence, id_samples),
        )

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
        if max_planned_ids:
            sentences = list(sentences)
            if sum(len(paced.sentence.ids) for paced in sentences) > max_planned_ids:
                max_planned_ids = 0
        total = None
        spoken: Iterable[Spoken] = self.speak(sentences, syn_config, is_streamed=loudness == "off")
        if max_planned_ids:
            planned = deque(_plan(spoken, watch))
            total = sum(sound.num_samples for _, sound in planned)
            # What has been spoken is not kept.
            spoken = (planned.popleft() for _ in range(len(planned)))
        if watch is not None:
            spoken = _watch(spoken, watch, is_planned=total is not None)
        if loudness != "off":
            chunks = self.join(spoken, loudness, syn_config.volume, include_alignments)
            for number, chunk in enumerate(chunks):
                yield StreamChunk(
                    chunk.sample_rate,
                    chunk.audio_float_array,
                    number,
                    True,
                    chunk.text,
                    chunk.phoneme_alignments,
                    chunk.word_timings,
                    total,
                )
            return
        for number, (sentence, sound) in enumerate(spoken):
            for place, piece in enumerate(sound.audio):
                is_asked = include_alignments and place == 0
                yield StreamChunk(
                    sample_rate=self._config.sample_rate,
                    audio_float_array=scale_audio(piece, normalize=False, volume=syn_config.volume),
                    sentence=number,
                    is_first=place == 0,
                    text=sentence.text,
                    total_samples=total,
                    **self._compute_times(sentence, sound.id_samples if is_asked else None),
                )

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
        mean_hertz = self._network.mean_hertz
        if mean_hertz is None:
            _warn_about_pitch(self._config.source.removesuffix(".json") or "this voice")
            return 0.0
        return around if pitch is None else pitch.find_semitones(around, mean_hertz)

    def _find_ids(self, sentence: Sentence, span: Span) -> slice:
        """Return the ids of words; all of them where all words are meant, none without words."""
        ends = compute_phoneme_ends(sentence, self._config.phoneme_id_map)
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

    def _compute_times(self, sentence: Sentence, id_samples: IdSamples | None) -> dict[str, Any]:
        """Return when phonemes and words are spoken, as fields of a chunk, where it is known."""
        id_map = self._config.phoneme_id_map
        ends = None if id_samples is None else compute_phoneme_ends(sentence, id_map)
        if id_samples is None or ends is None:
            return {}
        rate = self._config.sample_rate
        return {
            "phoneme_alignments": compute_alignments(sentence, ends, id_samples, id_map),
            "word_timings": compute_word_timings(sentence, ends, id_samples, rate),
        }

    def _warn_about_seed(self) -> None:
        if not self._network.can_seed and not self._has_warned:
            self._has_warned = True
            _LOGGER.warning(
                "This voice speaks by its own graph, whose noise takes no seed at each call; "
                "give the seed to PiperVoice.load()."
            )


def _plan(spoken: Iterable[Spoken], watch: Callable[[int], None] | None) -> Iterator[Spoken]:
    for sentence, sound in spoken:
        if watch is not None:
            watch(sound.num_samples)
        yield sentence, sound


def _watch(
    spoken: Iterable[Spoken], watch: Callable[[int], None], *, is_planned: bool
) -> Iterator[Spoken]:
    """Give the sentences, whose sound tells of each of its pieces."""

    def follow(audio: Iterator[FloatArray]) -> Iterator[FloatArray]:
        for piece in audio:
            watch(0 if is_planned else len(piece))
            yield piece

    for sentence, sound in spoken:
        yield sentence, replace(sound, audio=follow(sound.audio))


@lru_cache(maxsize=256)
def _warn_about_pitch(voice: str) -> None:
    """Say it once of each voice, also where that is loaded again and again."""
    _LOGGER.warning(
        "The pitch of %s cannot be set, and stays as it is; only that of quick voices can.", voice
    )
