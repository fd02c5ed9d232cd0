"""The page in a real Chromium, by the keyboard alone, against the real command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from reviews import RunningReview, list_digests, open_table, serve

FIRST, SECOND, THIRD = "utterance001.wav", "utterance002.wav", "utterance003.wav"


@contextmanager
def run_review(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Run the command; give the page's address, and what kills the process at once."""
    with subprocess.Popen(
        [sys.executable, "-m", "piper.train", "review", str(folder), "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        try:
            yield found[0], lambda: os.kill(process.pid, signal.SIGKILL)
        finally:
            process.kill()


@contextmanager
def open_page(browser: Browser, address: str, locale: str = "en-US") -> Iterator[Page]:
    """Open the page; at the end nothing may have gone wrong in it."""
    mistakes: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 860}, locale=locale)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.goto(address)
    expect(page.locator("#count")).to_contain_text("decided" if locale == "en-US" else "решено")
    yield page
    context.close()
    assert mistakes == []


def expect_clip(page: Page, name: str, state: str) -> None:
    expect(page.locator("#name")).to_have_text(name)
    expect(page.locator("#state")).to_contain_text(state)


def expect_saved(page: Page, name: str, state: str) -> None:
    expect(page.locator("#saved")).to_have_text(f"Saved: {name} is {state}.")


def read_border(page: Page, border: str) -> float:
    return float(page.locator(f"#{border}").get_attribute("aria-valuenow") or "nan")


def find_playing_time(page: Page) -> float:
    return float(page.evaluate("document.getElementById('audio').currentTime"))


def is_playing(page: Page) -> bool:
    return not page.evaluate("document.getElementById('audio').paused")


def wait_until(page: Page, is_so: Callable[[], bool]) -> None:
    """Wait; Playwright's own `wait_for_function` needs `eval`, which the page's policy forbids."""
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end
        page.wait_for_timeout(20)


def test_a_review_by_keyboard_from_the_first_clip_to_the_copy(
    doubted: Path, browser: Browser, tmp_path: Path
) -> None:
    before = list_digests(doubted)
    with run_review(doubted) as (address, kill), open_page(browser, address) as page:
        keys = page.keyboard
        expect_clip(page, FIRST, "undecided")
        expect(page.locator("#doubts")).to_contain_text("start-silence")
        assert page.locator(".span").count() == 1
        keys.press("Space")
        wait_until(page, lambda: find_playing_time(page) > 0.2)
        keys.press("Space")
        expect(page.locator("#play")).to_contain_text("Play")

        shift_both_borders(page)
        keys.press("Enter")  # keep, and on
        expect_clip(page, SECOND, "undecided")
        correct_the_text(page)
        expect_clip(page, THIRD, "undecided")
        keys.press("k")
        expect(page.locator("#mistake")).to_contain_text("It cannot be kept. There is no rec")
        keys.press("d")
        expect(page.locator("#saved")).to_have_text(
            f"Saved: {THIRD} is dropped. All clips are decided."
        )
        expect(page.locator("#count")).to_have_text("3 of 3 decided")
        keys.press("z")
        expect_clip(page, THIRD, "undecided")
        keys.press("z")
        expect_clip(page, SECOND, "undecided")
        keys.press("y")
        expect_clip(page, SECOND, "changed")
        page.reload()
        # Where the review stopped: at the first clip that is undecided.
        expect_clip(page, THIRD, "undecided")
        expect(page.locator("#count")).to_have_text("2 of 3 decided")
        kill()
        keys.press("d")
        expect(page.locator("#mistake")).to_contain_text("The review has ended; start it again")
        expect_clip(page, THIRD, "undecided")
    with run_review(doubted) as (address, _), open_page(browser, address) as page:
        expect_clip(page, THIRD, "undecided")
        page.keyboard.press("ArrowUp")
        expect_clip(page, SECOND, "changed")
        expect(page.locator("#text")).to_have_value(re.compile("^Исправлено: "))
        page.keyboard.press("ArrowUp")
        expect_clip(page, FIRST, "changed")
        assert read_border(page, "start") == 1.6
        copy = tmp_path / "copy"
        write_the_copy(page, copy)
    assert list_digests(doubted) == before
    compare_the_copy(doubted, copy)


def shift_both_borders(page: Page) -> None:
    keys = page.keyboard
    end = read_border(page, "end")
    keys.press("s")
    for _ in range(15):
        keys.press("Shift+ArrowRight")
    for _ in range(10):
        keys.press("ArrowRight")
    assert read_border(page, "start") == 1.6
    keys.press("e")
    for _ in range(5):
        keys.press("ArrowLeft")
    assert read_border(page, "end") == pytest.approx(end - 0.05, abs=0.006)
    # Beyond the recording there is nothing to hear.
    for _ in range(3):
        keys.press("Shift+ArrowRight")
    assert read_border(page, "end") == end
    keys.press("Shift+ArrowLeft")
    expect_saved(page, FIRST, "changed")
    page.evaluate(
        "document.getElementById('audio').addEventListener('play', "
        "event => { window.heardFrom = event.target.currentTime; })"
    )
    keys.press("q")
    wait_until(page, lambda: page.evaluate("window.heardFrom") is not None)
    wait_until(page, lambda: not is_playing(page))
    # From 0.7 s before the border to 0.7 s after it; a busy machine stops it late, but not at the
    # recording's end.
    assert page.evaluate("window.heardFrom") == pytest.approx(0.9, abs=0.1)
    assert 2.2 <= find_playing_time(page) < end - 0.05


def correct_the_text(page: Page) -> None:
    keys = page.keyboard
    heard = page.locator("#heard").text_content()
    keys.press("t")
    keys.press("Control+Home")
    keys.type("Исправлено: ")
    expect_saved(page, SECOND, "changed")
    expect(page.locator("#heard")).to_contain_text("ɪsprˈɑvɭʲinʌ")
    assert page.locator("#heard").text_content() != heard
    expect(page.locator("#original")).to_contain_text("It was: ")
    # Letters are letters while one writes: `d` has dropped nothing, Alt makes it a key.
    keys.type("d")
    expect(page.locator("#text")).to_have_value(re.compile("^Исправлено: d"))
    keys.press("Backspace")
    keys.press("Alt+d")
    expect_saved(page, SECOND, "dropped")
    expect_clip(page, THIRD, "undecided")
    keys.press("Alt+z")
    expect_clip(page, SECOND, "changed")
    refuse_an_empty_text(page)
    keys.press("Control+Enter")
    keys.press("Escape")


def refuse_an_empty_text(page: Page) -> None:
    keys = page.keyboard
    keys.press("Control+a")
    keys.press("Delete")
    expect(page.locator("#mistake")).to_contain_text("The text is empty; write what is said")
    # Elsewhere and back: what counts is shown.
    keys.press("Alt+ArrowUp")
    expect_clip(page, FIRST, "changed")
    keys.press("Alt+ArrowDown")
    expect_clip(page, SECOND, "changed")
    expect(page.locator("#text")).to_have_value(re.compile("^Исправлено: "))


def write_the_copy(page: Page, folder: Path) -> None:
    page.keyboard.press("c")
    page.keyboard.press("Control+a")
    page.keyboard.type(str(folder))
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).to_have_text(
        f"{folder}: 15 recordings, 3 changes, 1 line left out: changes.json lists them."
    )
    page.keyboard.press("Escape")


def compare_the_copy(original: Path, copy: Path) -> None:
    lines = (copy / "metadata.csv").read_text(encoding="utf-8").splitlines()
    table = open_table(original)
    text = table.find(SECOND).text
    assert lines[1] == f"{SECOND}|Исправлено: {text}"
    old, new = (open_table(folder).find(FIRST) for folder in (original, copy))
    assert new.end_seconds == pytest.approx(old.end_seconds - 1.6 - 0.1, abs=0.01)
    for path in (original / "wavs").iterdir():
        if path.name != FIRST:
            assert (copy / "wavs" / path.name).read_bytes() == path.read_bytes()


def test_keys_count_by_their_place_in_another_alphabet(
    running: RunningReview, browser: Browser
) -> None:
    with open_page(browser, running.address) as page:
        expect_clip(page, FIRST, "undecided")
        press_cyrillic = (
            "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', "
            "{ key, code, bubbles: true, cancelable: true }))"
        )
        page.evaluate(press_cyrillic, ["в", "KeyD"])
        expect_clip(page, SECOND, "undecided")
        page.evaluate(press_cyrillic, ["я", "KeyZ"])
        expect_clip(page, FIRST, "undecided")
        page.keyboard.press("?")
        expect(page.locator("#keys")).to_be_visible()
        page.keyboard.press("d")
        page.keyboard.press("Escape")
        expect(page.locator("#keys")).to_be_hidden()
        expect_clip(page, FIRST, "undecided")


def test_the_text_that_fits_is_taken_by_a_button(
    doubted: Path, browser: Browser, tmp_path: Path
) -> None:
    path = doubted / "check/report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    finding = {"line": 4, "name": "", "message": "fits by 0 %", "span": None, "likely_line": 5}
    rule = {"rule": "other-text", "severity": "error", "advice": "Listen.", "findings": [finding]}
    path.write_text(json.dumps({**report, "rules": [rule]}), encoding="utf-8")
    fitting = open_table(doubted).find("utterance005.wav").text
    with (
        contextmanager(serve)(doubted, tmp_path / "media") as running,
        open_page(browser, running.address) as page,
    ):
        expect_clip(page, "utterance004.wav", "undecided")
        expect(page.locator("#doubts")).to_contain_text(fitting)
        page.get_by_role("button", name="Take this text").click()
        expect(page.locator("#text")).to_have_value(fitting)
        expect_saved(page, "utterance004.wav", "changed")
        options = page.locator("#filter option").all_text_contents()
        assert options[-2:] == ["with errors (1)", "other-text (1)"]


def test_borders_follow_the_pointer_and_the_page_fits_a_phone(
    running_cut: RunningReview, browser: Browser
) -> None:
    with open_page(browser, running_cut.address) as page:
        expect_clip(page, "long-0003", "undecided")
        start = read_border(page, "start")
        box = page.locator("#start").bounding_box()
        assert box
        page.mouse.move(box["x"] + 1, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] - 60, box["y"] + 40, steps=4)
        page.mouse.up()
        expect_saved(page, "long-0003", "changed")
        # Outward, into the long recording.
        assert read_border(page, "start") < start - 0.2
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_russian_browser_is_spoken_to_in_russian(
    running: RunningReview, browser: Browser
) -> None:
    with open_page(browser, running.address, "ru-RU") as page:
        expect_clip(page, FIRST, "не решено")
        expect(page.locator("#doubts")).to_contain_text("с тишины в начале")
        names = {"Enter", "Alt", "Esc", "Ctrl", "Shift", "changes.json"}
        shown = page.locator("body").inner_text() + page.locator("#keys").text_content()
        shown = shown.replace(page.locator("#heard").inner_text(), "")
        words = {word.strip("().,:;") for word in shown.split()} - names
        # What is left has hyphens, figures or capitals: rules, files, keys, the dataset's name.
        assert [word for word in words if re.fullmatch("[A-Za-z]?[a-z]{2,}", word)] == ["dataset"]
        page.keyboard.press("Enter")
        expect(page.locator("#saved")).to_have_text(f"Сохранено: {FIRST}, оставлено.")
        page.locator("#text").fill("|")
        expect(page.locator("#mistake")).to_contain_text("В тексте не может быть '|'")
