"""Numbers and short forms written out as words, by language; knows no phonemes.

The words come from num2words, Russian cases from pymorphy3 (extra `numbers`). A rule that does not
know leaves the text as it is, and espeak-ng reads it as before.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence

from piper.errors import PhonemizeError
from piper.text.rewrite import Edit

Writer = Callable[[re.Match[str]], str | None]
Rule = tuple[re.Pattern[str], Writer]
"""A pattern, and what is written in place of a match; None leaves it as it is."""

_LANGUAGES = {
    "ru": ("numerals_ru", ("num2words", "pymorphy3")),
    "en": ("numerals_en", ("num2words",)),
}


def find_writer(language: str) -> Callable[[str], list[Edit]] | None:
    """Return what writes out the numbers of a language, if there is one.

    Args:
        language: The espeak-ng voice, such as `ru` or `en-us`.

    Raises:
        PhonemizeError: A library that the language needs is not installed.
    """
    name, libraries = _LANGUAGES.get(language.partition("-")[0], ("", ()))
    if not name:
        return None
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError:
            raise PhonemizeError(
                f"Writing out numbers needs the library {library}; install the extra with "
                "`pip install piper-workshop[numbers]`, or turn it off with write_numbers=False."
            ) from None
    rules: Sequence[Rule] = importlib.import_module(f"piper.text.{name}").RULES
    return lambda text: apply_rules(text, rules)


def create_rule(pattern: str, write: Writer, flags: int = 0) -> Rule:
    """Create a rule of a pattern as text."""
    return re.compile(pattern, flags), write


def keep(match: re.Match[str]) -> str:
    """Write what stands there, so that no later rule takes a part of it."""
    return str(match[0])


def keep_dot(match: re.Match[str]) -> str:
    """Return the dot of a short form where it ends the sentence too."""
    rest = match.string[match.end() :].lstrip(' \u00a0”"»)')
    return "." if not rest or rest[0].isupper() or rest[0].isdigit() or rest[0] == "\n" else ""


def apply_rules(text: str, rules: Sequence[Rule]) -> list[Edit]:
    """Return the edits of all rules; where two match, the earlier rule counts."""
    edits: list[Edit] = []
    taken: list[tuple[int, int]] = []
    for pattern, write in rules:
        for match in pattern.finditer(text):
            start, end = match.span()
            if any(first < end and start < last for first, last in taken):
                continue
            words = write(match)
            if words is None:
                continue
            if words == match[0]:
                taken.append((start, end))
                continue
            # The word before a number, which a rule reads, is kept and not a part of it.
            kept = _count_kept(match[0], words)
            taken.append((start + kept, end))
            edits.append(Edit(start + kept, end, words[kept:]))
    return sorted(edits, key=lambda edit: edit.start)


def _count_kept(old: str, new: str) -> int:
    """Return how many characters the words are long that both begin with."""
    pairs = zip(old, new, strict=False)
    same = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
    return old.rfind(" ", 0, same) + 1


def parse_number(digits: str) -> int:
    """Return the number that digits with spaces, apostrophes or commas between them are."""
    return int(re.sub(r"\D", "", digits))
