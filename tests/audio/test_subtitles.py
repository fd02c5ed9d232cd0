"""Subtitles: what is shown, when, and in which file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from piper.audio.chunk import WordTiming
from piper.audio.subtitles import (
    MAX_LINE_CHARACTERS,
    PhonemeTiming,
    TimedSentence,
    create_subtitle_writer,
)
from piper.errors import PiperError

HELLO = TimedSentence(
    "Hello, <dear> world!",
    1.0,
    3.5,
    [WordTiming("Hello", 1.1, 1.6), WordTiming("dear", 2.0, 2.4), WordTiming("world", 2.4, 3.2)],
    [PhonemeTiming("h", 1.1, 1.2345678)],
)
LONG = " ".join(f"word{number}" for number in range(40))


def write(path: Path, *sentences: TimedSentence) -> str:
    with create_subtitle_writer(path) as writer:
        for sentence in sentences:
            writer.add(sentence)
            assert not path.exists()
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    return path.read_text(encoding="utf-8")


def test_srt(tmp_path: Path) -> None:
    second = TimedSentence("Ещё одно предложение.", 3661.0, 3662.0014)
    assert write(tmp_path / "a.srt", HELLO, second) == (
        "1\n00:00:01,000 --> 00:00:03,500\nHello, <dear> world!\n\n"
        "2\n01:01:01,000 --> 01:01:02,001\nЕщё одно предложение.\n\n"
    )


def test_vtt_shows_each_word_when_it_is_spoken(tmp_path: Path) -> None:
    assert write(tmp_path / "a.VTT", HELLO, TimedSentence("No words & times.", 4.0, 5.0)) == (
        "WEBVTT\n\n"
        # Between the words, "<" stands at the share of its characters: two of three of 0.4 s.
        "00:00:01.000 --> 00:00:03.500\n"
        "<00:00:01.100>Hello, <00:00:01.867>&lt;dear&gt; <00:00:02.400>world!\n\n"
        "00:00:04.000 --> 00:00:05.000\nNo words &amp; times.\n\n"
    )


def test_json_holds_all(tmp_path: Path) -> None:
    found = json.loads(write(tmp_path / "a.json", HELLO, TimedSentence("Ещё", 4.0, 5.0)))
    assert found["sentences"][0] == {
        "text": "Hello, <dear> world!",
        "start_seconds": 1.0,
        "end_seconds": 3.5,
        "words": [
            {"text": "Hello", "start_seconds": 1.1, "end_seconds": 1.6},
            {"text": "dear", "start_seconds": 2.0, "end_seconds": 2.4},
            {"text": "world", "start_seconds": 2.4, "end_seconds": 3.2},
        ],
        "phonemes": [{"phoneme": "h", "start_seconds": 1.1, "end_seconds": 1.2346}],
    }
    assert [sentence["text"] for sentence in found["sentences"]][1:] == ["Ещё"]


@pytest.mark.parametrize(("name", "content"), [("a.srt", ""), ("a.vtt", "WEBVTT\n\n")])
def test_without_sentences_the_file_is_valid(tmp_path: Path, name: str, content: str) -> None:
    assert write(tmp_path / name) == content


def test_json_without_sentences(tmp_path: Path) -> None:
    assert json.loads(write(tmp_path / "a.json")) == {"sentences": []}


def read_srt(text: str) -> list[tuple[str, str, list[str]]]:
    cues = []
    for number, block in enumerate(text.strip().split("\n\n"), start=1):
        index, times, *lines = block.split("\n")
        assert index == str(number)
        start, end = times.split(" --> ")
        cues.append((start, end, lines))
    return cues


@pytest.mark.parametrize("is_timed", [True, False])
def test_a_long_sentence_becomes_cues_of_two_short_lines(tmp_path: Path, is_timed: bool) -> None:
    words = [WordTiming(word, number, number + 0.5) for number, word in enumerate(LONG.split())]
    sentence = TimedSentence(LONG, 0.0, 40.0, words if is_timed else ())
    cues = read_srt(write(tmp_path / "a.srt", sentence))
    assert [end for _, end, _ in cues[:-1]] == [start for start, _, _ in cues[1:]]
    assert (cues[0][0], cues[-1][1]) == ("00:00:00,000", "00:00:40,000")
    assert all(len(lines) <= 2 for _, _, lines in cues)
    lengths = [len(line) for _, _, lines in cues for line in lines]
    assert max(lengths) <= MAX_LINE_CHARACTERS
    assert min(lengths[:-1]) >= MAX_LINE_CHARACTERS - 10
    assert " ".join(line for _, _, lines in cues for line in lines) == LONG
    if is_timed:
        for start, _, lines in cues:
            number = int(re.sub(r"\D", "", lines[0].split()[0]))
            assert start == f"00:00:{number:02},000"


def test_two_lines_are_even_and_a_word_longer_than_a_line_is_cut(tmp_path: Path) -> None:
    text = "One line would be a little too long for this."
    [(_, _, lines)] = read_srt(write(tmp_path / "a.srt", TimedSentence(text, 0.0, 1.0)))
    assert lines == ["One line would be a", "little too long for this."]
    (tmp_path / "a.srt").unlink()
    [cue, last] = read_srt(write(tmp_path / "a.srt", TimedSentence("字" * 100, 0.0, 1.0)))
    assert [len(line) for line in cue[2] + last[2]] == [42, 42, 16]


def test_words_that_the_text_does_not_hold_are_passed_over(tmp_path: Path) -> None:
    words = [WordTiming("one", 0.2, 0.5), WordTiming("zwei", 0.5, 0.6), WordTiming("three", 0.7, 1)]
    text = write(tmp_path / "a.vtt", TimedSentence("one two three", 0.0, 1.0, words))
    assert "<00:00:00.200>one <00:00:00.540>two <00:00:00.700>three" in text


def test_mistakes_are_one_sentence_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(PiperError, match=r"a\.txt must end in one of \.srt, \.vtt, \.json"):
        create_subtitle_writer(tmp_path / "a.txt")
    (tmp_path / "d.srt").mkdir()
    with pytest.raises(PiperError, match=r"d\.srt is a folder"):
        create_subtitle_writer(tmp_path / "d.srt")
    with pytest.raises(KeyboardInterrupt), create_subtitle_writer(tmp_path / "a.srt") as writer:
        writer.add(HELLO)
        raise KeyboardInterrupt
    assert [found.name for found in tmp_path.iterdir()] == ["d.srt"]
