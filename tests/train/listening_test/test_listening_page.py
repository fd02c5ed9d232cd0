"""The listening test in a real Chromium, from a file, by the keyboard alone."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, BrowserContext, Page, expect

from piper.messages import translate
from piper.train.listening_test import (
    make_listening_test,
    making,
    summarise_listening_test,
)

RATE = 16000
COUNT = 4
TEXTS = ['Он сказал: "да".', "Второй текст.", "</script><b>bold</b>", "Four."]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of four pairs of two systems; sounds are short, so that nobody waits."""
    folder = tmp_path_factory.mktemp("listening")
    systems: dict[str, list[Path]] = {}
    for label, pitch in (("Анна", 300), ("boris, old", 500)):
        systems[label] = [folder / f"{pitch}-{number}.wav" for number in range(COUNT)]
        for file in systems[label]:
            tone = 0.1 * np.sin(np.arange(RATE // 8) * 2 * np.pi * pitch / RATE)
            soundfile.write(file, np.pad(tone, 800), RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "SILENCE_SECONDS", 0.0)
        make_listening_test(systems, folder / "listen.html", texts=TEXTS)
    return folder / "listen.html"


@pytest.fixture
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A browser; at the end nothing may have gone wrong in it, or been asked of a network."""
    mistakes: list[str] = []
    asked: list[str] = []
    locale = getattr(request, "param", "en-US")
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale=locale)
    context.set_default_timeout(60_000)
    context.on("request", lambda request: asked.append(request.url))
    context.on("weberror", lambda error: mistakes.append(str(error.error)))
    context.on("console", lambda message: mistakes.append(message.text))
    yield context
    context.close()
    assert mistakes == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}


def open_page(context: BrowserContext, path: Path) -> Page:
    page = context.new_page()
    page.goto(path.as_uri())
    return page


def begin(page: Page, listener: str) -> None:
    expect(page.locator("#listener")).to_be_focused()
    page.keyboard.type(listener)
    page.keyboard.press("Enter")


def expect_pair(page: Page, number: int) -> None:
    expect(page.locator("#place")).to_have_text(f"Pair {number} of {COUNT}")


def expect_heard(page: Page) -> None:
    """Wait until B has begun to play; A has then been heard."""
    expect(page.locator("#play-1")).to_contain_class("heard")


def count_plays(page: Page) -> None:
    """Write into the page's title how often a sound began since."""
    page.evaluate(
        "() => { let plays = 0; document.title = '0 plays';"
        " document.getElementById('audio').addEventListener('playing',"
        " () => { plays += 1; document.title = `${plays} plays`; }); }"
    )


def wait_for_plays(page: Page, count: int) -> None:
    expect(page).to_have_title(re.compile(f"[{count}-9] plays"))


def download(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as found:
        page.keyboard.press("d")
    assert found.value.suggested_filename == "listening-Лена-К-.csv"
    content = Path(found.value.path()).read_bytes()
    assert content.count(b"\r\n") == len(list(csv.reader(io.StringIO(content.decode()))))
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_all_of_it_by_keyboard_with_a_reload_in_the_middle(
    context: BrowserContext, path: Path, tmp_path: Path
) -> None:
    page = open_page(context, path)
    begin(page, 'Лена "К"')
    expect_pair(page, 1)
    expect(page.locator("#place")).to_be_focused()
    # It plays by itself, and nobody can choose before B was heard.
    page.keyboard.press("1")
    expect(page.locator("#said")).to_have_text("Listen to both first.")
    expect_heard(page)
    page.keyboard.press("1")
    expect_pair(page, 2)
    expect_heard(page)
    page.keyboard.press("c")
    page.keyboard.type('a "quoted", 012 word')
    page.keyboard.press("Enter")
    page.keyboard.press("2")
    expect_pair(page, 3)
    expect(page.locator("#count")).to_have_text("2 of 4 answered")

    page.reload()
    expect(page.locator("#intro-title")).to_have_text("Welcome back")
    expect(page.locator("#listener")).to_have_value('Лена "К"')
    page.keyboard.press("Enter")
    expect_pair(page, 3)
    expect_heard(page)
    page.keyboard.press("0")
    expect_pair(page, 4)
    assert [row["choice"] for row in download(page)] == ["left", "right", "none"]

    # Back to an answer, which can be changed; the arrows go both ways.
    for number in (3, 2, 1):
        page.keyboard.press("ArrowLeft")
        expect_pair(page, number)
    expect(page.locator("#choose-left")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#comment")).to_have_value('a "quoted", 012 word')
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("2")
    expect_pair(page, 4)
    page.keyboard.press("a")
    expect(page.locator("#play-0")).to_contain_class("heard")
    page.keyboard.press("b")
    expect_heard(page)
    page.keyboard.press("Numpad2")
    expect(page.locator("#end-title")).to_be_focused()
    expect(page.locator("#count")).to_have_text("4 of 4 answered")

    rows = download(page)
    assert [row["choice"] for row in rows] == ["right", "right", "none", "right"]
    assert rows[1]["comment"] == 'a "quoted", 012 word'
    assert {row["listener"] for row in rows} == {'Лена "К"'}
    assert [row["pair"] for row in rows] == ["1", "2", "3", "4"]
    assert all(0 < float(row["seconds"]) < 600 for row in rows)
    assert all({row["left"], row["right"]} == {"Анна", "boris, old"} for row in rows)
    check_sides(path, rows)
    result = tmp_path / "result.csv"
    with result.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    summary = summarise_listening_test([result])
    assert (summary.num_choices, summary.left_share) == (4, 0.0)


def check_sides(path: Path, rows: list[dict[str, str]]) -> None:
    """What the result calls left is what was heard as A: the systems differ in pitch."""
    found = re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    assert found is not None
    data = json.loads(found[1])
    assert sorted(row["left"] for row in rows) == ["boris, old"] * 2 + ["Анна"] * 2
    for row, pair in zip(rows, data["pairs"], strict=True):
        content = data["sounds"][pair["sounds"][0]].split(",")[1]
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
        pitch = float(np.abs(np.fft.rfft(samples)).argmax()) * rate / len(samples)
        assert pitch == pytest.approx(300 if row["left"] == "Анна" else 500, abs=10)


def test_texts_show_as_they_are_and_space_plays_again(context: BrowserContext, path: Path) -> None:
    page = open_page(context, path)
    page.keyboard.press("Enter")
    shown = set()
    for number in range(1, COUNT + 1):
        expect_pair(page, number)
        shown.add(page.locator("#text").text_content())
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.keyboard.press("ArrowRight")
    assert shown == set(TEXTS)
    expect_heard(page)
    count_plays(page)
    page.keyboard.press("Space")
    wait_for_plays(page, 2)
    # Without an answer there is no end.
    page.keyboard.press("ArrowRight")
    expect(page.locator("#said")).to_have_text("This is the last pair.")
    expect(page.locator("#download")).to_be_disabled()
    kept = json.loads(page.evaluate("Object.values(localStorage)[0]"))
    assert re.fullmatch(r"listener-[0-9a-z]+", kept["listener"])


def test_buttons_work_by_hand_and_leave_the_keys(context: BrowserContext, path: Path) -> None:
    page = open_page(context, path)
    page.locator("#begin").click()
    expect_heard(page)
    page.locator("#choose-none").click()
    expect_pair(page, 2)
    expect_heard(page)
    count_plays(page)
    page.locator("#again").click()
    expect(page.locator("#place")).to_be_focused()
    wait_for_plays(page, 1)
    page.locator("#back").click()
    expect_pair(page, 1)
    page.keyboard.press("ArrowRight")
    expect_pair(page, 2)


@pytest.mark.parametrize("context", ["ru-RU"], indirect=True)
def test_a_russian_browser_is_spoken_to_in_russian(context: BrowserContext, path: Path) -> None:
    """Listeners of a Russian voice need not know English; the result is the same."""
    page = open_page(context, path)
    assert page.title() == page.locator("h1").inner_text() == "Что звучит лучше?"
    shown = [page.locator("body").inner_text()]
    assert "Это займёт около минуты; можно прерваться" in shown[0]
    begin(page, "Лена К.")
    expect(page.locator("#place")).to_have_text("Пара 1 из 4")
    expect_heard(page)
    shown.append(page.locator("body").inner_text().replace(TEXTS[0], ""))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#said")).to_have_text("Это первая пара.")
    for number in range(COUNT):
        expect(page.locator("#place")).to_have_text(f"Пара {number + 1} из 4")
        expect_heard(page)
        page.keyboard.press("1")
    expect(page.locator("#end-title")).to_have_text("Спасибо!")
    expect(page.locator("#count")).to_have_text("отвечено: 4 из 4")
    shown.append(page.locator("body").inner_text())
    words = {word for text in shown for word in re.findall("[A-Za-z]+", text)}
    assert words == {"A", "B"}  # on a phone no keys are named
    assert [row["choice"] for row in download(page)] == ["left"] * COUNT
    minutes = [translate(making.describe_minutes(3 * count), "ru") for count in (1, 2, 5, 11, 21)]
    assert ",".join(minutes) == (
        "около минуты,около 2 минут,около 5 минут,около 11 минут,около 21 минуты"
    )
