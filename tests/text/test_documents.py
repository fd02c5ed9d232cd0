"""Lines and documents of files, and how both are told apart."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from piper.errors import MarkupError, PiperError
from piper.text.markup import MAX_BYTES, Utterance, find_kind, parse_text, read_utterances
from piper.text.pieces import Piece


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.md", "markdown"),
        ("b/A.MARKDOWN", "markdown"),
        ("a.ssml", "ssml"),
        ("a.xml", "ssml"),
        ("a.txt", "plain"),
        ("a.md.txt", "plain"),
        ("md", "plain"),
    ],
)
def test_the_ending_says_the_kind(path: str, kind: str) -> None:
    assert find_kind(path) == kind


def test_lines_know_the_blank_ones_before_them(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffOne.\r\n \nTwo.\n\n\nThree. \nFour.".encode())
    with path.open("rb") as lines:
        found = list(read_utterances(lines, "plain", str(path)))
    assert found == [
        Utterance("One.", "One."),
        Utterance("Two.", "Two.", begins_paragraph=True),
        Utterance("Three.", "Three.", begins_paragraph=True),
        Utterance("Four.", "Four."),
    ]
    assert [utterance.is_document for utterance in found] == [False] * 4
    assert found[0].pieces == (Piece("One."),)


def test_lines_are_read_when_they_are_asked_for() -> None:
    def speak_on() -> list[bytes]:
        raise AssertionError("the second line was read too early")

    lines = (line for make in (lambda: [b"One.\n"], speak_on) for line in make())
    assert next(read_utterances(lines, "plain")).text == "One."


def test_a_document_is_one_utterance_with_the_name_of_its_file() -> None:
    lines = [b"\xef\xbb\xbf# Head\r\n", b"\r\n", "Büch.\r\n".encode()]
    [utterance] = read_utterances(lines, "markdown", "some/chapter 1.md")
    assert utterance == Utterance(
        "chapter 1", (Piece("Head", ends_paragraph=True), Piece("Büch.", ends_paragraph=True))
    )
    assert utterance.is_document


def test_without_a_file_its_first_words_are_its_name() -> None:
    [utterance] = read_utterances([b'<break time="1s"/>Hello.'], "ssml")
    assert utterance.name == "Hello."
    assert parse_text("", "ssml") == Utterance("", ())
    assert parse_text("# a", "plain") == Utterance("# a", "# a")


class _Endless(io.RawIOBase):
    """What a device such as /dev/zero gives, but no more of it than the machine bears."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._left = 8 * MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer) // len(self._content) * len(self._content)
        buffer[:size] = self._content * (size // len(self._content))
        self._left -= size
        assert self._left > 0, "more is read than fits"
        return size


@pytest.mark.parametrize("kind", ["plain", "json", "markdown"])
@pytest.mark.parametrize("content", [b"\0", b"# a" * 1000 + b"\n"], ids=["line", "lines"])
def test_what_has_no_end_is_a_sentence(kind: str, content: bytes) -> None:
    if kind != "markdown" and content != b"\0":
        content = b"[1, "  # lines may go on for ever, as those of a program; one line may not
    with pytest.raises(PiperError, match=r"^standard input(, line 1)? is longer than 16 MiB"):
        list(read_utterances(io.BufferedReader(_Endless(content)), kind))


def test_mistakes_name_the_file() -> None:
    with pytest.raises(PiperError, match=r"^a\.txt, line 2: not UTF-8 text; convert it\.$"):
        list(read_utterances([b"fine\n", b"\xff\n"], "plain", "a.txt"))
    with pytest.raises(MarkupError, match=r"^a\.ssml: The SSML is not well-formed XML \(line 1"):
        list(read_utterances([b"a < b"], "ssml", "a.ssml"))
    with pytest.raises(MarkupError, match=r"^standard input: The SSML declares"):
        list(read_utterances([b"<!DOCTYPE a>"], "ssml"))
