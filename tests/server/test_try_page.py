"""The page to try a voice, against the real server: what is heard, lit, chosen and saved."""

from __future__ import annotations

import io
import re
import wave
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from servers import copy_voice
from try_pages import (
    LONG_TEXT,
    SHORT_TEXT,
    TEXT,
    begin,
    find_address,
    make_repeatable,
    open_page,
    read_log,
    read_place,
    save,
    wait_for_silence,
    wait_until,
)

from piper import PiperVoice, SynthesisConfig

RATE = 16000
GAP_SECONDS = 0.25
"""Of the page, where the server was too slow."""
ROUNDING_SECONDS = 0.011
"""The seek bar has steps of 10 ms."""


def join_samples(page: Page) -> np.ndarray:
    pieces = [event["values"] for event in read_log(page, "samples")]
    return np.concatenate([np.array(values, dtype=np.int16) for values in pieces])


def check_lights(page: Page) -> list[str]:
    """Check that what was lit was lit in order and at its time; return the words."""
    sentences = [event["message"] for event in read_log(page, "sentence")]
    words = [word for sentence in sentences for word in sentence["words"]]
    phonemes = [phoneme for sentence in sentences for phoneme in sentence["phonemes"]]
    lit = read_log(page, "word")
    texts = [word["text"] for word in words]
    assert [event["text"] for event in lit] == sorted(
        (event["text"] for event in lit), key=texts.index
    )
    for event in lit:
        [word] = [word for word in words if word["text"] == event["text"]]
        assert is_during(event["place"], word)
    places = [event["place"] for event in read_log(page, "phoneme")]
    assert places == sorted(places)
    for event in read_log(page, "phoneme"):
        now = [item["phoneme"] for item in phonemes if is_during(event["place"], item)]
        assert any(phoneme in event["text"] for phoneme in now)
    return [event["text"] for event in lit]


def is_during(place: float, item: dict[str, Any]) -> bool:
    start, end = item["start_seconds"], item["end_seconds"]
    return bool(start - ROUNDING_SECONDS <= place <= end + ROUNDING_SECONDS)


def test_it_is_heard_and_lit_while_it_is_made(server: Any, browser: Browser) -> None:
    with open_page(browser, find_address(server)) as page:
        page.press("#speed", "End")
        begin(page, TEXT)
        expect(page.locator("#speak-name")).to_have_text("Stop")
        wait_for_silence(page)
        kinds = page.evaluate("log.map(({ kind }) => kind)")
        last_samples = len(kinds) - 1 - kinds[::-1].index("samples")
        assert kinds.index("start") < last_samples
        check_joints(read_log(page, "start"))
        # A busy machine's frames may miss a short word or two, not more.
        assert len(check_lights(page)) >= 3
        assert len(read_log(page, "phoneme")) >= 8
        assert page.locator("#spoken .lit").count() == 0
        expect(page.locator("#spoken .words").first).to_have_text("One, two three.")
        state = page.locator("#state").text_content() or ""
        found = re.fullmatch(
            r"First sound after ([\d.]+) s · ([\d.]+) s of speech, made in ([\d.]+) s", state
        )
        assert found
        [end] = read_log(page, "end")
        assert float(found[2]) == pytest.approx(end["message"]["seconds"], abs=0.051)


def check_joints(starts: list[dict[str, Any]]) -> None:
    """Check that each piece begins where the one before it ends, or came too late for that."""
    assert len(starts) >= 2
    for before, after in pairwise(starts):
        silence = after["at"] - before["at"] - before["seconds"]
        is_late = after["at"] - after["now"] == pytest.approx(GAP_SECONDS, abs=0.01)
        assert abs(silence) < 1e-9 or (silence > 0 and is_late)


def test_it_is_heard_again_from_any_place(server: Any, browser: Browser) -> None:
    with open_page(browser, find_address(server)) as page:
        page.press("#speed", "End")
        begin(page, "One, two three.")
        wait_for_silence(page)
        seconds = read_log(page, "end")[0]["message"]["seconds"]
        page.evaluate("window.log = window.log.filter(({ kind }) => kind === 'sentence')")
        page.get_by_role("button", name="Play").click()
        wait_for_silence(page)
        [start] = read_log(page, "start")
        assert start["seconds"] == pytest.approx(seconds, abs=1e-6)
        assert len(check_lights(page)) >= 2
        assert read_log(page, "sent") == []
        assert read_place(page) == pytest.approx(seconds, abs=ROUNDING_SECONDS)


def test_it_can_be_sought_by_words_and_keys(server: Any, browser: Browser) -> None:
    with open_page(browser, find_address(server)) as page:
        # So slow that a busy machine's clicks come before the end.
        page.press("#speed", "Home")
        begin(page, TEXT)
        wait_until(page, lambda: bool(read_log(page, "end")))
        seconds = read_log(page, "end")[0]["message"]["seconds"]
        page.get_by_role("button", name="Pause").click()
        words = [word for event in read_log(page, "sentence") for word in event["message"]["words"]]
        page.get_by_text("Four", exact=True).click()
        four = next(word for word in words if word["text"] == "Four")
        assert read_place(page) == pytest.approx(four["start_seconds"], abs=ROUNDING_SECONDS)
        expect(page.locator("#spoken .words .lit")).to_have_text("Four")
        page.press("#seek", "Home")
        assert read_place(page) == 0
        page.get_by_role("button", name="Play").click()
        page.press("#seek", "PageUp")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        assert seconds / 20 < read_place(page) < seconds
        page.get_by_text("Four", exact=True).click()
        # Within one task of the page, so that no frame comes between: the place of the last frame
        # stood until the next one.
        place = float(page.evaluate("at('play').click(), at('seek').value"))
        assert four["start_seconds"] - ROUNDING_SECONDS <= place < seconds
        page.wait_for_timeout(100)
        assert read_place(page) == place


def test_what_is_saved_is_what_was_heard(server: Any, browser: Browser) -> None:
    with open_page(browser, find_address(server)) as page:
        begin(page, SHORT_TEXT)
        wait_for_silence(page)
        with wave.open(io.BytesIO(save(page, "WAV"))) as wav:
            assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (1, 2, RATE)
            saved = np.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2")
        assert np.array_equal(saved, join_samples(page))
        assert save(page, "FLAC")[:4] == b"fLaC"
        assert save(page, "Opus")[:4] == b"OggS"
        assert save(page, "MP3")[:2] in (b"ID", b"\xff\xf3", b"\xff\xfb")


def test_stop_ends_the_work_at_once(server: Any, browser: Browser) -> None:
    with open_page(browser, find_address(server)) as page:
        # At the first sound, whatever this process does meanwhile.
        page.evaluate(
            "window.onSound = () => document.dispatchEvent("
            "new KeyboardEvent('keydown', { key: 'Escape' }))"
        )
        begin(page, LONG_TEXT)
        expect(page.locator("#state")).to_contain_text("Stopped.")
        expect(page.locator("#speak-name")).to_have_text("Speak")
        server.wait_until_idle()
        assert read_log(page, "sent")[-1]["message"] == {"type": "cancel"}
        assert read_log(page, "end") == []
        place = read_place(page)
        page.wait_for_timeout(100)
        assert read_place(page) == place
        page.evaluate("window.onSound = null")
        # What came can still be heard; the next text begins anew, and the button stops it, too.
        page.press("#seek", "Home")
        page.get_by_role("button", name="Play").click()
        wait_until(page, lambda: read_place(page) > 0)
        begin(page, LONG_TEXT)
        wait_until(page, lambda: bool(read_log(page, "word")))
        page.click("#speak")
        expect(page.locator("#speak-name")).to_have_text("Speak")
        server.wait_until_idle()


def test_speaker_and_speed_are_heard_and_remembered(
    server: Any, browser: Browser, voices_folder: Path
) -> None:
    with open_page(browser, find_address(server)) as page:
        expect(page.locator("#about-voice")).to_have_text("American English · 16 kHz")
        expect(page.locator("#speakers")).to_be_hidden()
        page.select_option("#voice", "speakers")
        page.select_option("#speaker", label="boris")
        page.press("#speed", "Home")
        expect(page.locator("#speed-value")).to_have_text("0.50×")
        make_repeatable(page)
        begin(page, "Hello there.")
        wait_until(page, lambda: bool(read_log(page, "end")))
        compare_with_library(page, voices_folder / "speakers.onnx", speaker_id=1, length_scale=2.0)

        page.reload()
        expect(page.locator("#speaker")).to_be_visible()
        assert page.input_value("#voice") == "speakers"
        assert page.locator("#speaker option:checked").text_content() == "boris"
        expect(page.locator("#speed-value")).to_have_text("0.50×")
        page.click("#more summary")
        page.click("#reset")
        expect(page.locator("#speed-value")).to_have_text("1.00×")
        make_repeatable(page)
        begin(page, "Hello there.")
        wait_until(page, lambda: bool(read_log(page, "end")))
        compare_with_library(page, voices_folder / "speakers.onnx", speaker_id=1)


def test_pitch_is_offered_for_quick_voices_only(
    start_server: Callable[..., Any],
    browser: Browser,
    tmp_path: Path,
    voices_folder: Path,
    quick_voice: Path,
) -> None:
    copy_voice(quick_voice, tmp_path / "quick.onnx")
    copy_voice(voices_folder / "tiny.onnx", tmp_path / "tiny.onnx")
    with open_page(browser, find_address(start_server(folder=tmp_path))) as page:
        expect(page.locator("#pitch")).to_be_hidden()
        page.select_option("#voice", "quick")
        expect(page.locator("#pitch-value")).to_have_text("0.0")
        page.press("#pitch", "Home")
        expect(page.locator("#pitch-value")).to_have_text("-12.0")
        make_repeatable(page)
        begin(page, "Hello there.")
        wait_until(page, lambda: bool(read_log(page, "end")))
        compare_with_library(page, quick_voice, most=8, pitch=-12)
        page.select_option("#voice", "tiny")
        expect(page.locator("#pitch")).to_be_hidden()
        begin(page, "Hello there.")
        wait_until(page, lambda: len(read_log(page, "end")) == 2)
        asked = [sent["message"] for sent in read_log(page, "sent")]
        assert [m["pitch"] for m in asked if m["type"] == "start"] == [-12, None]


def compare_with_library(page: Page, model: Path, most: int = 0, **values: Any) -> None:
    config = SynthesisConfig(noise_scale=0, noise_w_scale=0, **values)
    chunks = PiperVoice.load(model).synthesize_stream("Hello there.", config)
    samples = np.concatenate([chunk.audio_int16_array for chunk in chunks])
    assert np.abs(join_samples(page).astype(int) - samples).max() <= most


def test_many_speakers_are_searched(
    start_server: Callable[..., Any], browser: Browser, tmp_path: Path, voices_folder: Path
) -> None:
    copy_voice(voices_folder / "speakers.onnx", tmp_path / "crowd.onnx", num_speakers=300)
    with open_page(browser, find_address(start_server(folder=tmp_path))) as page:
        page.select_option("#voice", "crowd")
        assert page.locator("#speaker option").count() == 300
        page.get_by_role("searchbox", name="Find a speaker").fill("ver")
        assert page.locator("#speaker option").all_text_contents() == ["vera"]
        expect(page.locator("#found")).to_have_text("1 of 300 found")
        page.fill("#find", "29")
        assert page.locator("#speaker option").first.text_content() == "29"
        expect(page.locator("#found")).to_have_text("13 of 300 found")
        page.fill("#find", "nobody")
        expect(page.locator("#found")).to_have_text("Nobody of that name")
