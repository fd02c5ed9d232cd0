from __future__ import annotations

import logging

import pytest

from piper.errors import MarkupError
from piper.text.markup import parse_markup
from piper.text.pieces import Piece, Pitch, Span


def test_plain_text_is_one_piece() -> None:
    assert parse_markup("a *b* <c>\n\nd") == [Piece("a *b* <c>\n\nd")]


def test_unknown_kind() -> None:
    with pytest.raises(MarkupError, match='"html" is not known; choose one of plain,'):
        parse_markup("a", "html")


def test_markdown() -> None:
    text = (
        "---\ntitle: x\n---\n# Head\n\nPara *one*\nline [link](http://x) `code`.\n\n- item a\n"
        "- item **b**\n\n```py\nprint()\n```\n\n| a | b |\n|---|---|\n| c | d |\n\n"
        "> quote ![alt](i.png) [[həˈloʊ]]\n\n<b>x</b> y"
    )
    assert parse_markup(text, "markdown") == [
        Piece("Head", ends_paragraph=True),
        Piece("Para one line link code.", ends_paragraph=True),
        Piece("item a"),
        Piece("item b", ends_paragraph=True),
        Piece("a, b"),
        Piece("c, d", ends_paragraph=True),
        Piece("quote alt [[həˈloʊ]]", ends_paragraph=True),
        Piece("x y", ends_paragraph=True),
    ]
    assert parse_markup("", "markdown") == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        # Programs that chat write Markdown with HTML inside, and what they write was read aloud.
        ("A ~~gone~~ **b** and `c`", ["A gone b and c|"]),
        ("It is **bold and *not closed", ["It is bold and not closed|"]),
        ("2 * 3 = 6, 5*3", ["2 * 3 = 6, 5*3|"]),
        ("    An indented paragraph.", ["An indented paragraph.|"]),
        ("Text\n\n\tindented\n\nmore", ["Text|", "indented|", "more|"]),
        ("One<br>two<br/>three  \nfour", ["One", "two", "three", "four|"]),
        (
            "<p>One <b>big</b></p><p>two &amp; **three**</p>four",
            ["One big|", "two & three|", "four|"],
        ),
        ("<ul><li>one</li><li>two</li></ul>", ["one", "two|"]),
        ("<div>\ntext\n- a\n- b\n</div>", ["text|", "a", "b|"]),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", ["a, b", "c|"]),
        ("- [ ] to do\n- [x] done", ["to do", "done|"]),
        ("A note[^1].\n\n[^1]: Here.", ["A note.|", "Here.|"]),
        ("<script>alert(1)</script>Hi <style>x</style>you<!-- no -->", ["Hi you|"]),
        ("I <3 you & a < b", ["I <3 you & a < b|"]),
        ("```\ncode\n```", []),
    ],
)
def test_markdown_of_chat_programs(text: str, lines: list[str]) -> None:
    pieces = parse_markup(text, "markdown")
    assert [piece.text + "|" * piece.ends_paragraph for piece in pieces] == lines


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Hi &amp; you", [Piece("Hi & you")]),
        ('<break time="1.5s"/>Hi', [Piece("", silence_seconds=1.5), Piece("Hi")]),
        (
            'Hi<break time="300ms"/> you<break/>',
            [
                Piece("Hi", silence_seconds=0.3),
                Piece("you", silence_seconds=0.5),
            ],
        ),
        (
            '<prosody rate="fast">a <prosody rate="80%">b</prosody></prosody>c',
            [
                Piece("a", 1.25),
                Piece("b", 1.0),
                Piece("c"),
            ],
        ),
        ('<prosody rate="+20%">a</prosody>', [Piece("a", 1.2)]),
        (
            "<p>a</p><p><s>b</s><s>c\n  d</s></p>",
            [
                Piece("a", ends_paragraph=True),
                Piece("b"),
                Piece("c d", ends_paragraph=True),
            ],
        ),
        ("a<p>b</p>c", [Piece(text, ends_paragraph=text != "c") for text in "abc"]),
        ('a <phoneme ph="x" alphabet="ipa">b</phoneme> c', [Piece("a [[x]] c")]),
        ('a <phoneme ph="x">b</phoneme>. C', [Piece("a [[x.]]"), Piece("C")]),
        ('a <phoneme ph="x">b</phoneme>, c', [Piece("a [[x,]] c")]),
        (
            'a <prosody pitch="+2st">b<prosody pitch="-1st" rate="2">c</prosody></prosody>'
            '<prosody pitch="x-low">d <prosody pitch="180Hz">e</prosody></prosody>',
            [
                Piece("a b", spans=(Span(2, 3, Pitch(2.0)),)),
                Piece("c", 2.0, spans=(Span(0, 1, Pitch(2.0)), Span(0, 1, Pitch(1.0)))),
                Piece(
                    "d e",
                    spans=(
                        Span(0, 3, Pitch(-4.0)),
                        Span(2, 3, Pitch(hertz=180.0, is_absolute=True)),
                    ),
                ),
            ],
        ),
        (
            '<prosody pitch="+100%">a</prosody> <prosody pitch="50%">b</prosody> '
            '<prosody pitch="-10Hz">c</prosody>',
            [
                Piece(
                    "a b c",
                    spans=(
                        Span(0, 1, Pitch(12.0)),
                        Span(2, 3, Pitch(-12.0)),
                        Span(4, 5, Pitch(hertz=-10.0)),
                    ),
                )
            ],
        ),
        (
            ' Not\n  <emphasis>this\n <emphasis level="strong">one</emphasis></emphasis>, '
            'but <emphasis level="reduced">a<break time="1s"/>b</emphasis>.',
            [
                Piece(
                    "Not this one, but a",
                    silence_seconds=1.0,
                    spans=(
                        Span(4, 12, emphasis=1.0),
                        Span(9, 12, emphasis=2.0),
                        Span(18, 19, emphasis=-1.0),
                    ),
                ),
                Piece("b.", spans=(Span(0, 1, emphasis=-1.0),)),
            ],
        ),
        ('<sub alias="World Wide Web">WWW</sub>!', [Piece("World Wide Web!")]),
        ('<say-as interpret-as="digits">42</say-as>', [Piece("4 2")]),
        ('<say-as interpret-as="characters">ABC</say-as>', [Piece("A, B, C")]),
        (
            '<?xml version="1.0"?><speak xmlns="http://www.w3.org/2001/10/synthesis">a</speak>',
            [
                Piece("a"),
            ],
        ),
    ],
)
def test_ssml(text: str, pieces: list[Piece]) -> None:
    assert parse_markup(text, "ssml") == pieces


def test_what_is_not_known_is_spoken_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    text = (
        '<voice name="x">a</voice> <voice>b</voice> <prosody volume="loud">c</prosody> '
        '<say-as interpret-as="date">d</say-as> <phoneme alphabet="x-sampa" ph="e">f</phoneme>'
    )
    with caplog.at_level(logging.WARNING):
        pieces = parse_markup(text, "ssml")
    assert " ".join(piece.text for piece in pieces) == "a b c d f"
    [message] = [record.getMessage() for record in caplog.records]
    assert message == (
        'This SSML is not known and has no effect: attribute "volume" of <prosody>, '
        'tag <phoneme> with the alphabet "x-sampa" or without ph, tag <voice>, '
        'value interpret-as="date" of <say-as>; known are the tags speak, p, s, break, prosody, '
        "emphasis, phoneme, sub, say-as."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a < b", r"not well-formed XML \(line 1"),
        ("<speak>a\n<p>b</speak>", r"not well-formed XML \(line 2"),
        ('<break time="5 minutes"/>', r'<break time="5 minutes">: write a time such as'),
        ('<break time="3600s"/>', r"at most 60s"),
        ('<break strength="loud"/>', r"choose one of none, x-weak"),
        ('<prosody rate="0%">a</prosody>', r"from 10% to 1000%"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><speak>&a;</speak>', r"declares a document type"),
    ],
)
def test_wrong_ssml_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(MarkupError, match=message):
        parse_markup(text, "ssml")
