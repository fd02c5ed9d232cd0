"""A text to sentences with their pace, and those to speech: settings, pauses, loudness, times.

Voices were trained on recordings whose silence was trimmed, often with the quiet beginning of an
s, sh or t, and on sentences that ended in a mark. So they begin such a sound at full strength with
the first sample, and swallow the last consonant of a text without a mark.
docs/RESULTS.md has the figures.

There is one way from ids to sound, `SpeechSynthesizer.speak`; whole sentences and streams are
made of it.
Shapes: P phonemes, S samples.
"""

from __future__ import annotations

import logging
import math
import re
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import (
    SAMPLE_CHANNELS,
    SAMPLE_WIDTH_BYTES,
    SILENCE_PEAK,
    AudioChunk,
    FloatArray,
    PhonemeAlignment,
    StreamChunk,
    WordTiming,
    scale_audio,
)
from piper.config import SynthesisConfig, VoiceConfig
from piper.errors import PiperError, describe_os_error, name_some
from piper.text.frontend import BOS, EOS, PAD, Frontend, Sentence
from piper.text.markup import Piece, Pitch, Span, parse_markup
from piper.text.sentence import Word
from piper.voice.session import Network, SpeechSettings, SpokenSentence

_LOGGER = logging.getLogger(__name__)


def find_speaker(config: VoiceConfig, speaker: int | str | None) -> int:
    """Return a speaker's number.

    Args:
        config: The voice.
        speaker: A number, a name, or a number as text; None means the voice's default.
    """
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
    if num_speakers == 1:
        has = "one speaker, 0"
    else:
        has = f"speakers 0 to {num_speakers - 1}"
        names = list(config.speaker_id_map)
        if names:
            has += f" ({name_some(names, 10)})"
    raise PiperError(f"There is no speaker {speaker}: the voice has {has}; choose one of these.")


def parse_speaker_mix(config: VoiceConfig, text: str) -> dict[int, float]:
    """Return the shares of speakers written as `3:0.7,anna:0.3`.

    Args:
        config: The voice.
        text: Numbers or names with their shares.
    """
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


Loudness = Literal["sentence", "utterance", "off"]
LONGEST_SILENCE_SECONDS = 600
LARGEST_PITCH = 12
"""Semitones up or down: an octave, beyond which no voice is like itself."""
_LOUDNESS = ("sentence", "utterance", "off")


def resolve_settings(syn_config: SynthesisConfig, config: VoiceConfig) -> SpeechSettings:
    """Return what the network is to be told."""
    if syn_config.speaker_mix is not None:
        speakers = check_speaker_mix(config, syn_config.speaker_mix)
    else:
        speakers = {find_speaker(config, syn_config.speaker_id): 1.0}
    return SpeechSettings(
        noise_scale=_check_scale("noise_scale", syn_config.noise_scale, config.noise_scale),
        length_scale=_check_scale(
            "length_scale", syn_config.length_scale, config.length_scale, is_zero_allowed=False
        ),
        noise_w_scale=_check_scale("noise_w_scale", syn_config.noise_w_scale, config.noise_w_scale),
        speakers=speakers,
        pitch=_check_pitch(syn_config.pitch),
    )


def resolve_loudness(syn_config: SynthesisConfig, *, is_streamed: bool) -> Loudness:
    """Return over what the sound is brought to full range."""
    if syn_config.normalize is None:
        return "sentence" if syn_config.normalize_audio and not is_streamed else "off"
    if syn_config.normalize not in _LOUDNESS:
        raise PiperError(
            f"normalize is {syn_config.normalize!r}, but it must be one of {', '.join(_LOUDNESS)}."
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


def _check_pitch(semitones: float) -> float:
    # Written so that a NaN is wrong, too.
    if not -LARGEST_PITCH <= semitones <= LARGEST_PITCH:
        raise PiperError(
            f"pitch is {semitones}, but it must be from -{LARGEST_PITCH} to {LARGEST_PITCH} "
            "semitones."
        )
    return semitones


def _check_scale(
    name: str, value: float | None, default: float, *, is_zero_allowed: bool = True
) -> float:
    value = default if value is None else value
    if not math.isfinite(value) or value < 0 or (value == 0 and not is_zero_allowed):
        bound = "0 or more" if is_zero_allowed else "more than 0"
        raise PiperError(f"{name} is {value}, but it must be {bound}.")
    return value


_END = re.compile(r"""[.!?…。！？।؟]["'”»)\]]*\s|\n|[。！？]""")
"""Where a sentence may end; whether it does, the frontend says."""
_SURE_END = re.compile(r"""[!?。！？।؟]["'”»)\]]*\s+$|\n\s*\n$|[。！？]$""")
"""Where no following word is needed to know: a period may be that of "Corp.", a single line break
may stand in the middle of a sentence."""


MAX_SPOKEN_IDS = 400
"""Longer sentences are spoken in parts, each of some 11 seconds: the memory that the text encoder
takes grows with the square of the ids."""
_MAX_WAITING_CHARACTERS = 600
"""So much of a text that comes in parts is more than one part of a sentence."""


_MAX_BLOCK_CHARACTERS = 2000
"""A longer block of Markdown is read in parts; blocks of code may have any length."""
_FENCE = re.compile(r" {0,3}(```|~~~)")
_INLINE_SIGN = re.compile(r"[*_`~\[\]<>#|\\&]")
_BLOCK_SIGN = re.compile(r"\s*(?:[-+=]|\d{1,9}[.)])| {4}|\t")
_ITEM_SIGN = re.compile(r"^(\s*\d*)([-+=#>.)]|\*(?=\s))")


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


def split_text(frontend: Frontend, text: str) -> list[Sentence]:
    """Return the sentences of a text as they are spoken: long ones in parts."""
    return frontend.text_to_sentences(text, MAX_SPOKEN_IDS)


def pace_sentences(
    frontend: Frontend, text: str | Iterable[str | Piece | PacedSentence]
) -> Iterable[PacedSentence]:
    """Return the sentences of a text, of pieces of one, or of a text that still grows.

    Args:
        frontend: What divides a text into sentences.
        text: A text; or `Piece`s, each a text of its own; or strings, the parts of one text, cut
            anywhere. Pieces are read when their sentences are asked for. Sentences stay as they
            are.
    """
    if isinstance(text, str):
        return [PacedSentence(sentence) for sentence in split_text(frontend, text)]
    return _pace_parts(frontend, text)


def _pace_parts(
    frontend: Frontend, parts: Iterable[str | Piece | PacedSentence]
) -> Iterator[PacedSentence]:
    def find_kind(part: str | Piece | PacedSentence) -> type:
        return str if isinstance(part, str) else type(part)

    for kind, group in groupby(parts, find_kind):
        if kind is PacedSentence:
            yield from cast("Iterator[PacedSentence]", group)
        elif kind is Piece:
            yield from _pace_pieces(frontend, cast("Iterator[Piece]", group))
        else:
            sentences = collect_sentences(frontend, cast("Iterator[str]", group))
            yield from map(PacedSentence, sentences)


def _pace_pieces(frontend: Frontend, pieces: Iterable[Piece]) -> Iterator[PacedSentence]:
    begins_paragraph = False
    silence = 0.0
    for piece in pieces:
        _check_piece(piece)
        sentences = split_text(frontend, piece.text) if piece.text else []
        place = 0
        for number, sentence in enumerate(sentences, start=1):
            after = piece.silence_seconds if number == len(sentences) else 0.0
            place = max(place, piece.text.find(sentence.text, place))
            yield PacedSentence(
                sentence,
                piece.rate,
                begins_paragraph,
                silence,
                after,
                tuple(
                    replace(one, start=one.start - place, end=one.end - place)
                    for one in piece.spans
                    if one.start < place + len(sentence.text) and one.end > place
                ),
            )
            place += len(sentence.text)
            begins_paragraph, silence = False, 0.0
        begins_paragraph = begins_paragraph or piece.ends_paragraph
        if not sentences:
            silence += piece.silence_seconds


def _check_piece(piece: Piece) -> None:
    if not (math.isfinite(piece.rate) and piece.rate > 0):
        raise PiperError(f"The rate of a piece is {piece.rate}, but it must be more than 0.")
    check_silence("The silence of a piece", piece.silence_seconds)


def collect_sentences(frontend: Frontend, pieces: Iterable[str]) -> Iterator[Sentence]:
    """Yield each sentence as soon as the pieces of text hold the whole of it.

    Args:
        frontend: What divides a text into sentences.
        pieces: Parts of a text, cut anywhere, as a language model writes them.
    """
    incoming = IncomingText(frontend)
    for piece in pieces:
        yield from incoming.add(piece)
    yield from incoming.finish()


class IncomingText:
    """A text that comes in parts: gives each sentence as soon as the whole of it is there.

    Args:
        frontend: What divides a text into sentences.
    """

    def __init__(self, frontend: Frontend) -> None:
        self._frontend = frontend
        self.rest = ""
        """What came after the last sentence that was given."""

    def add(self, part: str) -> list[Sentence]:
        """Take the next part, cut anywhere; return the sentences that it completes."""
        text = self.rest = self.rest + part
        is_long = len(text) > _MAX_WAITING_CHARACTERS
        if not (is_long or _END.search(text, max(0, len(text) - len(part) - 2))):
            return []
        sentences = split_text(self._frontend, text)
        if _SURE_END.search(text):
            self.rest = ""
            return sentences
        if len(sentences) > 1 and sentences[-1].text in text:
            self.rest = text[text.rindex(sentences[-1].text) :]
            return sentences[:-1]
        return []

    def finish(self) -> list[Sentence]:
        """Return the sentences of the rest, and be ready for another text."""
        sentences = split_text(self._frontend, self.rest)
        self.rest = ""
        return sentences


class IncomingDocument:
    """A text of any kind of markup that comes in parts, as sentences with their pace.

    Of Markdown a block is read when a blank line ends it; prose, a paragraph in which no sign of
    markup has come yet, is given sentence by sentence. SSML is read when all of it is there.

    Args:
        frontend: What divides a text into sentences.
        kind: One of `piper.text.markup.MARKUP_KINDS`.
    """

    def __init__(self, frontend: Frontend, kind: str) -> None:
        self._frontend = frontend
        self._kind = kind
        self._text = IncomingText(frontend)
        self._begins_paragraph = False
        self._is_inside = False
        """Whether what comes goes on with a paragraph of which something was given."""

    @property
    def rest(self) -> str:
        """What came after the last sentence that was given."""
        return self._text.rest

    def add(self, part: str) -> list[PacedSentence]:
        """Take the next part, cut anywhere; return the sentences that it completes."""
        if self._kind == "plain":
            return list(map(PacedSentence, self._text.add(part)))
        rest = self._text.rest + part
        found: list[PacedSentence] = []
        if self._kind == "markdown":
            while (end := _find_block_end(rest, self._is_inside)) is not None:
                block = rest[: end.place]
                rest = end.opening + rest[end.place :]
                found += self._read_block(block)
                self._begins_paragraph, self._is_inside = True, False
            if not _find_sign(rest, is_inside=self._is_inside):
                self._text.rest = ""
                prose = list(map(PacedSentence, self._text.add(rest)))
                if prose and not self._text.rest:  # whether a line has ended counts
                    self._text.rest = rest[len(rest.rstrip()) :]
                self._is_inside = self._is_inside or bool(prose)
                return found + self._begin(prose)
        self._text.rest = rest
        return found

    def finish(self) -> list[PacedSentence]:
        """Return the sentences of the rest, and be ready for another text."""
        if self._kind == "plain":
            return list(map(PacedSentence, self._text.finish()))
        found = self._read_block(self._text.rest)
        self.forget()
        return found

    def forget(self) -> None:
        """Forget the rest, and be ready for another text."""
        self._text.rest = ""
        self._begins_paragraph = self._is_inside = False

    def _read_block(self, block: str) -> list[PacedSentence]:
        if self._is_inside:
            # What would begin an item or a heading stands in the middle of a line.
            block = _ITEM_SIGN.sub(r"\1\\\2", block, count=1)
        pieces = parse_markup(block, self._kind) if block.strip() else []
        return self._begin(list(pace_sentences(self._frontend, pieces)))

    def _begin(self, sentences: list[PacedSentence]) -> list[PacedSentence]:
        if sentences and self._begins_paragraph:
            sentences[0] = replace(sentences[0], begins_paragraph=True)
            self._begins_paragraph = False
        return sentences


@dataclass(frozen=True)
class _BlockEnd:
    """Where a block of Markdown ends, and what is to stand before the next one."""

    place: int
    opening: str = ""


def _find_block_end(text: str, is_inside: bool) -> _BlockEnd | None:
    """Return where the first block ends: at a blank line outside of code, or it is too long."""
    place = 0
    is_code = False
    has_text = False
    for line in text.splitlines(keepends=True):
        is_rest = is_inside and not place  # of a line that has begun
        if not line.endswith("\n"):
            break
        place += len(line)
        if _FENCE.match(line):
            is_code = not is_code
        if line.strip() or is_rest:
            has_text = True
        elif has_text and not is_code:
            return _BlockEnd(place)
        if place > _MAX_BLOCK_CHARACTERS:
            return _BlockEnd(place, "```\n" if is_code else "")
    return None


def _find_sign(text: str, *, is_inside: bool) -> bool:
    """Return whether a paragraph may have markup in it."""
    if _INLINE_SIGN.search(text):
        return True
    lines = text.split("\n")
    return any(map(_BLOCK_SIGN.match, lines[1:] if is_inside else lines))


RUN_UP_PADS = 2
"""Fewest pads more that let all of 165 short utterances of the voice joe begin below -50 dB; with
one, 5 still began above -40 dB; more only add silence."""
FULL_STOP = "."
_MARKS = frozenset(".?!,:;…。．？！、，：；।۔؟،؛")


def needs_room(sentence: Sentence, whole_ends: bool | None) -> bool:
    """Return whether a sentence gets wide ends: None means where it has no more than one word."""
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


class SpeechSynthesizer:
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
            if needs_room(sentence, syn_config.whole_ends):
                sentence = widen_ends(sentence, self.config.phoneme_id_map)
            check_ids(sentence.ids, self.config)
            spoken = self.session.speak(
                sentence.ids,
                self._shape(settings, replace(paced, sentence=sentence)),
                seeds.create_rng(),
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
            _LOGGER.warning(
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
    _LOGGER.warning(
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

    def create_rng(self) -> np.random.Generator:
        """Return the next source of noise."""
        with self._lock:
            [child] = self._sequence.spawn(1)
        return np.random.Generator(np.random.PCG64(child))
