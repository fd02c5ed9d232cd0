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
from itertools import islice
from pathlib import Path
from typing import TextIO

ENGLISH = "en"
LANGUAGES = (ENGLISH, "ru")
OPTION = "--language"
_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
_FOLDER = Path(__file__).with_name("locale")
_LINES = ("\n", " · ")
"""Between parts that are nothing to each other."""
_SEPARATOR = re.compile("[;,] ")
"""Between the things of a list."""
_SENTENCE_END = re.compile(r"(?<=[.:]) (?=[A-Z])")
_NUMBER = re.compile(r"[-+−]?\d[\d.,:/]*|–")
_THING = re.compile("[^;,]*")
_ANYTHING = re.compile(".*", re.DOTALL)
MAX_PARTS = 24
"""Of a message that are looked up one by one; what has more is data."""
_NAME = re.compile(r"\S*( \(?[-−+]?\d[\d.,]*( %)?\)?)*")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LETTERS = re.compile(r"[A-Za-z]")
_GROUPED = re.compile(r"[<-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
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
    in a message, where that is a message itself. Without a language it is the user's.
    """
    language = language or find_language()
    if language == ENGLISH or not _LETTERS.search(message):
        return message
    text = message.strip()
    if text != message:
        return message.replace(text, translate(text, language), 1)
    try:
        found = _find_sentences(message, language)
    except RecursionError:  # messages in messages without end are a stranger's text
        return message
    if found is None and any(separator in message for separator in _LINES):
        separator = next(separator for separator in _LINES if separator in message)
        return separator.join(translate(part, language) for part in message.split(separator))
    return message if found is None else found


def look_up(text: str, language: str) -> str:
    """Return an entry's translation, with `{0}` … for values; the text where there is none."""
    return _load_catalogue(language).texts.get(text) or text


def say(text: str, file: TextIO | None = None) -> None:
    """Print what a command has to say, in the user's language, at once; on standard output."""
    print(translate(text), file=file, flush=True)


def print_error(error: object) -> None:
    """Show why a command ends, in the user's language."""
    print(f"{translate('error:')} {_escape(translate(str(error)))}", file=sys.stderr)


def _escape(text: str) -> str:
    """Return a message that may hold a stranger's words without what a terminal would obey."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def configure_logging(level: int = logging.WARNING, stream: TextIO | None = None) -> None:
    """Show log messages of a level or more plainly, in the user's language; on standard error."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TranslatingFormatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class TranslatingFormatter(logging.Formatter):
    """Shows log messages in the user's language."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line."""
        return _escape(translate(super().format(record)))


@dataclass(frozen=True)
class _Entry:
    """A message with values, and its translation.

    Attributes:
        words: What stands before, between and behind the values.
        values: What a value may be: anything; or a number, where the flag `numbers` is set, since
            a few words would be found in anything.
        places: The numbers of the values, in their order in the message.
        fixed: How many characters are no values.
        translations: With `{0}` … for them: one, or those for one thing, a few, and many.
    """

    words: tuple[str, ...]
    values: re.Pattern[str]
    places: tuple[int, ...]
    fixed: int
    translations: tuple[str, ...]

    def match(self, message: str) -> list[str] | None:
        """Return the values where a message is this one, each as short as can be.

        No regular expression for the whole: with many values it could take minutes.
        """
        first, *inner, last = self.words
        start, end = len(first), len(message) - len(last)
        if start > end or not message.startswith(first) or not message.endswith(last):
            return None
        found = []
        for word in inner:
            at = message.find(word, start, end)
            if at < 0:
                return None
            found.append(message[start:at])
            start = at + len(word)
        found.append(message[start:end])
        return found if all(self.values.fullmatch(value) for value in found) else None


@dataclass(frozen=True)
class _Catalogue:
    """The entries; those with the flag `page` are looked up by their whole text alone."""

    texts: dict[str, str]
    plain: dict[str, str]
    entries: tuple[_Entry, ...]


@lru_cache(maxsize=1024)
def _find_sentences(message: str, language: str) -> str | None:
    """Return a text, as a whole or each sentence translated; what is fixed counts before values."""
    plain = _load_catalogue(language).plain.get(message)
    if plain is not None:
        return plain
    for end in _find_all(_SENTENCE_END, message):
        head = _find_sentence(message[: end.start()], language)
        tail = _find_sentences(message[end.end() :], language) if head is not None else None
        if tail is not None:
            return f"{head} {tail}"
    return _find_sentence(message, language)


def _find_sentence(message: str, language: str) -> str | None:
    found = _find(message, language)
    if found is None and not any(separator in message for separator in _LINES):
        dot = message[-1] if message.endswith((".", ":")) else ""
        listed = _find_list(message.removesuffix(dot), language)
        return None if listed is None else listed + dot
    return found


@lru_cache(maxsize=1024)
def _find_list(message: str, language: str) -> str | None:
    """Return a list of things, each translated, or None: no sentence is translated by halves.

    What has no translation and is one word, or a word and a figure, is a name.
    """
    found = _find(message, language)
    if found is not None or _NAME.fullmatch(message):
        return found or message
    for separator in _find_all(_SEPARATOR, message):
        first, others = message[: separator.start()], message[separator.end() :]
        head = _find(first, language) or (first if _NAME.fullmatch(first) else None)
        tail = _find_list(others, language) if head is not None else None
        if head is not None and tail is not None:
            return f"{head}{separator[0]}{tail}"
    return None


def _find_all(pattern: re.Pattern[str], message: str) -> list[re.Match[str]]:
    found = list(islice(pattern.finditer(message), MAX_PARTS + 1))
    return found if len(found) <= MAX_PARTS else []


@lru_cache(maxsize=4096)
def _find(message: str, language: str) -> str | None:
    catalogue = _load_catalogue(language)
    plain = catalogue.plain.get(message)
    if plain is not None:
        return plain
    for entry in catalogue.entries:  # those with the most fixed words first
        found = entry.match(message)
        if found is None:
            continue
        values = dict(zip(entry.places, found, strict=True))

        def fill(place: re.Match[str], values: dict[int, str] = values) -> str:
            value = values[int(place[1])]
            # In Russian 5,000 would be five.
            is_grouped = _GROUPED.fullmatch(value)
            return (
                value.replace(",", "\N{NO-BREAK SPACE}")
                if is_grouped
                else translate(value, language)
            )

        form = _find_form(found[-1]) if len(entry.translations) > 1 else 0
        return _PLACEHOLDER.sub(fill, entry.translations[form])
    return None


def _find_form(number: str) -> int:
    """Return which form Russian has for so many things; of `3/21` it is that of 21."""
    digits = number.rsplit("/", 1)[-1].replace(",", "")
    if not digits.isdecimal():  # 1.5, too
        return 1
    last, teens = int(digits) % 10, int(digits) % 100 // 10
    if last == 1 and teens != 1:
        return 0
    return 1 if 2 <= last <= 4 and teens != 1 else 2


@lru_cache(maxsize=4)
def _load_catalogue(language: str) -> _Catalogue:
    import polib

    texts: dict[str, str] = {}
    plain: dict[str, str] = {}
    entries = []
    for item in polib.pofile(str(_FOLDER / language / "piper.po")):
        texts[item.msgid] = item.msgstr
        if not item.translated() or "page" in item.flags:
            continue
        has_numbers = "numbers" in item.flags
        forms = item.msgstr_plural
        told = [forms[key] for key in sorted(forms)] if forms else [item.msgstr]
        for message in filter(None, (item.msgid, item.msgid_plural)):
            # What a sentence may end with is a thing of its list, too.
            for start in {0, len(message) - len(message.lstrip(",; "))}:
                parts = _PLACEHOLDER.split(message[start:])
                translations = tuple(text[start:] for text in told)
                if len(parts) == 1:
                    plain[parts[0]] = translations[0]
                    continue
                value = _NUMBER if has_numbers else _THING if start else _ANYTHING
                places = tuple(int(number) for number in parts[1::2])
                fixed = sum(map(len, parts[::2]))
                entries.append(_Entry(tuple(parts[::2]), value, places, fixed, translations))
    entries.sort(key=lambda entry: -entry.fixed)
    return _Catalogue(texts, plain, tuple(entries))
