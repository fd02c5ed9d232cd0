"""Single words and letters on the report's page, in a table. Knows no sentences."""

from __future__ import annotations

from collections.abc import Mapping

from piper.train.evaluate.page_differences import draw_heard_phonemes, draw_heard_words
from piper.train.evaluate.page_sentences import (
    UNREADABLE,
    decode_spoken,
    draw_troubles,
    find_spoken,
)
from piper.train.evaluate.results import Evaluation, Kind, SpokenSentence
from piper.train.pages.parts import draw_html_table, escape
from piper.train.pages.players import draw_player

SILENT = "Some have no player, since the page would grow too large."


def draw_words(evaluation: Evaluation, room_bytes: int) -> str:
    """Return the table of words and letters; those that come when the room is full have no player.

    Args:
        evaluation: All that was found.
        room_bytes: What the table may take.
    """
    found = find_spoken(evaluation, (Kind.WORD, Kind.LETTER))
    if not found:
        return ""
    labels = list(dict.fromkeys(label for spoken in found.values() for label in spoken))
    rows, is_full = [], False
    room_bytes -= sum(
        len("".join(_draw_row(labels, spoken, number, has_sound=False)).encode())
        for number, spoken in enumerate(found.values())
    )
    for number, spoken in enumerate(found.values()):
        row = _draw_row(labels, spoken, number, has_sound=not is_full)
        silent = _draw_row(labels, spoken, number, has_sound=False)
        room_bytes -= len("".join(row).encode()) - len("".join(silent).encode())
        is_full = is_full or room_bytes < 0
        rows.append(silent if is_full else row)
    said = f" {SILENT}" if is_full else ""
    table = draw_html_table("Words and letters", ["text", *map(escape, labels)], rows)
    return (
        "<h2>Words and letters</h2>\n<p>Spoken alone; the figures above do not count them."
        f'{said}</p>\n<div class="short">\n{table}</div>\n'
    )


def _draw_row(
    labels: list[str], spoken: Mapping[str, SpokenSentence], number: int, *, has_sound: bool
) -> list[str]:
    text = next(iter(spoken.values())).sentence.text
    cells = [
        _draw_cell(spoken[label], label, f"word-{number}-{place}", has_sound)
        if label in spoken
        else ""
        for place, label in enumerate(labels)
    ]
    return [f'<span dir="auto">{escape(text)}</span>', *cells]


def _draw_cell(spoken: SpokenSentence, label: str, identifier: str, has_sound: bool) -> str:
    player = ""
    if has_sound:
        decoded = decode_spoken(spoken)
        audio = decoded[1].audio if decoded else None
        name = f"{label}, {spoken.sentence.text}"
        player = draw_player(audio, name, identifier) if audio else UNREADABLE
    return (
        f"{player}{draw_heard_phonemes(spoken.wanted, spoken.heard)}"
        f"{draw_heard_words(spoken.sentence.text, spoken.recognised)}{draw_troubles(spoken)}"
    )
