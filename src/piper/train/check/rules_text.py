"""What is wrong with a dataset's texts, by themselves and beside what is heard."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from statistics import median

from piper.config import PhonemeType
from piper.errors import PhonemizeError, name_some
from piper.progress import ProgressLine
from piper.text.frontend import DEFAULT_PHONEME_ID_MAP, Frontend, Stress, TextOptions
from piper.text.numbers.engine import find_writer
from piper.text.sentence import find_words
from piper.text.stress import VOWELS, add_signs, load_accentor, move_stress
from piper.train.check.entries import Entry, FitMeasures
from piper.train.check.issues import Group, Issue, Rule, Severity
from piper.train.data.scripts import (
    EAST_ASIAN,
    describe_named_letters,
    describe_script,
    find_script,
)
from piper.train.recognisers import find_character_error, normalise_words

LONG_TIMES = 4.0
LONG_CHARACTERS = 250
"""A text this long takes some 17 s, and all other texts of its batch are padded to it."""
SPOKEN_SIGNS = frozenset(".,!?:;…—–-‑()[]«»„“”\"'’‘‚¡¿、。，！？：；・「」『』،؛؟॥।")
"""Punctuation that phonemizers take for pauses, or leave out without a word."""


_create_text_rule = partial(Rule, Group.TEXT)


EMPTY_TEXT = _create_text_rule(
    "empty-text",
    Severity.ERROR,
    "A line without a text",
    "an empty column",
    "Write what is said, or remove the line.",
)
NO_PHONEMES = _create_text_rule(
    "no-phonemes",
    Severity.ERROR,
    "A text that nothing can be said of",
    "no phonemes",
    "Write what is said in words.",
)
NUMBERS = _create_text_rule(
    "numbers",
    Severity.WARNING,
    "Digits that are left to the phonemizer",
    "a digit, where text_options.write_numbers is off",
    "Write numbers in words as they are said, or train with --data.write_numbers=true.",
)
SHORT_FORMS = _create_text_rule(
    "short-forms",
    Severity.WARNING,
    "Abbreviations that are left to the phonemizer",
    "one that this program would write out, where text_options.write_numbers is off",
    "Write them in words as they are said, or train with --data.write_numbers=true.",
)
MIXED_SCRIPTS = _create_text_rule(
    "mixed-scripts",
    Severity.ERROR,
    "Letters of two alphabets in one word",
    "such as a Latin c in a Cyrillic word",
    "Type the word anew: such a letter is read as its name.",
)
NAMED_LETTERS = _create_text_rule(
    "named-letters",
    Severity.ERROR,
    "Letters that espeak-ng names instead of reading",
    "a script that the voice does not read: 漢 is said as “Chinese letter”",
    "Take --data.phoneme_type=japanese or pinyin, or the espeak voice of the text's language; or "
    "write the word as it is said.",
)
FOREIGN_WORDS = _create_text_rule(
    "foreign-words",
    Severity.WARNING,
    "Words in another alphabet",
    "all letters of another alphabet than most of the set's letters",
    "Write them as they are said, in the set's own alphabet.",
)
ODD_CHARACTERS = _create_text_rule(
    "odd-characters",
    Severity.WARNING,
    "Characters that are neither letters nor punctuation",
    "signs such as % & # * / _ and pictures",
    "Write them as they are said, or remove them.",
)
MISSING_PHONEMES = _create_text_rule(
    "missing-phonemes",
    Severity.WARNING,
    "Phonemes that the id map lacks",
    "any; training leaves them out",
    "Look at the words: they may be of another language; or extend phoneme_id_map.",
)
LONG_TEXT = _create_text_rule(
    "long-text",
    Severity.WARNING,
    "A text far longer than the others",
    f"more than {LONG_TIMES:g} times the median and {LONG_CHARACTERS} characters",
    "Cut recording and text, or leave it out with --data.max_seconds.",
)


def find_in_texts(
    entries: Sequence[Entry],
    *,
    language: str,
    writes_numbers: bool,
    has_stress_marks: bool,
    has_spelling: bool = True,
) -> list[Issue]:
    """Return what is wrong with the texts.

    Args:
        has_spelling: Whether texts are written in a language's letters; where they are phonemes
            themselves (`phoneme_type=text`), or ids were made elsewhere, alphabets say nothing.
    """
    script = find_usual_script(entry.text for entry in entries)
    issues: list[Issue] = []
    for entry in entries:
        if not entry.text:
            issues.append(Issue(EMPTY_TEXT, "the text is empty", entry.line, entry.name))
            continue
        measured = entry.read
        if measured is None or not measured.num_ids:
            message = f"the text is {entry.text!r:.60}"
            issues.append(Issue(NO_PHONEMES, message, entry.line, entry.name))
        if measured is not None and measured.named:
            message = describe_named_letters(measured.named, language)
            issues.append(Issue(NAMED_LETTERS, message, entry.line, entry.name))
        found = list(_check_signs(entry.text, has_stress_marks)) if has_spelling else []
        found += _check_letters(entry.text, script) if has_spelling else ()
        if not writes_numbers:
            found += _check_written(entry.text, language)
        issues += [Issue(rule, text, entry.line, entry.name) for rule, text in found]
    issues += _check_missing(entries)
    issues += _check_lengths(entries)
    return issues


def find_usual_script(texts: Iterable[str]) -> str:
    """Return the script of most letters, as `find_script` has it; empty for none."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(filter(None, map(find_script, text)))
    return counts.most_common(1)[0][0] if counts else ""


def find_scripts(word: str) -> set[str]:
    """Return the scripts of a word's letters."""
    return set(filter(None, map(find_script, word)))


def _check_letters(text: str, script: str) -> Iterator[tuple[Rule, str]]:
    mixed, foreign = [], []
    for start, end in find_words(text):
        for word, is_joined in _split_word(text[start:end]):
            scripts = find_scripts(word)
            if len(scripts) > 1:
                mixed.append(f"{word} ({_name_strangers(word)})")
            elif scripts and scripts != {script} and not (is_joined and script == EAST_ASIAN):
                foreign.append(word)
    if mixed:
        yield MIXED_SCRIPTS, f"in {name_some(mixed)}"
    if foreign:
        yield FOREIGN_WORDS, name_some(foreign)


def _split_word(word: str) -> Iterator[tuple[str, bool]]:
    """Return the parts of a word that are of one alphabet each, unless it was mistyped.

    A hyphen joins words: `web-сайт` is of two alphabets, and no typing error. In East Asian texts
    no space stands between `T` and `シャツ`: such parts are joined.
    """
    for part in re.split(r"[-‑–—/]", word):
        groups = [
            "".join(signs)
            for _, signs in groupby(part, lambda sign: find_script(sign) == EAST_ASIAN)
        ]
        yield from ((group, len(groups) > 1) for group in groups)


def _name_strangers(word: str) -> str:
    """Name the letters of the alphabet that fewer of a word's letters have."""
    scripts = Counter(filter(None, map(find_script, word)))
    rare = min(scripts, key=scripts.__getitem__)
    letters = "".join(dict.fromkeys(c for c in word if find_script(c) == rare))
    return f"{describe_script(rare)} {letters}"


def _check_signs(text: str, has_stress_marks: bool) -> Iterator[tuple[Rule, str]]:
    spoken = SPOKEN_SIGNS | {"+", "\u0301"} if has_stress_marks else SPOKEN_SIGNS
    odd = dict.fromkeys(
        character
        for character in text
        if unicodedata.category(character)[0] in "SP" and character not in spoken
    )
    if odd:
        yield ODD_CHARACTERS, f"{' '.join(odd)} in {text!r:.60}"


def _check_written(text: str, language: str) -> Iterator[tuple[Rule, str]]:
    """Find what would be written out; only digits where the libraries for that are missing."""
    digits, forms = re.findall(r"\d[\d.,:]*", text), []
    try:
        writer = find_writer(language)
        edits = list(writer(text)) if writer else []
    except PhonemizeError:
        edits = []
    for edit in edits:
        if not any(character.isdigit() for character in text[edit.start : edit.end]):
            forms.append(f"{text[edit.start : edit.end]} ({edit.text})")
    if digits:
        yield NUMBERS, f"{name_some(digits)} in {text!r:.60}"
    if forms:
        yield SHORT_FORMS, name_some(forms)


def _check_missing(entries: Sequence[Entry]) -> Iterator[Issue]:
    """Yield an issue for each phoneme and the line that has it first, with how often it occurs."""
    counts: Counter[str] = Counter()
    lines: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        missing = entry.read.missing if entry.read else ()
        counts.update(missing)
        for phoneme in dict.fromkeys(missing):
            lines[phoneme].append(entry)
    for phoneme, count in counts.most_common():
        first = lines[phoneme][0]
        yield Issue(
            MISSING_PHONEMES,
            f"{phoneme!r} (U+{ord(phoneme[0]):04X}) {count} times in {len(lines[phoneme])} lines, "
            f"first in {first.text!r:.60}",
            first.line,
            first.name,
            count,
        )


def _check_lengths(entries: Sequence[Entry]) -> Iterator[Issue]:
    lengths = [len(entry.text) for entry in entries if entry.text]
    if not lengths:
        return
    limit = max(LONG_TIMES * median(lengths), LONG_CHARACTERS)
    for entry in entries:
        if len(entry.text) > limit:
            message = f"{len(entry.text)} characters; the median is {median(lengths):.0f}"
            yield Issue(LONG_TEXT, message, entry.line, entry.name, len(entry.text))


STRESS = Rule(
    Group.TEXT,
    "stress",
    Severity.NOTE,
    "Words that espeak-ng and silero-stress stress differently",
    "another vowel; words with a sign of stress in the text are left out",
    "Listen: where silero-stress is right, train with --data.stress=silero, or write a + before "
    "the vowel.",
)


def find_stresses(entries: Sequence[Entry]) -> list[Issue]:
    """Return an issue for each word that the two disagree about, the most frequent first.

    Takes a text after the other, for silero-stress keeps state: some 10 ms each.
    """
    accentor = load_accentor()
    judge = _Judge()
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Entry] = {}
    spoken = [entry for entry in entries if entry.text]
    progress = ProgressLine("Stressing", len(spoken), "texts")
    for done, entry in enumerate(spoken, 1):
        for edit in add_signs(entry.text, accentor):
            word = entry.text[edit.start : edit.end].lower()
            stressed = edit.text.lower()
            other = judge.find_other(word, stressed)
            if other:
                counts[other, stressed] += 1
                first.setdefault((other, stressed), entry)
        progress.show(done)
    progress.finish(len(spoken))
    issues = []
    for (other, stressed), count in counts.most_common():
        entry = first[other, stressed]
        times = "once" if count == 1 else f"{count} times"
        message = f"espeak-ng {other}, silero-stress {stressed}: {times}, in {entry.text!r:.60}"
        issues.append(Issue(STRESS, message, entry.line, entry.name, count))
    return issues


class _Judge:
    """Compares stresses; each word is spoken once."""

    def __init__(self) -> None:
        # As espeak-ng has it, whatever the dataset's options are.
        self._frontend = Frontend(
            PhonemeType.ESPEAK,
            "ru",
            DEFAULT_PHONEME_ID_MAP,
            options=TextOptions(stress=Stress.OFF),
        )
        self._phonemes: dict[str, str] = {}

    def find_other(self, word: str, stressed: str) -> str:
        """Return the word with espeak-ng's stress where that is another; else an empty text.

        Args:
            word: In lower case, without signs.
            stressed: The same with `+` before the stressed vowel, or with `ё`.
        """
        place = stressed.find("+") if "+" in stressed else stressed.find("ё")
        if place < 0:
            return ""
        vowel = sum(letter in VOWELS for letter in stressed[:place])
        if word not in self._phonemes:
            sentences = self._frontend.text_to_phonemes(word)
            self._phonemes[word] = "".join(sentences[0]).strip() if sentences else ""
        phonemes = self._phonemes[word]
        if move_stress(word, phonemes, vowel) in (None, phonemes):
            return ""
        places = [index for index, letter in enumerate(word) if letter in VOWELS]
        for number, index in enumerate(places):
            if move_stress(word, phonemes, number) == phonemes:
                return f"{word[:index]}+{word[index:]}"
        return ""


OTHER_SHARE = 0.45
POOR_SHARE = 0.6
"""Of 620 recordings of festvox-ru the worst has 0.68, of 554 telephone prompts 5 have less than
0.6; with texts swapped between recordings of equal length the best of 399 had 0.30."""
MIN_UNITS = 8
"""Phonemes from which on a text can be told from another; below, it may sound much like it."""
WORDS_TIMES = 1.5
"""Half a second so much worse than a wrong text is on the whole: words are missing there."""

_create_fit_rule = partial(Rule, Group.MATCH)

OTHER_TEXT = _create_fit_rule(
    "other-text",
    Severity.ERROR,
    "The text is not what is said",
    f"fits by less than {OTHER_SHARE:.0%} (100 %: as usual in this set, 0 %: as the text of "
    f"another recording), {MIN_UNITS} phonemes and more",
    "Listen, and give the recording its own text, or remove the line.",
)
POOR_FIT = _create_fit_rule(
    "poor-fit",
    Severity.WARNING,
    "The text may not be what is said",
    f"fits by less than {POOR_SHARE:.0%}",
    "Listen, and compare word by word.",
)
WORDS_OFF = _create_fit_rule(
    "words-off",
    Severity.WARNING,
    "Words are missing in the text or in the recording",
    f"half a second that fits {WORDS_TIMES:g} times worse than a wrong text does on the whole",
    "Listen to the marked part, and write what is said.",
)


def find_in_fits(entries: Sequence[Entry], measures: FitMeasures | None) -> list[Issue]:
    """Return texts that do not fit; nothing where no aligner was made."""
    return [] if measures is None else list(_find(entries, measures))


def _find(entries: Sequence[Entry], measures: FitMeasures) -> Iterator[Issue]:
    for entry in entries:
        fit = measures.fits.get(entry.line)
        if fit is None:
            continue
        share = measures.find_share(fit.score)
        span = (fit.worst_start, fit.worst_end)
        if share < POOR_SHARE:
            is_other = share < OTHER_SHARE and fit.num_units >= MIN_UNITS
            message = f"fits by {max(0.0, share):.0%}"
            likely = measures.likely_lines.get(entry.line)
            if likely is not None:
                message += f"; the text of line {likely} fits here"
            rule = OTHER_TEXT if is_other else POOR_FIT
            yield Issue(rule, message, entry.line, entry.name, 1 - share, None, likely)
        elif fit.worst_score < WORDS_TIMES * measures.wrong_score:
            message = f"around {span[0]:.1f} to {span[1]:.1f} s"
            yield Issue(WORDS_OFF, message, entry.line, entry.name, -fit.worst_score, span)


def describe_fits(measures: FitMeasures | None) -> str:
    """Return a line for the facts of the set."""
    if measures is None:
        return "not measured (there is too little speech for an aligner to learn on)"
    count = len(measures.fits)
    return (
        f"{count} aligned; score {measures.usual_score:.2f} in the median, "
        f"{measures.wrong_score:.2f} with texts of other recordings"
    )


OTHER, OFF = 0.6, 0.25
TIMES = 3.0
"""A recogniser that makes many mistakes everywhere says little: what counts is what stands out."""

_create_recognised_rule = partial(Rule, Group.MATCH)

HEARD_OTHER = _create_recognised_rule(
    "heard-other",
    Severity.ERROR,
    "A recogniser heard something else",
    f"{OTHER:.0%} of the characters and more, and {TIMES:g} times the median of the set",
    "Listen, and give the recording its own text, or remove the line.",
)
HEARD_OFF = _create_recognised_rule(
    "heard-off",
    Severity.WARNING,
    "A recogniser heard partly something else",
    f"{OFF:.0%} of the characters and more, and {TIMES:g} times the median of the set",
    "Compare what was heard word by word; the recogniser may be wrong.",
)


def find_in_heard(entries: Sequence[Entry], heard: Mapping[int, str]) -> list[Issue]:
    """Return texts that are not what was heard."""
    errors = _find_errors(entries, heard)
    least = TIMES * median(errors.values()) if errors else 0.0
    issues = []
    for entry in entries:
        error = errors.get(entry.line, 0.0)
        if error >= max(OFF, least):
            rule = HEARD_OTHER if error >= OTHER else HEARD_OFF
            message = f"{heard[entry.line]!r:.80}, {error:.0%} off"
            issues.append(Issue(rule, message, entry.line, entry.name, error))
    return issues


def describe_heard(entries: Sequence[Entry], heard: Mapping[int, str]) -> str:
    """Return a line for the facts of the set."""
    errors = _find_errors(entries, heard)
    if not errors:
        return "nothing was heard"
    middle = median(errors.values())
    return f"{len(errors)} heard, {middle:.1%} of the characters off in the median"


def _find_errors(entries: Sequence[Entry], heard: Mapping[int, str]) -> dict[int, float]:
    return {
        entry.line: find_character_error(
            normalise_words(entry.text), normalise_words(heard[entry.line])
        )
        for entry in entries
        if entry.line in heard
    }
