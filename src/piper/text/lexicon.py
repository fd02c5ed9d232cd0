"""A file of words and how they are said: other text, or phonemes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from piper.errors import LexiconError
from piper.files import read_bounded
from piper.text.sentence import Edit

_PHONEMES = re.compile(r"\[\[(.*)\]\]")


@dataclass(frozen=True)
class Lexicon:
    """Words and what is said instead.

    A word is found in small and capital letters, and only whole: `cat` is not in `concat` nor in
    `cat-like`. It may be several words. Of several that fit the longest counts.

    Attributes:
        texts: Word (small letters) to other text, which may hold stress marks.
        phonemes: Word (small letters) to its phonemes.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    phonemes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted([*self.texts, *self.phonemes], key=len, reverse=True)
        choices = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in longest_first)
        return re.compile(rf"(?<!\w)(?<!\w-)(?:{choices})(?!-?\w)", re.IGNORECASE)

    def extend(self, other: Lexicon | None) -> Lexicon:
        """Return one with the words of another, too, which count before those of this one."""
        if other is None:
            return self
        new = {*other.texts, *other.phonemes}
        texts = {word: text for word, text in self.texts.items() if word not in new}
        phonemes = {word: said for word, said in self.phonemes.items() if word not in new}
        return Lexicon({**texts, **other.texts}, {**phonemes, **other.phonemes})

    def find_texts(self, text: str) -> list[Edit]:
        """Return the edits that put other text in place of words."""
        return self._find(text, self.texts)

    def find_phonemes(self, text: str) -> list[Edit]:
        """Return the words that have phonemes of their own, with the phonemes as `text`."""
        return self._find(text, self.phonemes)

    def _find(self, text: str, entries: Mapping[str, str]) -> list[Edit]:
        if not entries:
            return []
        return [
            Edit(match.start(), match.end(), entries[key])
            for match in self._pattern.finditer(text)
            if (key := _to_key(match[0])) in entries
        ]


def load_lexicon(path: Path | str) -> Lexicon:
    """Read a lexicon: lines `word<TAB>other text` or `word<TAB>[[phonemes]]`.

    Empty lines and lines that begin with `#` are skipped.
    """
    path = Path(path)
    entries: dict[str, str] = {}
    first_lines: dict[str, int] = {}
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{path} line {number}:"
        word, replacement = _parse_line(where, line)
        key = _to_key(word)
        if key in first_lines:
            raise LexiconError(
                f'{where} "{word}" is already in line {first_lines[key]}; remove one of the two.'
            )
        first_lines[key] = number
        entries[key] = replacement
    return _create_lexicon(entries)


def parse_lexicon(entries: Mapping[str, str], where: str) -> Lexicon:
    """Return a lexicon of words and what stands in a file's second column.

    Args:
        entries: The words; of two that differ in capitals alone the last one counts.
        where: What to call them in errors.
    """
    lines = [_parse_line(where, f"{word}\t{text}") for word, text in entries.items()]
    return _create_lexicon({_to_key(word): text for word, text in lines})


def _create_lexicon(entries: Mapping[str, str]) -> Lexicon:
    phonemes = {
        word: match[1].strip()
        for word, text in entries.items()
        if (match := _PHONEMES.fullmatch(text))
    }
    texts = {word: text for word, text in entries.items() if word not in phonemes}
    return Lexicon(texts, phonemes)


def _read_text(path: Path) -> str:
    try:
        text = read_bounded(path, "lexicon").decode("utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise LexiconError(f"{path} does not exist; check the path of the lexicon.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise LexiconError(
            f"{path} line {line}: the text is not UTF-8; save the file as UTF-8."
        ) from None
    except OSError as error:
        raise LexiconError(f"{path} cannot be read ({error.strerror}).") from None


def _parse_line(where: str, line: str) -> tuple[str, str]:
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) != 2:
        raise LexiconError(
            f"{where} {len(columns)} columns, but word<TAB>replacement is wanted: "
            "two columns with one tab between them."
        )
    word, replacement = columns
    if not word or not replacement:
        lacking = "replacement" if word else "word"
        raise LexiconError(f"{where} the {lacking} is empty; write it, or remove the line.")
    if "[[" in replacement and not _PHONEMES.fullmatch(replacement):
        raise LexiconError(
            f"{where} {replacement!r:.60} mixes text and [[phonemes]]; write one of them."
        )
    return word, replacement


def _to_key(word: str) -> str:
    return " ".join(word.lower().split())
