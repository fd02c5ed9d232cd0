"""Texts that nobody meant well: whatever they hold, they are spoken or refused in a sentence."""

from __future__ import annotations

import logging
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piper.config import PhonemeType
from piper.errors import MarkupError, PiperError
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.frontend import Frontend, TextOptions
from piper.text.markup import parse_markup
from piper.text.pieces import Piece

MAX_IDS = 400
WORDS = [
    "one",
    "Dr.",
    "ул.",
    "3",
    "-5",
    "a.m.",
    "I",
    "II",
    "❤️",
    "👍🏽",
    "\u200d",
    "\ufe0f",
    "]]",
    "[[",
]
TEXTS = st.one_of(st.sampled_from(WORDS), st.text(max_size=12))
NAMES = st.sampled_from(
    ["speak", "p", "s", "break", "prosody", "phoneme", "sub", "say-as", "voice", "x:y", "br"]
)
VALUES = st.one_of(
    st.sampled_from(
        ["", "ipa", "slow", "+20%", "1e9", "9" * 400 + "s", "-1s", "60s", "digits", "NaN"]
    ),
    st.text(max_size=6).map(lambda text: text.replace('"', "").replace("<", "").replace("&", "")),
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from(["time", "strength", "rate", "ph", "alphabet", "alias", "interpret-as", "x"]),
    VALUES,
    max_size=2,
)


def write_element(name: str, attributes: dict[str, str], inside: list[str]) -> str:
    written = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(inside)}</{name}>"


SSML = st.recursive(
    st.one_of(
        TEXTS, st.sampled_from(["&amp;", "&x;", "<", "<!DOCTYPE a>", "<?xml encoding='x'?>"])
    ),
    lambda inner: st.builds(write_element, NAMES, ATTRIBUTES, st.lists(inner, max_size=3)),
    max_leaves=12,
)
MARKS = ["# ", "> ", "- ", "1. ", "|", "|-|-|\n", "\n", "\n\n", "    ", "\t", "**", "_", "~~", "`"]
MARKS += ["[", "](", ")", "![", "<br>", "<p>", "</p>", "<td>", "<script>", "</script>", "<!--"]
MARKS += ["-->", "<div>\n", "</", "<", "&lt;", "&#0;", "[^1]", "[ ] ", "---\n", "\\", "*", "```"]
MARKS += ["<a href='", "<?", "<![CDATA["]
MARKDOWN = st.lists(st.one_of(st.sampled_from(MARKS), TEXTS), max_size=20).map("".join)


def create_frontend(voice: str) -> Frontend:
    options = TextOptions(write_numbers=True)
    return Frontend(PhonemeType.ESPEAK, voice, DEFAULT_PHONEME_ID_MAP, options=options)


FRONTENDS = [create_frontend("en-us"), create_frontend("ru")]


def check_pieces(pieces: list[Piece]) -> None:
    for piece in pieces:
        assert 0.1 <= piece.rate <= 10
        assert math.isfinite(piece.silence_seconds)
        for frontend in FRONTENDS:
            for sentence in frontend.text_to_sentences(piece.text, MAX_IDS):
                assert len(sentence.ids) <= MAX_IDS
                assert sentence.words is not None


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(kind=st.sampled_from(["ssml", "markdown", "plain"]), data=st.data())
def test_any_text_is_spoken_or_refused_in_a_sentence(kind: str, data: st.DataObject) -> None:
    text = data.draw({"ssml": SSML, "markdown": MARKDOWN, "plain": TEXTS}[kind])
    try:
        pieces = parse_markup(text, kind)
    except PiperError as error:
        assert len(str(error)) < 600
        return
    check_pieces(pieces)


def test_ssml_nested_deeply_is_refused() -> None:
    assert parse_markup("<p>" * 90 + "Hi" + "</p>" * 90, "ssml") == [
        Piece("Hi", ends_paragraph=True)
    ]
    for depth in (900, 100_000):
        with pytest.raises(MarkupError, match="more than 100 deep; make it simpler"):
            parse_markup("<x>" * depth + "Hi" + "</x>" * depth, "ssml")


def test_thousands_of_unknown_tags_are_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    text = "".join(f"<x{number}{'y' * 90}/>" for number in range(3000))
    with caplog.at_level(logging.WARNING):
        assert parse_markup(f"Hi{text}", "ssml") == [Piece("Hi")]
    [record] = caplog.records
    assert "and 2990 more" in record.message
    assert len(record.message) < 1000


def test_odd_ssml_is_one_sentence() -> None:
    with pytest.raises(MarkupError):
        parse_markup("half a character: \ud800", "ssml")
    assert parse_markup("\ufeff<?xml version='1.0'?><speak>a</speak>", "ssml") == [Piece("a")]
    fast = "<prosody rate='1000%'>" * 50
    [piece] = parse_markup(f"{fast}a{'</prosody>' * 50}", "ssml")
    assert piece.rate == 10


def test_markdown_of_any_depth_ends() -> None:
    table = "|a" * 300 + "|\n" + "|-" * 300 + "|\n" + ("|b" * 300 + "|\n") * 3
    assert len(parse_markup(table, "markdown")) == 4
    for mark in ("> ", "- ", "[", "<div>", "*a ", "!["):
        assert isinstance(parse_markup(f"{mark * 500}x", "markdown"), list)
