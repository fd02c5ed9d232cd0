"""A recording on the page: waveform, spectrogram, player. Knows no rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from piper.train.check.entries import AudioMeasures
from piper.train.pages.drawings import draw_wave
from piper.train.pages.excerpts import Excerpt, Media
from piper.train.pages.parts import escape
from piper.train.pages.players import (
    draw_picture,
    draw_player,
    draw_spectrogram,
    draw_times,
    find_share,
)


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
        share = find_share(span, excerpt) if span else None
        outline = _cut_outline(measures, excerpt)
        wave = draw_wave(outline, share, f"Waveform of {name}{marked}")
        picture = draw_picture(media, identifier) if first is None else _refer(identifier)
        shares = [share] if share else []
        return (
            f"<figure>\n{wave}\n"
            f"{draw_spectrogram(media, picture, shares, name, marked)}"
            f"{draw_times(excerpt)}{self._draw_audio(media, identifier, name, first)}"
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
        return draw_player(media.audio, name, f"{identifier}-audio")


def _refer(identifier: str) -> str:
    return f'<use href="#{identifier}"/>'


def _describe(excerpt: Excerpt, measures: AudioMeasures) -> str:
    whole = f"{measures.seconds:.1f} s at {measures.sample_rate:,} Hz"
    if excerpt.seconds >= measures.seconds:
        return whole
    end = excerpt.start_seconds + excerpt.seconds
    return f"{_name_seconds(excerpt.start_seconds, end)} of {whole}"


def _name_seconds(start: float, end: float) -> str:
    return f"{start:.2f} to {end:.2f} s"


def _cut_outline(measures: AudioMeasures, excerpt: Excerpt) -> tuple[float, ...]:
    per_second = len(measures.outline) / measures.seconds
    start = round(excerpt.start_seconds * per_second)
    return measures.outline[start : start + max(1, round(excerpt.seconds * per_second))]
