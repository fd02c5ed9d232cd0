"""The one way from text to phoneme ids; knows no audio."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from itertools import accumulate, pairwise

from piper.config import PhonemeType, Phonemizer, VoiceConfig
from piper.text import ids as phoneme_ids
from piper.text.espeak import Espeak
from piper.text.options import VOICE_KEY, TextOptions
from piper.text.phonemizers import create_phonemizer
from piper.text.prepare import PreparedText, TextPreparer
from piper.text.pronounce import pronounce
from piper.text.rewrite import RewrittenText
from piper.text.sentence import SpokenClause, join_abbreviations, join_phonemes
from piper.text.words import Word, share_phonemes


@dataclass(frozen=True)
class Sentence:
    """One sentence of a text.

    Attributes:
        phonemes: P phonemes, single code points (NFD) or the voice's vowel clusters; Chinese ones
            are parts of a syllable.
        ids: Their ids, from BOS to EOS.
        text: The characters of the text that it was made of, without the spaces around them.
        ends_paragraph: Whether a blank line follows.
        clause_breaks: Indices of the last phoneme of each clause but the sentence's last one:
            after `, ; :` (the space after the mark) and `…` (the letter before it).
        ellipses: Those of them where `…` or `...` stands.
        goes_on: Whether it is a part of a sentence that was too long, and not the last one.
    """

    phonemes: list[str]
    ids: list[int]
    text: str = ""
    ends_paragraph: bool = False
    clause_breaks: list[int] = field(default_factory=list)
    ellipses: list[int] = field(default_factory=list)
    goes_on: bool = False
    find_words: Callable[[], list[Word]] = field(default=list, repr=False, compare=False)

    @cached_property
    def words(self) -> list[Word]:
        """The words with their phonemes, in order; found when first asked for (milliseconds)."""
        return self.find_words()


# BOS, EOS, a pad, and the comma of a part that ends without a mark.
_FRAME_IDS = 8
_SILENT = " ,;:"
# Clauses of a sentence that is too long are cut at their words where they are longer than this
# share of a part.
_SHORT_CLAUSES = 8


class _CutPlace(IntEnum):
    """Where a sentence may be cut; the lower, the better."""

    MARK = 0
    LINE = 1
    SPACE = 2


class Frontend:
    """From text to phoneme ids, as a voice was trained.

    Args:
        phoneme_type: How text becomes phonemes.
        espeak_voice: Voice (language) for espeak-ng; other types do not read it.
        phoneme_id_map: Phoneme to its ids.
        phoneme_map: Phoneme to the phonemes that replace it.
        vowel_clusters: Phonemes of several code points; the longest that fits counts.
        espeak: The espeak-ng to use; None takes the one that `Espeak()` finds.
        options: How texts are prepared before they become phonemes.

    Attributes:
        options: The same, with none left open.
        phonemizer: The program that makes the phonemes, and its version.
        missing: Phonemes that the id map lacked so far; each has been warned about once.

    Raises:
        PhonemizeError: espeak-ng lacks the voice or cannot be loaded, or the library of the phoneme
            type is not installed.
    """

    def __init__(
        self,
        phoneme_type: PhonemeType,
        espeak_voice: str,
        phoneme_id_map: Mapping[str, Sequence[int]],
        phoneme_map: Mapping[str, Sequence[str]] | None = None,
        *,
        vowel_clusters: Iterable[str] = (),
        espeak: Espeak | None = None,
        options: TextOptions | None = None,
    ) -> None:
        self._text_phonemizer = create_phonemizer(phoneme_type, espeak_voice, espeak)
        self._language = espeak_voice if phoneme_type == PhonemeType.ESPEAK else ""
        self._set_options((options or TextOptions()).fill(None))
        self._phoneme_id_map = phoneme_id_map
        self._phoneme_map = {
            unicodedata.normalize("NFD", phoneme): self._text_phonemizer.split_phonemes(
                "".join(others)
            )
            for phoneme, others in (phoneme_map or {}).items()
        }
        self._clusters = _compile_clusters(vowel_clusters)
        self.missing: Counter[str] = Counter()

    def _set_options(self, options: TextOptions) -> None:
        self.options = options
        self._preparer = TextPreparer(self._language, options)
        self.phonemizer = self._text_phonemizer.phonemizer
        if self._preparer.program:
            version = f"{self.phonemizer.version} after {self._preparer.program}"
            self.phonemizer = Phonemizer(self.phonemizer.name, version)

    def with_options(self, options: TextOptions) -> Frontend:
        """Return a frontend of the same voice with other options.

        What they leave open stays as it is here, the lexicon too. Phonemes that the id map lacks
        are counted together.
        """
        frontend = copy(self)
        filled = options.fill(self.options.to_dict())
        frontend._set_options(replace(filled, lexicon=options.lexicon or self.options.lexicon))
        return frontend

    def text_to_phonemes(self, text: str) -> list[list[str]]:
        """Return the phonemes of a text, one list of single code points (NFD) a sentence.

        A text without anything to say has no sentences.
        """
        return [
            [phoneme for clause in sentence for phoneme in self._map_phonemes(clause)]
            for sentence in self._split_sentences(self._preparer.prepare(text))
        ]

    def phonemes_to_ids(self, phonemes: Sequence[str]) -> list[int]:
        """Return the ids of one sentence, from BOS to EOS.

        Raises:
            PhonemizeError: The voice's id map lacks BOS, PAD or EOS.
        """
        return phoneme_ids.phonemes_to_ids(
            phonemes, self._phoneme_id_map, self.missing, self._text_phonemizer.padded
        )

    def text_to_sentences(self, text: str, max_ids: int | None = None) -> list[Sentence]:
        """Return the sentences of a text.

        Args:
            text: The text.
            max_ids: Longer sentences are cut: where a clause or a line ends, else at a space, else
                anywhere. None leaves them whole.
        """
        prepared = self._preparer.prepare(text)
        sentences: list[Sentence] = []
        for clauses in self._split_sentences(prepared):
            parts = [clauses]
            if max_ids is not None and self._count_ids(clauses) > max_ids - _FRAME_IDS:
                parts = self._cut_sentence(clauses, max_ids)
            sentences += [
                self._create_sentence(text, prepared.rewritten, part, goes_on=part is not parts[-1])
                for part in parts
            ]
        return sentences

    def _split_sentences(self, prepared: PreparedText) -> list[list[SpokenClause]]:
        """Return the clauses of the sentences that say something."""
        phonemizer = self._text_phonemizer
        sentences: list[list[SpokenClause]] = []
        parted = phonemizer.split_clauses(prepared.rewritten.text)
        if self.options.abbreviations:
            parted = join_abbreviations(parted, self._language)
        for clauses in parted:
            sentence = [pronounce(clause, prepared, phonemizer) for clause in clauses]
            if join_phonemes(sentence).strip():
                sentences.append(sentence)
            elif sentences:
                _append_silent(sentences[-1], sentence)
        return sentences

    def _map_phonemes(self, clause: SpokenClause) -> list[str]:
        return self._map_string(clause.phonemes + clause.ending, is_raw=clause.is_raw)

    def _map_string(self, phonemes: str, *, is_raw: bool = False) -> list[str]:
        symbols = self._text_phonemizer.split_phonemes(phonemes)
        if self._clusters and not is_raw:  # raw phonemes are taken as they are
            symbols = self._clusters.findall("".join(symbols))
        if not self._phoneme_map:
            return symbols
        return [new for old in symbols for new in self._phoneme_map.get(old, [old])]

    def _create_sentence(
        self,
        text: str,
        rewritten: RewrittenText,
        clauses: list[SpokenClause],
        *,
        goes_on: bool,
    ) -> Sentence:
        phonemes: list[str] = []
        breaks: list[int] = []
        ellipses: list[int] = []
        for clause in clauses:
            phonemes += self._map_phonemes(clause)
            if clause.is_break and clause is not clauses[-1] and phonemes:
                breaks.append(len(phonemes) - 1)
                if clause.is_ellipsis:
                    ellipses.append(len(phonemes) - 1)
        length = sum(len(clause.source) for clause in clauses)
        start, end = rewritten.find_source(clauses[0].start, clauses[0].start + length)
        source = text[start:end]
        start += len(source) - len(source.lstrip())
        return Sentence(
            phonemes,
            self.phonemes_to_ids(phonemes),
            text=source.strip(),
            ends_paragraph=any(clause.ends_paragraph for clause in clauses),
            clause_breaks=breaks,
            ellipses=ellipses,
            goes_on=goes_on,
            find_words=lambda: self._find_words(text, rewritten, clauses, start),
        )

    def _count_ids(self, clauses: Iterable[SpokenClause]) -> int:
        """Return how many ids the phonemes have, with a pad each."""
        id_map = self._phoneme_id_map
        return sum(
            len(id_map.get(phoneme, ())) + 1
            for clause in clauses
            for phoneme in self._map_phonemes(clause)
        )

    def _cut_sentence(
        self, clauses: Sequence[SpokenClause], max_ids: int
    ) -> list[list[SpokenClause]]:
        """Return the clauses of the parts of a sentence, none of which has more ids.

        A part that ends where no mark is gets a comma, so that the voice makes a pause of it.
        """
        max_ids = max(1, max_ids - _FRAME_IDS)
        pieces: list[SpokenClause] = []
        places: list[_CutPlace] = []
        for clause in clauses:
            for piece, place in self._cut_clause(clause, max_ids):
                pieces.append(piece)
                places.append(place)
        ends = list(accumulate(self._count_ids([piece]) for piece in pieces))
        parts: list[list[SpokenClause]] = []
        start = 0
        while start < len(pieces):
            end = _find_cut(places, ends, start, max_ids)
            part = pieces[start:end]
            part[0] = replace(part[0], phonemes=part[0].phonemes.lstrip(" "))
            if end < len(pieces) and not part[-1].ending and "," in self._phoneme_id_map:
                part[-1] = replace(part[-1], ending=", ")
            if join_phonemes(part).strip(_SILENT):
                parts.append(part)
            elif parts:
                _append_silent(parts[-1], part)
            start = end
        return parts or [list(clauses)]

    def _cut_clause(
        self, clause: SpokenClause, max_ids: int
    ) -> Iterator[tuple[SpokenClause, _CutPlace]]:
        """Yield the clause, or where it is long its words, with what kind of place follows each."""
        end_place = _CutPlace.MARK if clause.is_break else _CutPlace.SPACE
        source = clause.source
        ids = self._count_ids([clause])
        if ids <= max_ids // _SHORT_CLAUSES and "\n" not in source.strip():
            yield clause, _CutPlace.LINE if _ends_line(source) else end_place
            return
        symbols = self._text_phonemizer.split_phonemes(clause.phonemes)
        borders = self._find_borders(clause, symbols)
        for (place, first), (end, last) in pairwise(borders):
            is_last = end == len(source)
            word = replace(
                clause,
                source=source[place:end],
                start=clause.start + place,
                phonemes="".join(symbols[first:last]),
                ending=clause.ending if is_last else "",
                is_break=clause.is_break and is_last,
                is_ellipsis=clause.is_ellipsis and is_last,
                ends_paragraph=clause.ends_paragraph and is_last,
                said={
                    (start - place, stop - place): said
                    for (start, stop), said in clause.said.items()
                    if place <= start < end
                },
            )
            after = end_place if is_last else _CutPlace.SPACE
            if _ends_line(word.source):
                after = _CutPlace.LINE
            for part in self._cut_word(word, max_ids):
                yield part, after

    def _find_borders(self, clause: SpokenClause, symbols: Sequence[str]) -> list[tuple[int, int]]:
        """Return where words begin, in the clause's source and in its phonemes, and the end."""
        words = [] if clause.is_raw else self._share_clause(clause, symbols)
        # Where words are spoken as one (`of the`), their border among the phonemes is a guess.
        has_spaces = " " in symbols
        borders: list[tuple[int, int]] = []
        for (_, end, _, last), (start, *_) in pairwise(words):
            if not has_spaces or symbols[last : last + 1] == [" "]:
                line_end = clause.source.rfind("\n", end, start)  # a list's dash goes with its item
                borders.append((line_end + 1 if line_end >= 0 else start, last))
        return [(0, 0), *borders, (len(clause.source), len(symbols))]

    def _cut_word(self, word: SpokenClause, max_ids: int) -> Iterator[SpokenClause]:
        """Yield a word, in parts where it is longer than a sentence may be."""
        ids = self._count_ids([word])
        if ids <= max_ids:
            yield word
            return
        symbols = self._text_phonemizer.split_phonemes(word.phonemes)
        count = min(len(symbols), 2 * -(-ids // max_ids))
        for number in range(count):
            is_last = number == count - 1
            places, phonemes = (
                slice(len(whole) * number // count, len(whole) * (number + 1) // count)
                for whole in (word.source, symbols)
            )
            yield replace(
                word,
                source=word.source[places],
                start=word.start + places.start,
                phonemes="".join(symbols[phonemes]),
                ending=word.ending if is_last else "",
                is_break=word.is_break and is_last,
                is_ellipsis=word.is_ellipsis and is_last,
                ends_paragraph=word.ends_paragraph and is_last,
                said={},
            )

    def _find_words(
        self, text: str, rewritten: RewrittenText, clauses: Sequence[SpokenClause], start: int
    ) -> list[Word]:
        """Return the words of a sentence that begins at `start` of the text."""
        words: list[Word] = []
        offset = 0
        for clause in clauses:
            phonemes = self._map_phonemes(clause)
            for place, end, first, last in self._share_clause(clause, phonemes):
                span = rewritten.find_source(clause.start + place, clause.start + end)
                word = Word(
                    text[slice(*span)],
                    span[0] - start,
                    span[1] - start,
                    offset + first,
                    offset + last,
                )
                if words and word.start < words[-1].end:  # several words written for one
                    words[-1] = _join_words(text, start, words[-1], word)
                else:
                    words.append(word)
            offset += len(phonemes)
        return words

    def _share_clause(
        self, clause: SpokenClause, phonemes: Sequence[str]
    ) -> list[tuple[int, int, int, int]]:
        """Return start and end of each word in the clause, and its phonemes' first and last."""
        if clause.is_raw:
            return [(0, len(clause.source), 0, len(phonemes))] if phonemes else []
        phonemizer = self._text_phonemizer
        alone: dict[tuple[int, int], list[str]] = {}
        for span in phonemizer.find_words(clause.source):
            said = clause.said.get(span)
            spoken = phonemizer.speak_alone(clause.source[slice(*span)]) if said is None else said
            if spoken.strip():
                alone[span] = self._map_string(spoken)
        shares = share_phonemes(phonemes, list(alone.values()))
        return [(*span, *share) for span, share in zip(alone, shares, strict=True)]


def create_frontend(
    config: VoiceConfig, options: TextOptions | None = None, espeak: Espeak | None = None
) -> Frontend:
    """Create the frontend that a voice's JSON asks for.

    Args:
        config: The voice's JSON.
        options: How texts are prepared; what they leave open is done as the voice's training did
            (the JSON's `text_options`), and where it does not say so as Piper does.
        espeak: The espeak-ng to use; None takes the one that `Espeak()` finds.

    Raises:
        PhonemizeError: espeak-ng lacks the voice or cannot be loaded, or the library of the phoneme
            type is not installed.
        ConfigError: The voice's `text_options` are wrong.
    """
    return Frontend(
        config.phoneme_type,
        config.espeak_voice,
        config.phoneme_id_map or phoneme_ids.DEFAULT_PHONEME_ID_MAP,
        config.phoneme_map,
        vowel_clusters=config.vowel_clusters,
        espeak=espeak,
        options=(options or TextOptions()).fill(config.extra.get(VOICE_KEY), config.source),
    )


def _compile_clusters(clusters: Iterable[str]) -> re.Pattern[str] | None:
    """Return what cuts phonemes into clusters and single code points."""
    normal = {unicodedata.normalize("NFD", cluster) for cluster in clusters}
    longest_first = sorted((one for one in normal if len(one) > 1), key=len, reverse=True)
    choices = [*map(re.escape, longest_first), "."]
    return re.compile("|".join(choices), re.DOTALL) if longest_first else None


def sentences_to_ids(sentences: Iterable[Sentence]) -> list[int]:
    """Return the ids of a training row: the complete ids of its sentences, one after the other."""
    return [phoneme_id for sentence in sentences for phoneme_id in sentence.ids]


def _ends_line(source: str) -> bool:
    return "\n" in source[len(source.rstrip()) :]


def _find_cut(places: Sequence[_CutPlace], ends: Sequence[int], start: int, max_ids: int) -> int:
    """Return where the next part of a sentence ends.

    The parts become about equally long, so that no single word is left for the last one.

    Args:
        places: What each piece is followed by.
        ends: Ids up to the end of each piece, from the beginning of the sentence.
        start: The first piece of the part.
        max_ids: Of a part.
    """
    before = ends[start - 1] if start else 0
    left = ends[-1] - before
    if left <= max_ids:
        return len(ends)
    wanted = left / -(-left // max_ids)
    end = bisect_right(ends, before + max_ids)
    for kind in _CutPlace:
        # Better a space than a part of a second.
        least = 0.0 if kind == _CutPlace.SPACE else wanted / 3
        fitting = [
            (abs(ends[index] - before - wanted), index + 1)
            for index in range(start, end)
            if places[index] == kind and ends[index] - before >= least
        ]
        if fitting:
            return min(fitting)[1]
    return start + 1


def _join_words(text: str, start: int, left: Word, right: Word) -> Word:
    end = max(left.end, right.end)
    source = text[start + left.start : start + end]
    return Word(source, left.start, end, left.first_phoneme, right.last_phoneme)


def _append_silent(sentence: list[SpokenClause], silent: Sequence[SpokenClause]) -> None:
    """Give a sentence the closing quotation mark or the blank line that follows it."""
    is_closing = not sentence[-1].source[-1:].isspace()
    for clause in silent:
        source = clause.source if is_closing else ""
        sentence.append(replace(clause, source=source, phonemes="", ending=""))
        is_closing = is_closing and not clause.source[-1:].isspace()
