"""Stress signs of Russian texts, written by hand or by silero-stress.

espeak-ng 1.52 places the stress of a Russian word by its dictionary and takes no other. It writes
each vowel letter as one vowel whose sound follows from the letter, from the letter before it, and
from where the stress is: on it, on the next vowel (pretonic), or elsewhere. The table below states
that, read off what espeak-ng 1.52 gives for the words of its own dictionary: of 30,000 other words
99.7 % come out whole as espeak-ng says them.

Written as Russian users do: `+` before the stressed vowel (`з+амок`) or U+0301 after it (`за́мок`).
A sum is left alone: `2+2`, `x+а`, `C++а`.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Callable
from typing import Any

from piper.errors import PhonemizeError
from piper.text.sentence import Edit

VOWELS = "аеёиоуыэюя"
# A vowel with its sign and the j of `я`, `ю`, `е`. `ɪ^` is a soft sign that espeak-ng misreads.
_VOWEL = re.compile(r"(?:[ˈˌ]j|j[ˈˌ]|[ˈˌj])?[aɑeɛiɪoɵuyʌ](?!\^)")
# What stands before the letter: nothing, a vowel, `ъ ь й` (a j is heard), `ж ш ц`, `ч щ`, another.
_START, _VOWEL_BEFORE, _IPA_STRESS, _HARD, _SOFT, _OTHER = "_", "A", "j", "H", "S", "C"
_EVERY = "_AjHSC"
# A `й` or `ь` before these gives a j that is not theirs and is heard all the same.
_AFTER_J = {("о", "й"): ("jˈo", "jʌ", "jʌ", "jʌ"), ("о", "ь"): ("jˈɵ", "jʌ", "jʌ", "jʌ")}
_LETTERS = "а-яёА-ЯЁ"
_ANY_VOWEL = VOWELS + VOWELS.upper()
_SIGN = re.compile(rf"(?<![0-9A-Za-z+])\+(?=[{_ANY_VOWEL}])|(?<=[{_ANY_VOWEL}])\u0301")
_SIGNED_WORD = re.compile(rf"[{_LETTERS}+]*[{_LETTERS}]")
_WORD = re.compile(rf"[{_LETTERS}]+")
_lock = threading.Lock()


# (letters, what stands before) → stressed, pretonic, elsewhere, elsewhere at the end of the word.
_SOUNDS: dict[tuple[str, str], tuple[str, str, str, str]] = {
    **{("а", before): ("ˈɑ", "a", "ʌ", "a") for before in "AHC"},
    ("а", _SOFT): ("ˈɑ", "a", "ʌ", "ʌ"),
    ("а", _START): ("ˈɑ", "a", "a", "a"),
    ("а", _IPA_STRESS): ("jˈa", "ja", "jʌ", "jʌ"),
    **{("е", before): ("ˈe", "i", "i", "i") for before in "SC"},
    ("е", _HARD): ("ˈɛ", "y", "y", "y"),
    **{("е", before): ("jˈe", "ji", "ji", "jɪ") for before in "Aj"},
    ("е", _START): ("jˈe", "jɪ", "jɪ", "jɪ"),
    **{("и", before): ("ˈi", "i", "i", "ɪ") for before in "ASC"},
    ("и", _HARD): ("ˈy", "y", "y", "y"),
    ("и", _START): ("ˈɪ", "ɪ", "ɪ", "ɪ"),
    ("и", _IPA_STRESS): ("jˈi", "ji", "ji", "jɪ"),
    **{("о", before): ("ˈo", "ʌ", "ʌ", "ʌ") for before in _EVERY},
    **{("у", before): ("ˈu", "u", "u", "u") for before in _EVERY},
    **{("ы", before): ("ˈy", "y", "y", "y") for before in _EVERY},
    **{("э", before): ("ˈɛ", "ɛ", "ɛ", "ɛ") for before in _EVERY},
    **{("ю", before): ("ˈu", "u", "u", "u") for before in "HSC"},
    **{("ю", before): ("ˈju", "ju", "ju", "ju") for before in "_Aj"},
    **{("я", before): ("ˈɑ", "a", "ʌ", "ʌ") for before in "HSC"},
    **{("я", before): ("ˈja", "ja", "ja", "ja") for before in "_Aj"},
    ("ё", _HARD): ("ˈo", "ʌ", "ʌ", "ʌ"),
    **{("ё", before): ("ˈɵ", "ʌ", "ʌ", "ʌ") for before in "SC"},
    **{("ё", before): ("jˈɵ", "jʌ", "jʌ", "jʌ") for before in "_Aj"},
}


def move_stress(word: str, phonemes: str, vowel: int) -> str | None:
    """Return a word's phonemes with the stress on one of its vowels.

    Args:
        word: The word in letters.
        phonemes: What espeak-ng says for it.
        vowel: Number of the vowel letter, from 0.

    Returns:
        The phonemes, unchanged where the stress is there already; None where the vowels of letters
        and phonemes do not pair, as in words that espeak-ng spells.
    """
    letters = word.lower()
    places = [index for index, letter in enumerate(letters) if letter in VOWELS]
    sounds = list(_VOWEL.finditer(phonemes))
    if len(places) != len(sounds) or not 0 <= vowel < len(places):
        return None
    before = next((index for index, sound in enumerate(sounds) if "ˈ" in sound[0]), None)
    if before == vowel:
        return phonemes
    result: list[str] = []
    end = 0
    for index, sound in enumerate(sounds):
        result.append(phonemes[end : sound.start()])
        old = _find_distance(index, before)
        new = _find_distance(index, vowel)
        is_same = old == new and index not in (vowel, before)
        result.append(sound[0] if is_same else _find_sound(letters, places[index], new, sound[0]))
        end = sound.end()
    return "".join(result) + phonemes[end:]


def _find_distance(index: int, stressed: int | None) -> int:
    """Return 0 for the stressed vowel, 1 for the one before it, 2 for all others."""
    return 2 if stressed is None or stressed - index not in (0, 1) else stressed - index


def _find_sound(letters: str, place: int, distance: int, old: str) -> str:
    letter = letters[place]
    before = letters[place - 1] if place else ""
    is_last = place == len(letters) - 1
    row = _AFTER_J.get((letter, before)) or _SOUNDS[letter, _classify(before)]
    sound = row[3] if is_last and distance else row[distance]
    if letter == "и" and is_last and sound.endswith("i"):
        return sound[:-1] + "ɪ"
    if letter == "е" and "ɛ" in old and before not in "жшц":
        # Foreign words whose `е` is hard (тест, проект) keep it so.
        return "ˈɛ" if distance == 0 else "ɛ"
    return sound


def _classify(before: str) -> str:
    if before in ("", "-"):
        return _START
    if before in VOWELS:
        return _VOWEL_BEFORE
    if before in "ъьй":
        return _IPA_STRESS
    if before in "жшц":
        return _HARD
    return _SOFT if before in "чщ" else _OTHER


_accentor: list[Callable[[str], str]] = []


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
    """Return silero-stress, loaded once in a process."""
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

    # It sets one thread and turns gradients off for the whole process: a training that prepares its
    # texts there would go on with half of its cores, and what is not in Lightning's loop not learn.
    threads, has_gradients = torch.get_num_threads(), torch.is_grad_enabled()
    try:
        import silero_stress  # type: ignore[import-untyped, unused-ignore]

        accentor: Any = silero_stress.load_accentor()
    finally:
        torch.set_num_threads(threads)
        torch.set_grad_enabled(has_gradients)

    def add_marks(text: str) -> str:
        with _lock, torch.no_grad():  # its model keeps state while it runs
            return str(accentor(text)) if text.strip() else text

    return add_marks


def _fold(word: str) -> str:
    return word.lower().replace("+", "").replace("ё", "е")
