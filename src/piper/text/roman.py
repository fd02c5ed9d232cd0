"""Roman numbers to numbers; knows no language."""

from __future__ import annotations

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_PARTS = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"))
# Russian keyboards have letters that look the same.
_LOOKALIKES = str.maketrans("ХІС", "XIC")

ROMAN = "[IVXLCХІ]+"
"""Pattern of a Roman number up to 399, in Latin letters or those that look the same."""


def parse_roman(text: str) -> int | None:
    """Return the number, or None where the letters are none (`IIX`)."""
    text = text.translate(_LOOKALIKES)
    values = [_VALUES[letter] for letter in text]
    number = sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )
    return number if 0 < number < 400 and _write_roman(number) == text else None


def _write_roman(number: int) -> str:
    text = ""
    for value, letters in _PARTS:
        text += letters * (number // value)
        number %= value
    return text + "I" * number
