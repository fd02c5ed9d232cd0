"""What turns texts into phonemes: espeak-ng, and what those of other languages are made of.

The library and its data come from the wheel `espeakng-loader` (espeak-ng 1.52), unless others are
named. espeak-ng keeps one state per loaded library and is not thread-safe, so all calls share one
lock. Given another data folder, a library that was in use was seen to answer with phonemes of
another table; so each pair of library and folder is loaded and initialised once, from a copy of the
library where that is loaded already.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import re
import threading
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Container
from pathlib import Path
from typing import Protocol

from piper.config import Phonemizer
from piper.errors import PhonemizeError
from piper.system import encode_path
from piper.text import sentence
from piper.text.pieces import TextPart, split_raw_phonemes
from piper.text.sentence import Clause, SpokenClause, group_clauses

LIBRARY_VARIABLE = "PIPER_ESPEAK_LIBRARY"
DATA_VARIABLE = "PIPER_ESPEAK_DATA"
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: no audio device is opened
_DO_NOT_EXIT = 0x8000  # espeakINITIALIZE_DONT_EXIT: report missing data, do not end the process
_UTF8 = 1  # espeakCHARS_UTF8
_IPA = 2  # espeakPHONEMES_IPA
_OK = 0  # EE_OK
# Its N_PATH_HOME is 160; 1.52 was seen to fail, without a reason given, from 168 bytes on.
_MAX_PATH_BYTES = 159
# A Roman number with a dot at the end of a text.
_ROMAN_ORDINAL = re.compile(r"(?:^|\s|[IVXL])[IVXL]\.[^\S\n]*$")
# Single letters, or accents, with dots between them are one abbreviation to espeak-ng ("U.S.A.").
# 1.52 puts them into an array of 160 bytes without looking at its end: with 198 Latin letters the
# process ends.
_LONG_ABBREVIATION = re.compile(r"(?<!\.)(?:\.++(?:[^\w.]|_)*+[^\W\d_]?(?:[^\w.]|_)*+){28}(\.++)")
# Around words of another language espeak-ng writes the language's name: "(en)həlˈəʊ(ru)".
_LANGUAGE_FLAG = re.compile(r"\([a-z]{2,}[a-z0-9-]*\)")
_lock = threading.Lock()
_BLANK_LINE = r"\n[^\S\n]*\n\s*"
_CLOSERS = r"[\s\"'”’」』）)】》〉〕\]}]"


# By library file and data folder.
_states: dict[tuple[str, str], _LibraryState] = {}
# Library files that have been loaded from their own place, links resolved.
_loaded: set[str] = set()


@dataclasses.dataclass
class _LibraryState:
    """A loaded library and the voice it is set to; touched only while holding the lock."""

    library: ctypes.CDLL
    voice: str = ""


class Espeak:
    """The espeak-ng library, loaded when first used.

    Args:
        library_path: The shared library; None takes the environment's `PIPER_ESPEAK_LIBRARY`,
            else the wheel's.
        data_dir: The folder `espeak-ng-data`; None takes the environment's `PIPER_ESPEAK_DATA`,
            else the wheel's. The environment is read here, when the object is made.
    """

    def __init__(
        self, library_path: str | Path | None = None, data_dir: str | Path | None = None
    ) -> None:
        self._library_path = str(library_path or os.environ.get(LIBRARY_VARIABLE) or "")
        self._data_dir = str(data_dir or os.environ.get(DATA_VARIABLE) or "")

    @property
    def version(self) -> str:
        """Version of the library, such as `1.52.0`."""
        with _lock:
            return _find_version(self._initialised().library)

    def check_voice(self, voice: str) -> None:
        """Raise PhonemizeError if espeak-ng lacks this voice (language)."""
        with _lock:
            self._select_voice(self._initialised(), voice)

    def translate(self, voice: str, text: str) -> list[Clause]:
        """Return the clauses of a text, without language flags, as espeak-ng cuts it.

        Args:
            voice: Voice (language), such as `ru` or `en-us`.
            text: The text. Characters that UTF-8 or a C string cannot hold count as spaces.
        """
        encoded = text.replace("\0", " ").encode("utf-8", errors="replace")
        with _lock:
            state = self._initialised()
            self._select_voice(state, voice)
            # After a text that ends in ".." espeak-ng holds a dot back and would speak it at the
            # start of the next text; an empty text takes it away (20 µs).
            _translate_steps(state.library, b"")
            clauses = _steps_to_clauses(encoded, _translate_steps(state.library, encoded))
            if _ROMAN_ORDINAL.search(clauses[-1].source):
                clauses[-1] = _check_ordinal(state.library, clauses[-1])
        return clauses

    def _initialised(self) -> _LibraryState:
        """Return the library with its data folder, loaded where that has not been done."""
        library_path = self._library_path or _bundled_path("get_library_path", LIBRARY_VARIABLE)
        data_dir = self._data_dir or _bundled_path("get_data_path", DATA_VARIABLE)
        state = _states.get((library_path, data_dir))
        if state is None:
            library = _load_library(library_path)
            folder = _find_data(data_dir)
            if os.path.realpath(library_path) in _loaded:
                library = _load_copy(library_path)
            _loaded.add(os.path.realpath(library_path))
            _initialise(library, folder)
            state = _states[library_path, data_dir] = _LibraryState(library)
        return state

    def _select_voice(self, state: _LibraryState, voice: str) -> None:
        # Selecting a voice reads its dictionary anew (3 ms for Russian), so it is done on a change.
        if state.voice == voice and voice:
            return
        state.voice = ""
        encoded = voice.replace("\0", " ").encode("utf-8", errors="replace")
        if state.library.espeak_SetVoiceByName(encoded) != _OK:
            raise PhonemizeError(
                f'espeak-ng {_find_version(state.library)} has no voice "{voice:.60}"; '
                'name one of its languages, such as "en-us", "ru" or "es-419".'
            )
        state.voice = voice


def find_espeak_data() -> Path:
    """Return espeak-ng's data folder: the environment's, else the package's."""
    data = os.environ.get(DATA_VARIABLE) or _bundled_path("get_data_path", DATA_VARIABLE)
    return Path(_find_data(data))


def _bundled_path(function: str, variable: str) -> str:
    try:
        import espeakng_loader

        return str(getattr(espeakng_loader, function)())
    except (ImportError, RuntimeError):
        raise PhonemizeError(
            "espeak-ng is missing; install it with `pip install espeakng-loader`, or name your own "
            f"in the environment variable {variable}."
        ) from None


def _load_library(path: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(path)
        integer, string = ctypes.c_int, ctypes.c_char_p
        library.espeak_Initialize.argtypes = [integer, integer, string, integer]
        library.espeak_SetVoiceByName.argtypes = [string]
        library.espeak_Info.argtypes = [ctypes.POINTER(string)]
        library.espeak_Info.restype = string
        places = ctypes.POINTER(ctypes.c_void_p)
        library.espeak_TextToPhonemes.argtypes = [places, integer, integer]
        library.espeak_TextToPhonemes.restype = string
    except (OSError, AttributeError) as error:
        raise PhonemizeError(
            f"{path} cannot be loaded as the espeak-ng library ({error}); "
            f"correct {LIBRARY_VARIABLE}, or unset it to use the one that came with the package."
        ) from None
    return library


def _load_copy(path: str) -> ctypes.CDLL:
    """Load a library once more, with a state of its own: a file is loaded only once otherwise."""
    # Rarely needed, and slow to load.
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(folder) / Path(path).name
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise PhonemizeError(
                f"{path} cannot be copied to {folder} ({error.strerror}), which a second data "
                "folder for espeak-ng needs; make room there."
            ) from None
        return _load_library(str(copy))


def _find_data(data_dir: str) -> str:
    # espeak-ng looks in other places by itself where the data is not here; that must not go unseen.
    if not (Path(data_dir) / "phontab").is_file():
        nested = Path(data_dir) / "espeak-ng-data"
        if not (nested / "phontab").is_file():
            raise PhonemizeError(
                f"{data_dir} holds no espeak-ng data (no file `phontab`); "
                f"correct {DATA_VARIABLE}, or unset it to use the data that came with the package."
            )
        data_dir = str(nested)
    try:
        size = len(encode_path(data_dir))
    except UnicodeEncodeError:
        raise PhonemizeError(
            f"espeak-ng cannot open {data_dir}: the code page of this system does not have its "
            f"letters; copy the folder to a path of Latin letters and name it in {DATA_VARIABLE}."
        ) from None
    if size > _MAX_PATH_BYTES:
        raise PhonemizeError(
            f"espeak-ng takes data folders of at most {_MAX_PATH_BYTES} bytes, and {data_dir} has "
            f"{size}; make a symbolic link with a shorter path and name it in {DATA_VARIABLE}."
        )
    return data_dir


def _initialise(library: ctypes.CDLL, data_dir: str) -> None:
    if library.espeak_Initialize(_SYNCHRONOUS, 0, encode_path(data_dir), _DO_NOT_EXIT) <= 0:
        raise PhonemizeError(
            f"espeak-ng {_find_version(library)} could not read its data in {data_dir}; "
            "use the data folder of the same espeak-ng version."
        )


def _find_version(library: ctypes.CDLL) -> str:
    # A build from its repository adds words after the number.
    words = library.espeak_Info(None).decode("utf-8", errors="replace").split()
    return words[0] if words else "of unknown version"


def _translate_steps(library: ctypes.CDLL, encoded: bytes) -> list[tuple[int, str]]:
    """Call espeak-ng until the text is used up; return the byte it has read to, and phonemes."""
    buffer = ctypes.create_string_buffer(_part_abbreviations(encoded))
    address = ctypes.addressof(buffer)
    pointer = ctypes.c_void_p(address)
    steps: list[tuple[int, str]] = []
    while pointer.value:
        phonemes = library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, _IPA)
        if phonemes is None:  # it did not move the pointer, and never will
            raise PhonemizeError(
                f"espeak-ng {_find_version(library)} cannot read UTF-8 text; use another version."
            )
        end = pointer.value - address if pointer.value else len(encoded)
        steps.append((end, phonemes.decode("utf-8", errors="replace")))
    return steps


def _part_abbreviations(encoded: bytes) -> bytes:
    """Return the text, as long as it is, with a space for a dot where an abbreviation is too long.

    Its letters are spoken one by one all the same.
    """

    def part(match: re.Match[str]) -> str:
        return match[0].removesuffix(match[1]) + " " * len(match[1])

    return _LONG_ABBREVIATION.sub(part, encoded.decode()).encode()


def _check_ordinal(library: ctypes.CDLL, clause: Clause) -> Clause:
    """Ask espeak-ng whether the language takes a Roman number's dot for the end of a clause.

    At the end of a text it would not show. German, Danish, Hungarian and others write ordinals so.
    """
    probe = f"{clause.source.rstrip()} A".encode()
    return dataclasses.replace(clause, is_ordinal=len(_translate_steps(library, probe)) == 1)


def _steps_to_clauses(encoded: bytes, steps: list[tuple[int, str]]) -> list[Clause]:
    """Cut the text at the steps.

    Each call but the last has also read one character of the next clause: it had to, to find the
    first that is not a space.
    """
    clauses: list[Clause] = []
    start = 0
    held = ""
    for index, (end, phonemes) in enumerate(steps):
        source = held + encoded[start:end].decode("utf-8", errors="replace")
        held = source[-1:] if index < len(steps) - 1 else ""
        own = source[: len(source) - len(held)]
        clauses.append(Clause(own, held, _LANGUAGE_FLAG.sub("", phonemes)))
        start = end
    return clauses


class TextPhonemizer(Protocol):
    """What turns a text into sentences of phonemes.

    Attributes:
        phonemizer: The program and its version, as a voice's JSON has it.
        padded: Phonemes that PAD follows in the ids, none after BOS; None: all of them, and BOS.
    """

    phonemizer: Phonemizer
    padded: Container[str] | None

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence; sentences that say nothing are allowed."""
        ...

    def speak_alone(self, word: str) -> str:
        """Return the phonemes of a word that stands alone."""
        ...

    def find_words(self, source: str) -> list[tuple[int, int]]:
        """Return start and end of each word of a clause, without the punctuation around it."""
        ...

    def split_phonemes(self, phonemes: str) -> list[str]:
        """Return the phonemes that a voice's `phoneme_id_map` has ids for, one by one."""
        ...


class CodePointPhonemes:
    """Phonemes that are single code points (NFD), and words with spaces between them."""

    padded: Container[str] | None = None

    def find_words(self, source: str) -> list[tuple[int, int]]:
        """Return start and end of what stands between spaces."""
        return sentence.find_words(source)

    def split_phonemes(self, phonemes: str) -> list[str]:
        """Return the code points."""
        return list(unicodedata.normalize("NFD", phonemes))


class MarkedTextPhonemizer(CodePointPhonemes, ABC):
    """A phonemizer of texts in which `[[ raw phonemes ]]` are taken as they are."""

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence.

        Raw phonemes end no sentence: what stands before and after them is one with them.
        """
        sentences: list[list[SpokenClause]] = []
        parts = split_raw_phonemes(text)
        for index, part in enumerate(parts):
            is_joined = index > 0
            if part.is_phonemes:
                new = [[SpokenClause(part.source, part.start, part.content, is_raw=True)]]
            else:
                new = self._split_part(part, after_raw=is_joined, before_raw=index + 1 < len(parts))
            if is_joined and sentences and new:
                sentences[-1] += new.pop(0)
            sentences.extend(new)
        return sentences

    @abstractmethod
    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the clauses of each sentence of a part, before and after which may be phonemes."""


class EspeakTextPhonemizer(MarkedTextPhonemizer):
    """Phonemes by espeak-ng, with `[[ raw phonemes ]]` taken as they are."""

    def __init__(self, espeak_voice: str, espeak: Espeak | None = None) -> None:
        self._espeak = espeak or Espeak()
        self._voice = espeak_voice
        self._espeak.check_voice(espeak_voice)
        self.phonemizer = Phonemizer("espeak-ng", self._espeak.version)

    def speak_alone(self, word: str) -> str:
        """Return the phonemes of a word that stands alone."""
        clauses = self._espeak.translate(self._voice, word)
        return " ".join(clause.phonemes for clause in clauses)

    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the clauses; beside raw phonemes one space is kept where there is any."""
        clauses = self._espeak.translate(self._voice, part.content)
        sentences = group_clauses(clauses, part.start) or [[]]
        if after_raw and part.content.startswith(" "):
            sentences[0].insert(0, SpokenClause("", part.start, "", " "))
        if before_raw and part.content.endswith(" "):
            end = part.start + len(part.content)
            sentences[-1].append(SpokenClause("", end, "", " "))
        return sentences


class CodePointPhonemizer(CodePointPhonemes):
    """Phonemes that are the text's own code points, in one sentence."""

    phonemizer = Phonemizer("text", "NFD")

    def split_clauses(self, text: str) -> list[list[SpokenClause]]:
        """Return the text as one clause."""
        return [[SpokenClause(text, 0, text)]]

    def speak_alone(self, word: str) -> str:
        """Return the word."""
        return word


class RawPhonemizer(MarkedTextPhonemizer):
    """Phonemes given as `[[ raw phonemes ]]`; any other text of the language is refused."""

    phonemizer = Phonemizer("raw", "NFD")

    def __init__(self, language: str) -> None:
        self._language = language

    def speak_alone(self, word: str) -> str:
        """Return nothing: no word has phonemes by itself."""
        return ""

    def _split_part(
        self, part: TextPart, *, after_raw: bool, before_raw: bool
    ) -> list[list[SpokenClause]]:
        """Return the part, which is to hold no letters, as a clause that says nothing."""
        if any(character.isalnum() for character in part.content):
            raise PhonemizeError(
                f"{self._language} texts cannot be turned into phonemes here; write the phonemes "
                "that the voice was trained on between double brackets, as in [[ʃalˈom]]."
            )
        return [[SpokenClause(part.content, part.start, "")]]


def split_sentences(text: str, ends: str) -> list[tuple[int, int]]:
    """Return start and end of each sentence; the pattern `ends` or a blank line ends one."""
    sentences: list[tuple[int, int]] = []
    start = 0
    for match in re.finditer(rf"(?:{ends})+{_CLOSERS}*|{_BLANK_LINE}", text):
        sentences.append((start, match.end()))
        start = match.end()
    return [*sentences, (start, len(text))] if start < len(text) else sentences


def ends_with_blank_line(source: str) -> bool:
    """Tell whether a blank line ends a stretch of text."""
    return re.search(rf"{_BLANK_LINE}$", source) is not None


def split_at_pauses(source: str, pauses: str) -> list[tuple[int, int]]:
    """Return start and end of the pieces of a sentence; a piece ends with its pause, a pattern."""
    pieces: list[tuple[int, int]] = []
    start = 0
    for match in re.finditer(rf"(?:{pauses})+[^\S\n]*", source):
        before, after = source[start : match.start()], source[match.end() :]
        if re.search(r"\w", before) and re.search(r"\w", after):
            pieces.append((start, match.end()))
            start = match.end()
    return [*pieces, (start, len(source))]
