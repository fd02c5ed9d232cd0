"""An excerpt as HTML: picture, times, player. Knows no findings and no scores."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from piper.train.pages.drawings import WAVE_HEIGHT, WAVE_WIDTH, draw_strip, format_number
from piper.train.pages.excerpts import Excerpt, Media, find_media_type
from piper.train.pages.parts import escape

TIME_MARKS = 4
"""Pieces of the time below a recording: five numbers fit beside each other on a phone."""

Span = tuple[float, float]


def draw_spectrogram(
    media: Media, picture: str, shares: Sequence[Span], name: str, marked: str = ""
) -> str:
    """Return a spectrogram with its highest pitch written on it.

    Args:
        media: What is shown.
        picture: Of `draw_picture`, or what refers to it.
        shares: What is marked, as shares of the length.
        name: Of the recording, for those who do not see it.
        marked: What is marked, for them too.
    """
    pitch = f"{format_number(media.top_hertz / 1000)} kHz"
    strip = draw_strip(picture, shares, f"Spectrogram of {name}, 0 to {pitch}{marked}")
    return f'<div class="spectrogram">{strip}<span class="pitch">{pitch}</span></div>\n'


def draw_picture(media: Media, identifier: str) -> str:
    """Return a spectrogram's picture, for a strip, with an id to refer to it."""
    return (
        f'<image id="{identifier}" width="{WAVE_WIDTH}" height="{WAVE_HEIGHT}" '
        f'preserveAspectRatio="none" href="{_address("image/png", media.picture)}"/>'
    )


def draw_player(audio: bytes, name: str, identifier: str) -> str:
    """Return a player of encoded audio.

    Args:
        audio: As `samples_to_audio` gave it.
        name: What is heard.
        identifier: Of the element.
    """
    # No preload: a browser would decode all of a page's recordings at once.
    return (
        f'<audio id="{identifier}" controls preload="none" '
        f'aria-label="{escape(name)}" src="{_address(find_media_type(audio), audio)}"></audio>\n'
    )


def draw_times(excerpt: Excerpt) -> str:
    """Return the times below an excerpt, of the whole recording."""
    marks = [
        excerpt.start_seconds + excerpt.seconds * i / TIME_MARKS for i in range(TIME_MARKS + 1)
    ]
    texts = "".join(f"<span>{mark:.1f} s</span>" for mark in marks)
    return f'<div class="times" aria-hidden="true">{texts}</div>\n'


def find_share(span: Span, excerpt: Excerpt) -> Span:
    """Return a span of a recording, in seconds, as shares of an excerpt."""
    start, end = ((seconds - excerpt.start_seconds) / excerpt.seconds for seconds in span)
    return start, end


def _address(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
