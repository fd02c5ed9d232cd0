"""Histograms and waveforms as SVG inside HTML."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from piper.messages import translate
from piper.train.pages.document import escape
from piper.train.pages.excerpts import Excerpt, Media, find_media_type

MARKS = 6
"""Numbers below an axis, at most one more; it begins and ends at one of them."""
BARS_A_MARK = 5
NARROWEST = 0.05
"""Width of an axis at least, as a share of its largest value."""
WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 36, 18, 16, 34
"""Margins: numbers at the left, thresholds above, numbers and the unit below."""
ROW_HEIGHT = 34
"""Of dots: their name above them."""
WAVE_WIDTH, WAVE_HEIGHT = 1000, 100
WAVE_POINTS = 250
"""A point for three pixels of a desktop's page, 2 kB of SVG."""


@dataclass(frozen=True)
class DotRow:
    """Values of one thing among those that are compared.

    Attributes:
        values: One a dot, all finite.
        low: Where a bar around the middle begins; None for no bar.
    """

    name: str
    values: Sequence[float]
    middle: float
    low: float | None = None
    high: float | None = None


def draw_histogram(
    values: Sequence[float], unit: str, limits: Mapping[str, float], label: str
) -> Markup:
    """Return a histogram with axes; few values far off are counted in its last bars.

    Args:
        values: At least one, all finite.
        limits: Thresholds by names; a dashed line each, where it is not far off.
    """
    low, high, step = _find_range(values, list(limits.values()))
    bars = BARS_A_MARK * round((high - low) / step)
    clipped = np.clip(np.asarray(values, dtype=np.float64), low, high)
    counts, edges = np.histogram(clipped, bars, (low, high))
    top_step = max(1, math.ceil(_round_up(int(counts.max()) / 3)))
    top = math.ceil(int(counts.max()) / top_step) * top_step
    parts = _draw_heights(range(0, top + 1, top_step), top)
    for count, start, end in zip(counts.tolist(), edges[:-1], edges[1:], strict=True):
        if count:
            x, right, y = _x(start, low, high), _x(end, low, high), _y(count, top)
            span = translate(f"{format_number(start)} to {format_number(end)}")
            about = f"{span} {translate(unit)}: {count}"
            parts.append(
                f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{max(1, right - x - 1):.1f}" '
                f'height="{_y(0, top) - y:.1f}"><title>{escape(about)}</title></rect>'
            )
    is_below, is_above = min(values) < low, max(values) > high
    parts += _draw_values(low, high, step, is_below, is_above, HEIGHT - BOTTOM)
    for name, limit in limits.items():
        if low <= limit <= high:
            parts.append(_draw_limit(name, limit, _x(limit, low, high)))
    parts.append(_draw_text(unit, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4))
    return _draw_chart(parts, HEIGHT, label)


def draw_dots(rows: Sequence[DotRow], unit: str, label: str) -> Markup:
    """Return values as dots, a row for each thing that is compared, over one axis.

    Values far off stand at the axis' ends, as in a histogram.

    Args:
        rows: From top to bottom, each with a value at least.
    """
    values = [value for row in rows for value in row.values]
    middles = [row.middle for row in rows]
    low, high, step = _find_range(values, middles)
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM
    base = height - BOTTOM
    parts = [f'<path class="line" d="M{LEFT} {base}H{WIDTH - RIGHT}"/>']
    for number, row in enumerate(rows):
        y = TOP + ROW_HEIGHT * number
        parts.append(_draw_text(row.name, LEFT, y + 2, "start"))
        for index, value in enumerate(row.values):
            x = _x(min(max(value, low), high), low, high)
            # Equal values lie a little apart, so that many look like many.
            parts.append(
                f'<circle class="dot" cx="{x:.1f}" cy="{y + 12 + 2 * (index % 4)}" r="3"/>'
            )
        parts.append(_draw_middle(row, y, low, high))
    is_below, is_above = min(values) < low, max(values) > high
    parts += _draw_values(low, high, step, is_below, is_above, base)
    parts.append(_draw_text(unit, (LEFT + WIDTH - RIGHT) / 2, height - 4))
    return _draw_chart(parts, height, label)


def _draw_chart(parts: Sequence[str], height: int, label: str) -> Markup:
    return Markup(
        f'<svg class="histogram" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def draw_wave(outline: Sequence[float], span: tuple[float, float] | None, label: str) -> Markup:
    """Return a waveform that stretches to the width it is given.

    Args:
        outline: Peaks, 0 to 1, from start to end.
        span: What is marked, as shares of the length.
    """
    peaks = _thin(outline, WAVE_POINTS)
    middle = WAVE_HEIGHT / 2
    steps = [round((i + 0.5) / len(peaks) * WAVE_WIDTH) for i in range(len(peaks))]
    heights = [round(middle * min(1.0, peak)) for peak in peaks]
    points = [f"{x} {middle - y:.0f}" for x, y in zip(steps, heights, strict=True)]
    points += [f"{x} {middle + y:.0f}" for x, y in zip(steps[::-1], heights[::-1], strict=True)]
    path = f'<path class="wave" d="M{"L".join(points)}Z"/>' if points else ""
    return draw_strip(path, [span] if span else [], label)


def draw_strip(content: str, spans: Sequence[tuple[float, float]], label: str) -> Markup:
    """Return a strip along the time of a recording, with what is marked drawn over it."""
    drawn = "".join(map(_draw_span, spans))
    return Markup(
        f'<svg class="strip" viewBox="0 0 {WAVE_WIDTH} {WAVE_HEIGHT}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(label)}">{content}{drawn}</svg>'
    )


def format_number(value: float) -> str:
    """Return a number with at most three places that matter: "0.25", "9.6", "1,250"."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _draw_span(span: tuple[float, float]) -> str:
    start, end = (WAVE_WIDTH * min(1.0, max(0.0, share)) for share in span)
    # A click of a millisecond is to be seen too.
    width = max(4.0, end - start)
    return (
        f'<rect class="span" x="{min(start, WAVE_WIDTH - width):.0f}" y="0" width="{width:.0f}" '
        f'height="{WAVE_HEIGHT}"/>'
    )


def _thin(outline: Sequence[float], count: int) -> list[float]:
    if len(outline) <= count:
        return list(outline)
    bounds = [index * len(outline) // count for index in range(count + 1)]
    return [max(outline[start:end]) for start, end in pairwise(bounds)]


def _find_range(values: Sequence[float], limits: Sequence[float]) -> tuple[float, float, float]:
    """Return begin, end and step of an axis: where the values are, a few far ones left out."""
    array = np.asarray(values, dtype=np.float64)
    low, high = (float(value) for value in np.percentile(array, [1, 99]))
    room = max(0.5 * (high - low), 1e-3)
    bounds = max(float(array.min()), low - room), min(float(array.max()), high + room)
    near = [limit for limit in limits if low - room <= limit <= high + room]
    low, high = min(*bounds, *near), max(*bounds, *near)
    # Values that are all alike get room at both sides.
    least = NARROWEST * max(abs(low), abs(high), 0.1)
    if high - low < least:
        low, high = (low + high - least) / 2, (low + high + least) / 2
    step = _round_up((high - low) / MARKS)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return low, max(high, low + step), step


def _round_up(value: float) -> float:
    """Return the next larger one of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-4)))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= value * (1 - 1e-9))


def _x(value: float, low: float, high: float) -> float:
    return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _y(count: float, top: float) -> float:
    return HEIGHT - BOTTOM - count / top * (HEIGHT - TOP - BOTTOM)


def _draw_heights(counts: Sequence[int], top: int) -> list[str]:
    parts = []
    for count in counts:
        y = _y(count, top)
        parts.append(f'<path class="line" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_draw_text(f"{count:,}", LEFT - 4, y + 4, "end"))
    return parts


def _draw_values(
    low: float, high: float, step: float, is_below: bool, is_above: bool, base: float
) -> list[str]:
    first, last = round(low / step), round(high / step)
    digits = max(0, math.ceil(-math.log10(step)))
    y = base + 14
    parts = []
    for number in range(first, last + 1):
        text = format_number(number * step) if step >= 0.01 else f"{number * step:.{digits}f}"
        # The bars at the ends also hold what lies beyond them.
        text = f"≤ {text}" if is_below and number == first else text
        text = f"≥ {text}" if is_above and number == last else text
        parts.append(_draw_text(text, _x(number * step, low, high), y))
    return parts


def _draw_middle(row: DotRow, y: float, low: float, high: float) -> str:
    bar = ""
    if row.low is not None and row.high is not None:
        start, end = (_x(min(max(edge, low), high), low, high) for edge in (row.low, row.high))
        width = max(1, end - start)
        bar = f'<rect class="bar" x="{start:.1f}" y="{y + 13}" width="{width:.1f}" height="4"/>'
    x = _x(row.middle, low, high)
    return f'{bar}<path class="middle" d="M{x:.1f} {y + 8}V{y + 22}"/>'


def _draw_limit(name: str, limit: float, x: float) -> str:
    return (
        f'<path class="limit" d="M{x:.1f} {TOP - 2}V{HEIGHT - BOTTOM}">'
        f"<title>{escape(name)}</title></path>" + _draw_text(format_number(limit), x, TOP - 5)
    )


def _draw_text(text: str, x: float, y: float, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


TIME_MARKS = 4
"""Pieces of the time below a recording: five numbers fit beside each other on a phone."""

Span = tuple[float, float]


def draw_spectrogram(
    media: Media, picture: str, shares: Sequence[Span], name: str, marked: str = ""
) -> Markup:
    """Return a spectrogram with its highest pitch written on it.

    Args:
        picture: Of `draw_picture`, or what refers to it.
        shares: What is marked, as shares of the length.
    """
    pitch = f"{format_number(media.top_hertz / 1000)} kHz"
    strip = draw_strip(picture, shares, f"Spectrogram of {name}, 0 to {pitch}{marked}")
    return Markup(f'<div class="spectrogram">{strip}<span class="pitch">{pitch}</span></div>\n')


def draw_picture(media: Media, identifier: str) -> Markup:
    """Return a spectrogram's picture, for a strip, with an id to refer to it."""
    return Markup(
        f'<image id="{identifier}" width="{WAVE_WIDTH}" height="{WAVE_HEIGHT}" '
        f'preserveAspectRatio="none" href="{data_address("image/png", media.picture)}"/>'
    )


def draw_player(audio: bytes, name: str, identifier: str) -> Markup:
    """Return a player of encoded audio."""
    address = data_address(find_media_type(audio), audio)
    # No preload: a browser would decode all of a page's recordings at once.
    return Markup(
        f'<audio id="{identifier}" controls preload="none" aria-label="{escape(name)}" '
        f'src="{address}"></audio>\n'
    )


def draw_times(excerpt: Excerpt) -> Markup:
    """Return the times below an excerpt, of the whole recording."""
    marks = [
        excerpt.start_seconds + excerpt.seconds * i / TIME_MARKS for i in range(TIME_MARKS + 1)
    ]
    texts = "".join(f"<span>{mark:.1f} s</span>" for mark in marks)
    return Markup(f'<div class="times" aria-hidden="true">{texts}</div>\n')


def find_share(span: Span, excerpt: Excerpt) -> Span:
    """Return a span of a recording, in seconds, as shares of an excerpt."""
    start, end = ((seconds - excerpt.start_seconds) / excerpt.seconds for seconds in span)
    return start, end


def data_address(media_type: str, data: bytes) -> str:
    """Return an address that holds what it leads to."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
