"""Letters by their script (Unicode's property), and those that espeak-ng names instead of reading.

A voice of espeak-ng reads some scripts; letters of others it calls "Chinese letter", "Cyrillic zhe"
or "letter 3005", and a training would learn that as what is said.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import takewhile

from fontTools import unicodedata as properties

from piper.config import PhonemeType, VoiceConfig
from piper.text.phonemizers import Espeak

EAST_ASIAN = "Hani"
"""Stands for Han, kana, hangul and bopomofo: Japanese and Korean write in several at once."""
LATIN, CYRILLIC = "Latn", "Cyrl"
_MERGED = dict.fromkeys(("Hira", "Kana", "Hang", "Bopo"), EAST_ASIAN)
_SHARED = ("Zyyy", "Zinh", "Zzzz")
NEIGHBOURS = 64
"""Code points after a letter among which two others of its script are looked for."""
NAME_LEAST = 6
"""Phonemes that three letters begin with where a script's name is said: "sɪɹɪlɪk"."""
LETTER_LEAST = 4
"""Phonemes of the word "letter"; Mandarin's two would be found in syllables."""
UNKNOWN_LETTERS = ("々", "Ａ")
"""espeak-ng calls both by the word "letter" and a number, in every language."""


def find_script(character: str) -> str:
    """Return the script of a letter as four letters of ISO 15924; empty where several share it.

    Marks such as U+02BC and U+02BB, which write Ukrainian and Hawaiian, are shared.
    """
    script = properties.script(character) if character.isalpha() else "Zyyy"
    return "" if script in _SHARED else _MERGED.get(script, script)


def describe_script(script: str) -> str:
    """Return a script's name: "Cyrillic"."""
    return "East Asian" if script == EAST_ASIAN else properties.script_name(script)


def find_named_letters(text: str, voice: VoiceConfig) -> str:
    """Return the letters of a text that espeak-ng names instead of reading, each once."""
    if text.isascii() or voice.phoneme_type is not PhonemeType.ESPEAK:
        return ""
    letters = dict.fromkeys(text)
    return "".join(letter for letter in letters if _is_named(letter, voice.espeak_voice))


def describe_named_letters(letters: str, espeak_voice: str) -> str:
    """Return what espeak-ng does with letters, and what to do instead."""
    if any(find_script(letter) == EAST_ASIAN for letter in letters):
        advice = (
            "prepare and train Japanese with --data.phoneme_type=japanese, Chinese with "
            "--data.phoneme_type=pinyin, or write the word as it is said"
        )
    else:
        advice = (
            "name the voice of the text's language with --data.espeak_voice, or write the word as "
            "it is said"
        )
    return (
        f"espeak-ng's voice {espeak_voice} does not read {letters[:12]} and would say "
        f"the name of each letter; {advice}"
    )


@lru_cache(maxsize=1 << 16)
def _is_named(letter: str, espeak_voice: str) -> bool:
    is_wide = unicodedata.decomposition(letter).startswith("<wide>")
    if find_script(letter) in ("", LATIN) and not is_wide:
        return False
    pairs = zip(*(_say(unknown, espeak_voice) for unknown in UNKNOWN_LETTERS), strict=False)
    word = "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if len(word) >= LETTER_LEAST and _say(letter, espeak_voice).startswith(word):
        return True
    others = _find_neighbours(letter)
    if len(others) < 2:
        return False
    # Within a word: alone, also a letter that is read has a name.
    spoken = _say(letter + others, espeak_voice)
    return spoken.count(spoken[:NAME_LEAST]) >= 3 and len(spoken) >= 3 * NAME_LEAST


def _find_neighbours(letter: str) -> str:
    """Return the next two letters of the script, none the other case of one before."""
    script, found = properties.script(letter), [letter]
    for code in range(ord(letter) + 1, ord(letter) + NEIGHBOURS):
        other = chr(code)
        is_new = other.isalpha() and properties.script(other) == script
        if is_new and other.lower() not in [one.lower() for one in found]:
            found.append(other)
    return "".join(found[1:3])


def _say(text: str, espeak_voice: str) -> str:
    """Return phonemes without stress and spaces."""
    clauses = Espeak().translate(espeak_voice, text)
    return "".join(sound for one in clauses for sound in one.phonemes if sound not in "ˈˌ ")
