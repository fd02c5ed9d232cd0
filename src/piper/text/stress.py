"""Stress signs of Russian texts, written by hand or by silero-stress; knows no phonemes.

Written as Russian users do: `+` before the stressed vowel (`з+амок`) or U+0301 after it (`за́мок`).
A sum is left alone: `2+2`, `x+а`, `C++а`.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from piper.errors import PhonemizeError
from piper.text.rewrite import Edit
from piper.text.stress_vowels import VOWELS

_LETTERS = "а-яёА-ЯЁ"
_ANY_VOWEL = VOWELS + VOWELS.upper()
_SIGN = re.compile(rf"(?<![0-9A-Za-z+])\+(?=[{_ANY_VOWEL}])|(?<=[{_ANY_VOWEL}])\u0301")
_SIGNED_WORD = re.compile(rf"[{_LETTERS}+]*[{_LETTERS}]")
_WORD = re.compile(rf"[{_LETTERS}]+")
_accentor: list[Callable[[str], str]] = []
_lock = threading.Lock()


def remove_signs(text: str) -> tuple[list[Edit], list[int]]:
    """Find the stress signs of a text.

    Returns:
        The edits that remove them, and for each the place of its vowel in the text without them.
    """
    edits: list[Edit] = []
    vowels: list[int] = []
    for match in _SIGN.finditer(text):
        place = match.start() - len(edits)
        edits.append(Edit(match.start(), match.end(), ""))
        vowels.append(place if match[0] == "+" else place - 1)
    return edits, vowels


def add_signs(text: str, accentor: Callable[[str], str] | None = None) -> list[Edit]:
    """Find where silero-stress puts stress signs and `ё`.

    Words that have a sign keep it. Words of one vowel get none: a preposition with stress would be
    said like a noun.

    Args:
        text: Russian text, with stress signs or without.
        accentor: What marks a text with `+`; None loads silero-stress (some seconds, once).

    Raises:
        PhonemizeError: silero-stress is not installed.
    """
    accentor = accentor or load_accentor()
    removals, signed = remove_signs(text)
    places = sorted(set(range(len(text) + 1)) - {edit.start for edit in removals})
    plain = "".join(text[place] for place in places[:-1])
    plain_words = list(_WORD.finditer(plain))
    signed_words = _SIGNED_WORD.findall(accentor(plain))
    # It must have given back the same words; ё and signs aside nothing else may differ.
    if [_fold(match[0]) for match in plain_words] != [_fold(word) for word in signed_words]:
        return []
    edits: list[Edit] = []
    for match, word in zip(plain_words, signed_words, strict=True):
        if any(match.start() <= place < match.end() for place in signed):
            continue
        if sum(letter.lower() in VOWELS for letter in match[0]) < 2:
            word = word.replace("+", "")
        if word != match[0]:
            edits.append(Edit(places[match.start()], places[match.end()], word))
    return edits


def load_accentor() -> Callable[[str], str]:
    """Return silero-stress, loaded once in a process.

    Raises:
        PhonemizeError: It is not installed.
    """
    with _lock:
        if not _accentor:
            _accentor.append(_create_accentor())
        return _accentor[0]


def _create_accentor() -> Callable[[str], str]:
    if importlib.util.find_spec("silero_stress") is None:
        raise PhonemizeError(
            "Stress by silero-stress needs the extra `ru`; install it with "
            "`pip install piper-workshop[ru]`, or choose the stress `marks`."
        )
    import torch

    with _torch_kept():
        from silero_stress import (  # type: ignore[import-untyped, unused-ignore]
            load_accentor as load,
        )

        accentor: Any = load()

    def add_marks(text: str) -> str:
        with _lock, torch.no_grad():  # its model keeps state while it runs
            return str(accentor(text)) if text.strip() else text

    return add_marks


@contextmanager
def _torch_kept() -> Iterator[None]:
    """Keep what silero-stress changes for the whole process: one thread, no gradients.

    A training that prepares its texts in the same process would go on with half of its cores, and
    whatever is not within Lightning's loop would learn nothing.
    """
    import torch

    threads, has_gradients = torch.get_num_threads(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(has_gradients)


def _fold(word: str) -> str:
    return word.lower().replace("+", "").replace("ё", "е")
