"""What is wrong with a dataset's texts, by themselves and beside what is said."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from statistics import median

from piper.config import PhonemeType
from piper.errors import PhonemizeError, name_some
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.progress import ProgressLine
from piper.text.frontend import Frontend, Stress, TextOptions
from piper.text.numbers.engine import find_writer
from piper.text.sentence import find_words
from piper.text.stress import VOWELS, add_signs, load_accentor, move_stress
from piper.train.check.entries import Entry, FitMeasures
from piper.train.check.issues import Group, Issue, rules_of
from piper.train.data.metadata import PHONEME_IDS
from piper.train.data.scripts import (
    EAST_ASIAN,
    describe_named_letters,
    describe_script,
    find_script,
)
from piper.train.data.settings import DataSettings
from piper.train.recognisers import find_character_error, normalise_words

text_error, text_warning, text_note = rules_of(Group.TEXT)
match_error, match_warning, _ = rules_of(Group.MATCH)

LONG_TIMES = 4.0
LONG_CHARACTERS = 250
"""A text this long takes some 17 s, and all other texts of its batch are padded to it."""
SPOKEN_SIGNS = frozenset(".,!?:;…—–-‑()[]«»„“”\"'’‘‚¡¿、。，！？：；・「」『』،؛؟॥।")
"""Punctuation that phonemizers take for pauses, or leave out without a word."""
OTHER_SHARE = 0.45
POOR_SHARE = 0.6
"""Of 620 recordings of festvox-ru the worst has 0.68, of 554 telephone prompts 5 have less than
0.6; with texts swapped between recordings of equal length the best of 399 had 0.30."""
MIN_UNITS = 8
"""Phonemes from which on a text can be told from another; below, it may sound much like it."""
WORDS_TIMES = 1.5
"""Half a second so much worse than a wrong text is on the whole: words are missing there."""
OTHER, OFF = 0.6, 0.25
TIMES = 3.0
"""A recogniser that makes many mistakes everywhere says little: what counts is what stands out."""

EMPTY_TEXT = text_error(
    "empty-text",
    "A line without a text",
    "an empty column",
    "Write what is said, or remove the line.",
)
NO_PHONEMES = text_error(
    "no-phonemes",
    "A text that nothing can be said of",
    "no phonemes",
    "Write what is said in words.",
)
NUMBERS = text_warning(
    "numbers",
    "Digits that are left to the phonemizer",
    "a digit, where text_options.write_numbers is off",
    "Write numbers in words as they are said, or train with --data.write_numbers=true.",
)
SHORT_FORMS = text_warning(
    "short-forms",
    "Abbreviations that are left to the phonemizer",
    "one that this program would write out, where text_options.write_numbers is off",
    "Write them in words as they are said, or train with --data.write_numbers=true.",
)
MIXED_SCRIPTS = text_error(
    "mixed-scripts",
    "Letters of two alphabets in one word",
    "such as a Latin c in a Cyrillic word",
    "Type the word anew: such a letter is read as its name.",
)
NAMED_LETTERS = text_error(
    "named-letters",
    "Letters that espeak-ng names instead of reading",
    "a script that the voice does not read: 漢 is said as “Chinese letter”",
    "Take --data.phoneme_type=japanese or pinyin, or the espeak voice of the text's language; or "
    "write the word as it is said.",
)
FOREIGN_WORDS = text_warning(
    "foreign-words",
    "Words in another alphabet",
    "all letters of another alphabet than most of the set's letters",
    "Write them as they are said, in the set's own alphabet.",
)
ODD_CHARACTERS = text_warning(
    "odd-characters",
    "Characters that are neither letters nor punctuation",
    "signs such as % & # * / _ and pictures",
    "Write them as they are said, or remove them.",
)
MISSING_PHONEMES = text_warning(
    "missing-phonemes",
    "Phonemes that the id map lacks",
    "any; training leaves them out",
    "Look at the words: they may be of another language; or extend phoneme_id_map.",
)
LONG_TEXT = text_warning(
    "long-text",
    "A text far longer than the others",
    f"more than {LONG_TIMES:g} times the median and {LONG_CHARACTERS} characters",
    "Cut recording and text, or leave it out with --data.max_seconds.",
)
STRESS = text_note(
    "stress",
    "Words that espeak-ng and silero-stress stress differently",
    "another vowel; words with a sign of stress in the text are left out",
    "Listen: where silero-stress is right, train with --data.stress=silero, or write a + before "
    "the vowel.",
)
OTHER_TEXT = match_error(
    "other-text",
    "The text is not what is said",
    f"fits by less than {OTHER_SHARE:.0%} (100 %: as usual in this set, 0 %: as the text of "
    f"another recording), {MIN_UNITS} phonemes and more",
    "Listen, and give the recording its own text, or remove the line.",
)
POOR_FIT = match_warning(
    "poor-fit",
    "The text may not be what is said",
    f"fits by less than {POOR_SHARE:.0%}",
    "Listen, and compare word by word.",
)
WORDS_OFF = match_warning(
    "words-off",
    "Words are missing in the text or in the recording",
    f"half a second that fits {WORDS_TIMES:g} times worse than a wrong text does on the whole",
    "Listen to the marked part, and write what is said.",
)
HEARD_OTHER = match_error(
    "heard-other",
    "A recogniser heard something else",
    f"{OTHER:.0%} of the characters and more, and {TIMES:g} times the median of the set",
    "Listen, and give the recording its own text, or remove the line.",
)
HEARD_OFF = match_warning(
    "heard-off",
    "A recogniser heard partly something else",
    f"{OFF:.0%} of the characters and more, and {TIMES:g} times the median of the set",
    "Compare what was recognised word by word; the recogniser may be wrong.",
)


def find_in_texts(entries: Sequence[Entry], settings: DataSettings) -> list[Issue]:
    """Return what is wrong with the texts."""
    script = find_usual_script(entry.text for entry in entries)
    # Phonemes and ids that were made elsewhere are in no language's letters.
    has_spelling = (
        settings.dataset_type != PHONEME_IDS and settings.phoneme_type is not PhonemeType.TEXT
    )
    issues: list[Issue] = []
    for entry in entries:
        if not entry.text:
            issues.append(EMPTY_TEXT.at(entry, "the text is empty"))
            continue
        if entry.read is None or not entry.read.num_ids:
            issues.append(NO_PHONEMES.at(entry, f"the text is {entry.text!r:.60}"))
        if entry.read is not None and entry.read.named:
            message = describe_named_letters(entry.read.named, settings.espeak_voice)
            issues.append(NAMED_LETTERS.at(entry, message))
        if has_spelling:
            issues += _check_signs(entry, has_stress_marks=settings.has_stress_marks)
            issues += _check_letters(entry, script)
        if not settings.text_options.write_numbers:
            issues += _check_written(entry, settings.espeak_voice)
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


def _check_letters(entry: Entry, script: str) -> Iterator[Issue]:
    mixed, foreign = [], []
    for start, end in find_words(entry.text):
        for word, is_joined in _split_word(entry.text[start:end]):
            scripts = find_scripts(word)
            if len(scripts) > 1:
                mixed.append(f"{word} ({_name_strangers(word)})")
            elif scripts and scripts != {script} and not (is_joined and script == EAST_ASIAN):
                foreign.append(word)
    if mixed:
        yield MIXED_SCRIPTS.at(entry, f"in {name_some(mixed)}")
    if foreign:
        yield FOREIGN_WORDS.at(entry, name_some(foreign))


def _split_word(word: str) -> Iterator[tuple[str, bool]]:
    """Return the parts of a word that are of one alphabet each, unless it was mistyped.

    A hyphen joins words: `web-сайт` is of two alphabets, and no typing error. In East Asian texts
    no space stands between `T` and `シャツ`: such parts are joined.
    """
    for part in re.split(r"[-‑–—/]", word):
        runs = groupby(part, lambda sign: find_script(sign) == EAST_ASIAN)
        groups = ["".join(signs) for _, signs in runs]
        yield from ((group, len(groups) > 1) for group in groups)


def _name_strangers(word: str) -> str:
    """Name the letters of the alphabet that fewer of a word's letters have."""
    scripts = Counter(filter(None, map(find_script, word)))
    rare = min(scripts, key=scripts.__getitem__)
    letters = "".join(dict.fromkeys(c for c in word if find_script(c) == rare))
    return f"{describe_script(rare)} {letters}"


def _check_signs(entry: Entry, *, has_stress_marks: bool) -> Iterator[Issue]:
    spoken = SPOKEN_SIGNS | {"+", "\u0301"} if has_stress_marks else SPOKEN_SIGNS
    signs = (c for c in entry.text if unicodedata.category(c)[0] in "SP" and c not in spoken)
    if odd := " ".join(dict.fromkeys(signs)):
        yield ODD_CHARACTERS.at(entry, f"{odd} in {entry.text!r:.60}")


def _check_written(entry: Entry, language: str) -> Iterator[Issue]:
    """Find what would be written out; only digits where the libraries for that are missing."""
    text = entry.text
    digits, forms = re.findall(r"\d[\d.,:]*", text), []
    try:
        writer = find_writer(language)
        edits = list(writer(text)) if writer else []
    except PhonemizeError:
        edits = []
    for edit in edits:
        before = text[edit.start : edit.end]
        if not any(character.isdigit() for character in before):
            forms.append(f"{before} ({edit.text})")
    if digits:
        yield NUMBERS.at(entry, f"{name_some(digits)} in {text!r:.60}")
    if forms:
        yield SHORT_FORMS.at(entry, name_some(forms))


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
        message = (
            f"{phoneme!r} (U+{ord(phoneme[0]):04X}) {count} times in {len(lines[phoneme])} lines, "
            f"first in {first.text!r:.60}"
        )
        yield MISSING_PHONEMES.at(first, message, count)


def _check_lengths(entries: Sequence[Entry]) -> Iterator[Issue]:
    lengths = [len(entry.text) for entry in entries if entry.text]
    usual = median(lengths) if lengths else 0.0
    for entry in entries:
        length = len(entry.text)
        if length > max(LONG_TIMES * usual, LONG_CHARACTERS):
            message = f"{length} characters; the median is {usual:.0f}"
            yield LONG_TEXT.at(entry, message, length)


def find_stresses(entries: Sequence[Entry]) -> list[Issue]:
    """Return an issue for each word that espeak-ng and silero-stress disagree about.

    Takes a text after the other, for silero-stress keeps state: some 10 ms each.
    """
    accentor = load_accentor()
    # As espeak-ng has it, whatever the dataset's options are.
    frontend = Frontend(
        PhonemeType.ESPEAK, "ru", DEFAULT_PHONEME_ID_MAP, options=TextOptions(stress=Stress.OFF)
    )

    @cache
    def phonemise(word: str) -> str:
        sentences = frontend.text_to_phonemes(word)
        return "".join(sentences[0]).strip() if sentences else ""

    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], Entry] = {}
    spoken = [entry for entry in entries if entry.text]
    progress = ProgressLine("Stressing", len(spoken), "texts")
    for done, entry in enumerate(spoken, 1):
        for edit in add_signs(entry.text, accentor):
            word = entry.text[edit.start : edit.end].lower()
            stressed = edit.text.lower()
            if other := _stress_otherwise(word, stressed, phonemise(word)):
                counts[other, stressed] += 1
                first.setdefault((other, stressed), entry)
        progress.show(done)
    progress.finish(len(spoken))
    issues = []
    for (other, stressed), count in counts.most_common():
        entry = first[other, stressed]
        times = "once" if count == 1 else f"{count} times"
        message = f"espeak-ng {other}, silero-stress {stressed}: {times}, in {entry.text!r:.60}"
        issues.append(STRESS.at(entry, message, count))
    return issues


def _stress_otherwise(word: str, stressed: str, phonemes: str) -> str:
    """Return a word with the stress of its phonemes where that is another; else an empty text.

    Args:
        word: In lower case, without signs.
        stressed: The same with `+` before the stressed vowel, or with `ё`.
    """
    place = stressed.find("+") if "+" in stressed else stressed.find("ё")
    vowel = sum(letter in VOWELS for letter in stressed[:place])
    if place < 0 or move_stress(word, phonemes, vowel) in (None, phonemes):
        return ""
    places = [index for index, letter in enumerate(word) if letter in VOWELS]
    for number, index in enumerate(places):
        if move_stress(word, phonemes, number) == phonemes:
            return f"{word[:index]}+{word[index:]}"
    return ""


def find_in_fits(entries: Sequence[Entry], measures: FitMeasures | None) -> Iterator[Issue]:
    """Yield texts that do not fit; nothing where no aligner was made."""
    for entry in entries:
        fit = measures.fits.get(entry.line) if measures else None
        if measures is None or fit is None:
            continue
        share = measures.score_to_share(fit.score)
        if share < POOR_SHARE:
            is_other = share < OTHER_SHARE and fit.num_units >= MIN_UNITS
            message = f"fits by {max(0.0, share):.0%}"
            likely = measures.likely_lines.get(entry.line)
            if likely is not None:
                message += f"; the text of line {likely} fits here"
            rule = OTHER_TEXT if is_other else POOR_FIT
            yield rule.at(entry, message, 1 - share, None, likely)
        elif fit.worst_score < WORDS_TIMES * measures.wrong_score:
            message = f"around {fit.worst_start:.1f} to {fit.worst_end:.1f} s"
            span = (fit.worst_start, fit.worst_end)
            yield WORDS_OFF.at(entry, message, -fit.worst_score, span)


def describe_fits(measures: FitMeasures | None) -> str:
    """Return a line for the facts of the set."""
    if measures is None:
        return "not measured (there is too little speech for an aligner to learn on)"
    count = len(measures.fits)
    return (
        f"{count} aligned; score {measures.usual_score:.2f} in the median, "
        f"{measures.wrong_score:.2f} with texts of other recordings"
    )


def check_recognised(
    entries: Sequence[Entry], recognised: Mapping[int, str]
) -> tuple[list[Issue], str]:
    """Return texts that are not what was recognised, and a line for the facts of the set."""
    errors = {
        entry.line: find_character_error(
            normalise_words(entry.text), normalise_words(recognised[entry.line])
        )
        for entry in entries
        if entry.line in recognised
    }
    if not errors:
        return [], "nothing was recognised"
    usual = median(errors.values())
    issues = []
    for entry in entries:
        error = errors.get(entry.line, 0.0)
        if error >= max(OFF, TIMES * usual):
            rule = HEARD_OTHER if error >= OTHER else HEARD_OFF
            message = f"{recognised[entry.line]!r:.80}, {error:.0%} off"
            issues.append(rule.at(entry, message, error))
    return issues, f"{len(errors)} heard, {usual:.1%} of the characters off in the median"
