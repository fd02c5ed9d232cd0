"""The alphabet of Chinese voices: pinyin in initials, finals and tones; knows no Chinese.

The table is the `phoneme_id_map` of the published voices (zh_CN-chaowen, zh_CN-xiao_ya).
"""

from __future__ import annotations

import re

from piper.text.ids import BOS, EOS, PAD

NO_INITIAL = "Ø"
_INITIALS = "b p m f d t n l g k h j q x zh ch sh r z c s y w"
_FINALS = (
    "a o e ai ei ao ou an en ang eng ong i ia ie iao iu ian in iang ing iong u ua uo uai ui uan un "
    "uang ueng v ve van vn er ue"
)
INITIALS = (NO_INITIAL, *_INITIALS.split())
FINALS = tuple(_FINALS.split())
TONES = "12345"
# Marks with one id each, and those that share one: they are pauses of the same kind.
_MARKS = ("。.", "？?", "！!", "—…、，,：:；; ")
MARKS = "".join(_MARKS)
PADDED = frozenset((*TONES, *MARKS))
"""What PAD follows in the ids; between the parts of a syllable there is none."""

PINYIN_PHONEME_ID_MAP: dict[str, list[int]] = {
    symbol: [number]
    for number, symbols in enumerate(
        [*((symbol,) for symbol in (PAD, BOS, EOS, *INITIALS, *FINALS, *TONES)), *_MARKS]
    )
    for symbol in symbols
}

_SYLLABLE = re.compile("(?P<initial>zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?(?P<final>[a-zê]+)?")
# Interjections that are no syllables with a vowel of the table.
_FINALS_OF_OTHERS = {"ê": "ei", "": "en", "g": "en", "m": "en", "ng": "eng"}


def split_syllable(pinyin: str) -> tuple[str, str, str]:
    """Return initial, final and tone of a syllable such as `zhong1`, `ai4`, `lve4`."""
    letters, tone = (pinyin[:-1], pinyin[-1]) if pinyin[-1:] in TONES else (pinyin, "5")
    match = _SYLLABLE.fullmatch(letters)
    initial, final = (match["initial"] or "", match["final"] or "") if match else ("", "")
    if final not in FINALS:
        initial = "" if initial == "n" or final == "ê" else initial
        final = _FINALS_OF_OTHERS.get(final, "en")
    return initial or NO_INITIAL, final, tone


def split_phonemes(phonemes: str) -> list[str]:
    """Return the symbols of pinyin with tones: `ni3hao3，` is n, i, 3, h, ao, 3, ，."""
    symbols: list[str] = []
    for part in re.findall(rf"{NO_INITIAL}?[a-zê]+[{TONES}]?|.", phonemes, re.DOTALL):
        if part[0] == NO_INITIAL or part[0].islower():
            initial, final, tone = split_syllable(part.removeprefix(NO_INITIAL))
            symbols += [initial, final, tone]
        else:
            symbols.append(part)
    return symbols
