"""A recording on the page: waveform, spectrogram, player. Knows no rules."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from piper.train.check.entries import AudioMeasures
from piper.train.check.excerpts import Excerpt, Media, find_media_type
from piper.train.check.page_drawings import (
    WAVE_HEIGHT,
    WAVE_WIDTH,
    draw_strip,
    draw_wave,
    format_number,
)
from piper.train.check.page_parts import escape

TIME_MARKS = 4
"""Pieces of the time below a recording: five numbers fit beside each other on a phone."""


@dataclass
class RecordingFigures:
    """Draws recordings; what is shown a second time refers to the first.

    Attributes:
        media: Pictures and audio by excerpt.
        num_silent: How many are shown without audio, since the page is full.
    """

    media: Mapping[Excerpt, Media]
    num_silent: int = 0
    _places: dict[Excerpt, tuple[str, str]] = field(default_factory=dict)

    def draw(
        self,
        excerpt: Excerpt,
        measures: AudioMeasures,
        span: tuple[float, float] | None,
        *,
        name: str,
        section: str,
    ) -> str:
        """Return a figure of an excerpt, which is in `media`.

        Args:
            excerpt: What to show.
            measures: Of the whole recording.
            span: What to mark, in seconds of the whole recording.
            name: Of the recording.
            section: Title of the section, to which a second figure points back.
        """
        media = self.media[excerpt]
        first = self._places.get(excerpt)
        if first is None:
            self._places[excerpt] = (f"recording-{len(self._places) + 1}", section)
        identifier = self._places[excerpt][0]
        marked = f"; marked: {_name_seconds(*span)}" if span else ""
        share = _find_share(span, excerpt) if span else None
        outline = _cut_outline(measures, excerpt)
        wave = draw_wave(outline, share, f"Waveform of {name}{marked}")
        pitch = f"{format_number(media.top_hertz / 1000)} kHz"
        picture = _draw_picture(media, identifier) if first is None else _refer(identifier)
        strip = draw_strip(picture, share, f"Spectrogram of {name}, 0 to {pitch}{marked}")
        return (
            f"<figure>\n{wave}\n"
            f'<div class="spectrogram">{strip}<span class="pitch">{pitch}</span></div>\n'
            f"{_draw_times(excerpt)}{self._draw_audio(media, identifier, name, first)}"
            f"<figcaption>{_describe(excerpt, measures)}{marked}</figcaption>\n</figure>\n"
        )

    def _draw_audio(
        self, media: Media, identifier: str, name: str, first: tuple[str, str] | None
    ) -> str:
        if media.audio is None:
            self.num_silent += first is None
            return '<p class="faint">Without audio, since the page is full.</p>\n'
        if first is not None:
            return (
                f'<p><a href="#{identifier}-audio">Listen to it above</a>, '
                f"at “{escape(first[1])}”.</p>\n"
            )
        address = _address(find_media_type(media.audio), media.audio)
        # No preload: a browser would decode all of a page's recordings at once.
        return (
            f'<audio id="{identifier}-audio" controls preload="none" '
            f'aria-label="{escape(name)}" src="{address}"></audio>\n'
        )


def _draw_picture(media: Media, identifier: str) -> str:
    return (
        f'<image id="{identifier}" width="{WAVE_WIDTH}" height="{WAVE_HEIGHT}" '
        f'preserveAspectRatio="none" href="{_address("image/png", media.picture)}"/>'
    )


def _refer(identifier: str) -> str:
    return f'<use href="#{identifier}"/>'


def _address(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def _draw_times(excerpt: Excerpt) -> str:
    marks = [
        excerpt.start_seconds + excerpt.seconds * i / TIME_MARKS for i in range(TIME_MARKS + 1)
    ]
    texts = "".join(f"<span>{mark:.1f} s</span>" for mark in marks)
    return f'<div class="times" aria-hidden="true">{texts}</div>\n'


def _describe(excerpt: Excerpt, measures: AudioMeasures) -> str:
    whole = f"{measures.seconds:.1f} s at {measures.sample_rate:,} Hz"
    if excerpt.seconds >= measures.seconds:
        return whole
    end = excerpt.start_seconds + excerpt.seconds
    return f"{_name_seconds(excerpt.start_seconds, end)} of {whole}"


def _name_seconds(start: float, end: float) -> str:
    return f"{start:.2f} to {end:.2f} s"


def _find_share(span: tuple[float, float], excerpt: Excerpt) -> tuple[float, float]:
    start, end = ((seconds - excerpt.start_seconds) / excerpt.seconds for seconds in span)
    return start, end


def _cut_outline(measures: AudioMeasures, excerpt: Excerpt) -> tuple[float, ...]:
    per_second = len(measures.outline) / measures.seconds
    start = round(excerpt.start_seconds * per_second)
    return measures.outline[start : start + max(1, round(excerpt.seconds * per_second))]
