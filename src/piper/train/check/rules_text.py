"""What is wrong with a dataset's texts, and what the voice will not hear of them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from statistics import median

from piper.errors import PhonemizeError
from piper.text.numerals import find_writer
from piper.text.words import find_words
from piper.train.check.entries import Entry, TextMeasures
from piper.train.check.findings import Finding, Group, Rule, Severity, create_rule
from piper.train.data.scripts import (
    EAST_ASIAN,
    describe_named_letters,
    describe_script,
    find_script,
)

LONG_TIMES = 4.0
LONG_CHARACTERS = 250
"""A text this long takes some 17 s, and all other texts of its batch are padded to it."""
SPOKEN_SIGNS = frozenset(".,!?:;…—–-‑()[]«»„“”\"'’‘‚¡¿、。，！？：；・「」『』،؛؟॥।")
"""Punctuation that phonemizers take for pauses, or leave out without a word."""
NAMED_AT_MOST = 5


_rule = partial(create_rule, Group.TEXT)


EMPTY_TEXT = _rule(
    "empty-text",
    Severity.ERROR,
    "A line without a text",
    "an empty column",
    "Write what is said, or remove the line.",
)
NO_PHONEMES = _rule(
    "no-phonemes",
    Severity.ERROR,
    "A text that nothing can be said of",
    "no phonemes",
    "Write what is said in words.",
)
NUMBERS = _rule(
    "numbers",
    Severity.WARNING,
    "Digits that are left to the phonemizer",
    "a digit, where text_options.write_numbers is off",
    "Write numbers in words as they are said, or train with --data.write_numbers=true.",
)
SHORT_FORMS = _rule(
    "short-forms",
    Severity.WARNING,
    "Abbreviations that are left to the phonemizer",
    "one that this program would write out, where text_options.write_numbers is off",
    "Write them in words as they are said, or train with --data.write_numbers=true.",
)
MIXED_SCRIPTS = _rule(
    "mixed-scripts",
    Severity.ERROR,
    "Letters of two alphabets in one word",
    "such as a Latin c in a Cyrillic word",
    "Type the word anew: such a letter is read as its name.",
)
NAMED_LETTERS = _rule(
    "named-letters",
    Severity.ERROR,
    "Letters that espeak-ng names instead of reading",
    "a script that the voice does not read: 漢 is said as “Chinese letter”",
    "Take --data.phoneme_type=japanese or pinyin, or the espeak voice of the text's language; or "
    "write the word as it is said.",
)
FOREIGN_WORDS = _rule(
    "foreign-words",
    Severity.WARNING,
    "Words in another alphabet",
    "all letters of another alphabet than most of the set's letters",
    "Write them as they are said, in the set's own alphabet.",
)
ODD_CHARACTERS = _rule(
    "odd-characters",
    Severity.WARNING,
    "Characters that are neither letters nor punctuation",
    "signs such as % & # * / _ and pictures",
    "Write them as they are said, or remove them.",
)
MISSING_PHONEMES = _rule(
    "missing-phonemes",
    Severity.WARNING,
    "Phonemes that the id map lacks",
    "any; training leaves them out",
    "Look at the words: they may be of another language; or extend phoneme_id_map.",
)
LONG_TEXT = _rule(
    "long-text",
    Severity.WARNING,
    "A text far longer than the others",
    f"more than {LONG_TIMES:g} times the median and {LONG_CHARACTERS} characters",
    "Cut recording and text, or leave it out with --data.max_seconds.",
)
RULES = (
    *(EMPTY_TEXT, NO_PHONEMES, NUMBERS, SHORT_FORMS, MIXED_SCRIPTS, NAMED_LETTERS),
    *(FOREIGN_WORDS, ODD_CHARACTERS, MISSING_PHONEMES, LONG_TEXT),
)


def find_in_texts(
    entries: Sequence[Entry],
    measures: Mapping[int, TextMeasures],
    *,
    language: str,
    writes_numbers: bool,
    has_stress_marks: bool,
    has_spelling: bool = True,
) -> list[Finding]:
    """Return what is wrong with the texts.

    Args:
        entries: The dataset's lines.
        measures: By line; of a text that could not be phonemised there are none.
        language: espeak-ng's voice, such as `ru`.
        writes_numbers: Whether training writes numbers and abbreviations out.
        has_stress_marks: Whether a `+` before a vowel means stress.
        has_spelling: Whether texts are written in a language's letters; where they are phonemes
            themselves (`phoneme_type=text`), or ids were made elsewhere, alphabets say nothing.
    """
    script = find_usual_script(entry.text for entry in entries)
    findings: list[Finding] = []
    for entry in entries:
        if not entry.text:
            findings.append(Finding(EMPTY_TEXT, "the text is empty", entry.line, entry.name))
            continue
        measured = measures.get(entry.line)
        if measured is None or not measured.num_ids:
            message = f"the text is {entry.text!r:.60}"
            findings.append(Finding(NO_PHONEMES, message, entry.line, entry.name))
        if measured is not None and measured.named:
            message = describe_named_letters(measured.named, language)
            findings.append(Finding(NAMED_LETTERS, message, entry.line, entry.name))
        found = list(_check_signs(entry.text, has_stress_marks)) if has_spelling else []
        found += _check_letters(entry.text, script) if has_spelling else ()
        if not writes_numbers:
            found += _check_written(entry.text, language)
        findings += [Finding(rule, text, entry.line, entry.name) for rule, text in found]
    findings += _check_missing(entries, measures)
    findings += _check_lengths(entries)
    return findings


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
        yield MIXED_SCRIPTS, f"in {', '.join(mixed[:NAMED_AT_MOST])}"
    if foreign:
        yield FOREIGN_WORDS, f"{', '.join(foreign[:NAMED_AT_MOST])}"


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
        yield NUMBERS, f"{', '.join(digits[:NAMED_AT_MOST])} in {text!r:.60}"
    if forms:
        yield SHORT_FORMS, ", ".join(forms[:NAMED_AT_MOST])


def _check_missing(
    entries: Sequence[Entry], measures: Mapping[int, TextMeasures]
) -> Iterator[Finding]:
    """Yield a finding for each phoneme and the line that has it first, with how often it occurs."""
    counts: Counter[str] = Counter()
    lines: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        missing = measures[entry.line].missing if entry.line in measures else ()
        counts.update(missing)
        for phoneme in dict.fromkeys(missing):
            lines[phoneme].append(entry)
    for phoneme, count in counts.most_common():
        first = lines[phoneme][0]
        yield Finding(
            MISSING_PHONEMES,
            f"{phoneme!r} (U+{ord(phoneme[0]):04X}) {count} times in {len(lines[phoneme])} lines, "
            f"first in {first.text!r:.60}",
            first.line,
            first.name,
            count,
        )


def _check_lengths(entries: Sequence[Entry]) -> Iterator[Finding]:
    lengths = [len(entry.text) for entry in entries if entry.text]
    if not lengths:
        return
    limit = max(LONG_TIMES * median(lengths), LONG_CHARACTERS)
    for entry in entries:
        if len(entry.text) > limit:
            message = f"{len(entry.text)} characters; the median is {median(lengths):.0f}"
            yield Finding(LONG_TEXT, message, entry.line, entry.name, len(entry.text))
