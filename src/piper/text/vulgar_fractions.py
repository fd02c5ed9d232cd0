"""Fractions written with a stroke or as one sign; knows no language.

`1/2` can be a fraction, a date, a house or a score, so the languages' rules take it only before
what it is a part of. `½` is always a fraction.
"""

from __future__ import annotations

import re
import unicodedata

SIGNS = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
STROKE_FRACTION = r"\d{1,2}[/⁄]\d{1,3}"
AFTER_STROKE = r"(?![\d/⁄]|[.,:–-]\d)"
_DENOMINATORS = frozenset((*range(2, 11), 12, 16, 20, 25, 32, 50, 64, 100))


def parse_fraction(text: str) -> tuple[int, int] | None:
    """Return numerator and denominator, or None for what is hardly meant as a fraction."""
    parts = re.split("[/⁄]", unicodedata.normalize("NFKC", text))
    numerator, denominator = int(parts[0]), int(parts[1])
    is_fraction = 0 < numerator < denominator and denominator in _DENOMINATORS
    return (numerator, denominator) if is_fraction and parts[0][0] != "0" else None
