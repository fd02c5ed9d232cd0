"""Messages in the user's language; in the code, and in what programs read, they are English.

The catalogue is gettext's (`locale/ru/piper.po`). Its entries are the messages as they stand in the
code, with `{0}`, `{1}` … where a value stands; a message that is to be shown is found by its fixed
words, and its values are put into the translation. So nothing in the code has to be marked, errors
stay English for programs, and what has no translation is shown as it is. The environment says which
language (LANGUAGE, LC_ALL, LC_MESSAGES, LANG, as gettext has it), or `--language`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TextIO

ENGLISH = "en"
LANGUAGES = (ENGLISH, "ru")
OPTION = "--language"
_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
_FOLDER = Path(__file__).with_name("locale")
_SEPARATORS = ("\n", "; ", ", ")
_PLACEHOLDER = re.compile(r"\{(\d+)\}")
_chosen: list[str] = []
"""What `--language` says, for the rest of the process."""


def take_language(arguments: Sequence[str]) -> list[str]:
    """Obey `--language`; return the other arguments.

    What follows `--` is text to speak. Another language than those there are is English.
    """
    left: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*left, argument, *rest]
        name, equals, value = argument.partition("=")
        if name == OPTION:
            choose_language(value if equals else next(rest, ""))
        else:
            left.append(argument)
    return left


def choose_language(language: str) -> None:
    """Show messages in this language from here on, in the processes started from here, too."""
    _chosen[:] = [language]
    os.environ["LANGUAGE"] = language


def find_language() -> str:
    """Return the language in which messages are shown, such as `ru`."""
    wanted = _chosen or [value for name in _VARIABLES if (value := os.environ.get(name))]
    # As gettext has it: the first variable that is set counts, and it may name several.
    for name in wanted[0].split(":") if wanted else ():
        language = re.split(r"[_.@-]", name)[0].lower()
        if language in LANGUAGES:
            return language
        if language in ("c", "posix"):
            break
    return ENGLISH


def translate(message: str, language: str | None = None) -> str:
    """Return a message in a language; as it is where the catalogue does not have it.

    Lines and lists that are not there as a whole are translated part by part, and so is what stands
    in a message, where that is a message itself.

    Args:
        message: As the code has made it.
        language: None means the user's.
    """
    language = language or find_language()
    if language == ENGLISH:
        return message
    found = _find(message, language)
    if found is not None:
        return found
    for separator in _SEPARATORS:
        parts = message.split(separator)
        if len(parts) > 1:
            translated = [_find(part, language) for part in parts]
            # A list of things is translated thing by thing, but no sentence by halves.
            if separator == "\n" or all(part is not None for part in translated):
                return separator.join(
                    new or translate(old, language) if separator == "\n" else str(new)
                    for old, new in zip(parts, translated, strict=True)
                )
    return message


def print_error(error: object) -> None:
    """Show why a command ends, in the user's language."""
    print(f"{translate('error:')} {translate(str(error))}", file=sys.stderr)


def configure_logging(level: int = logging.WARNING, stream: TextIO | None = None) -> None:
    """Show log messages plainly, in the user's language.

    Args:
        level: The least important that are shown.
        stream: Where; None means standard error.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TranslatingFormatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class TranslatingFormatter(logging.Formatter):
    """Shows log messages in the user's language."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line."""
        return translate(super().format(record))


@dataclass(frozen=True)
class _Entry:
    """A message with values, and its translation.

    Attributes:
        pattern: What it looks like with any values.
        places: The numbers of the values, in their order in the message.
        fixed: How many characters are no values.
        translation: With `{0}` … for them.
    """

    pattern: re.Pattern[str]
    places: tuple[int, ...]
    fixed: int
    translation: str


@dataclass(frozen=True)
class _Catalogue:
    plain: dict[str, str]
    entries: tuple[_Entry, ...]


def _find(message: str, language: str) -> str | None:
    catalogue = _load_catalogue(language)
    text = message.strip()
    plain = catalogue.plain.get(text)
    if plain is not None:
        return message.replace(text, plain, 1)
    for entry in catalogue.entries:  # those with the most fixed words first
        match = entry.pattern.fullmatch(text)
        if match is None:
            continue
        values = dict(zip(entry.places, match.groups(), strict=True))

        def fill(place: re.Match[str], values: dict[int, str] = values) -> str:
            value = values[int(place[1])]
            return translate(value, language)

        return message.replace(text, _PLACEHOLDER.sub(fill, entry.translation), 1)
    return None


@lru_cache(maxsize=4)
def _load_catalogue(language: str) -> _Catalogue:
    import polib

    plain, entries = {}, []
    for item in polib.pofile(str(_FOLDER / language / "piper.po")):
        if not item.translated():
            continue
        parts = _PLACEHOLDER.split(item.msgid)
        if len(parts) == 1:
            plain[item.msgid] = item.msgstr
            continue
        words = [re.escape(word) for word in parts[::2]]
        pattern = re.compile("(.+?)".join(words), re.DOTALL)
        places = tuple(int(number) for number in parts[1::2])
        fixed = sum(map(len, parts[::2]))
        entries.append(_Entry(pattern, places, fixed, item.msgstr))
    entries.sort(key=lambda entry: -entry.fixed)
    return _Catalogue(plain, tuple(entries))
