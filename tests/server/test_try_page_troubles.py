"""The page to try a voice where something is missing: a key, the server, a WebSocket, room."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from playwright.sync_api import Browser, expect
from servers import copy_voice
from test_http_server import run_server
from try_pages import (
    LONG_TEXT,
    SHORT_TEXT,
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

from piper.server.http import ApiKey
from piper.server.settings import Access, ServerSettings


def test_a_key_is_asked_for_and_kept(start_server: Callable[..., Any], browser: Browser) -> None:
    server = start_server(ServerSettings(access=Access(api_key="right")))
    with open_page(browser, find_address(server), expected_errors="401") as page:
        expect(page.locator("#ask-key")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#mistake")).to_have_text("This server wants an API key")
        page.fill("#text", SHORT_TEXT)
        page.press("#text", "Control+Enter")
        expect(page.locator("#ask-key")).to_be_visible()
        page.keyboard.press("Enter")
        expect(page.locator("#key-mistake")).to_have_text("Enter the key.")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-mistake")).to_have_text(ApiKey.REFUSAL)
        page.keyboard.type("right")
        page.keyboard.press("Enter")
        expect(page.locator("#ask-key")).to_be_hidden()
        wait_until(page, lambda: bool(read_log(page, "end")))
        assert read_log(page, "sent")[0]["message"]["api_key"] == "right"
        assert save(page, "FLAC")[:4] == b"fLaC"
        page.reload()
        expect(page.locator("#about-voice")).not_to_be_empty()
        # The server has another key now: it refuses, the page asks, and speaks after all.
        page.evaluate("sessionStorage.setItem('piper-api-key', 'old')")
        begin(page, SHORT_TEXT)
        expect(page.locator("#key-mistake")).to_have_text(ApiKey.REFUSAL)
        page.keyboard.type("right")
        page.keyboard.press("Enter")
        wait_until(page, lambda: bool(read_log(page, "samples")))


def test_a_server_that_goes_in_the_middle(tiny_voice: Path, browser: Browser) -> None:
    with (
        run_server("-m", str(tiny_voice)) as (process, address),
        open_page(browser, address, expected_errors="ERR_CONNECTION_REFUSED") as page,
    ):
        page.expose_function("onSound", lambda: os.kill(process.pid, signal.SIGKILL))
        begin(page, LONG_TEXT)
        expect(page.locator("#mistake")).to_contain_text("The connection to the server broke off")
        assert read_log(page, "end") == []
        page.keyboard.press("Escape")
        page.press("#seek", "Home")
        page.get_by_role("button", name="Play").click()
        wait_until(page, lambda: read_place(page) > 0)
        begin(page, SHORT_TEXT)
        expect(page.locator("#mistake")).to_have_text(
            "The server does not answer; see whether it runs, and try again."
        )
        expect(page.locator("#empty")).to_be_visible()


def test_without_a_websocket_the_whole_is_heard(
    start_server: Callable[..., Any], browser: Browser
) -> None:
    server = start_server(has_websocket=False)
    with open_page(browser, find_address(server), expected_errors="WebSocket connection") as page:
        make_repeatable(page)
        begin(page, SHORT_TEXT)
        expect(page.locator("#state")).to_contain_text("Without lit words")
        expect(page.locator("#spoken")).to_have_text(SHORT_TEXT)
        wait_for_silence(page)
        assert read_log(page, "start")
        answer = server.synthesize(text=SHORT_TEXT, noise_scale=0, noise_w_scale=0)
        assert save(page, "WAV") == answer.body
        # Stopping ends the work here, too.
        begin(page, LONG_TEXT)
        wait_until(page, lambda: read_place(page) > 0)
        page.keyboard.press("Escape")
        server.wait_until_idle()


def test_what_cannot_be_spoken(
    start_server: Callable[..., Any], browser: Browser, tmp_path: Path, voices_folder: Path
) -> None:
    # A whole file is listed, whatever it computes.
    path = copy_voice(voices_folder / "tiny.onnx", tmp_path / "broken.onnx")
    model = onnx.load(path)
    model.graph.node[0].op_type = "Unknown"
    onnx.save(model, path)
    with open_page(browser, find_address(start_server(folder=tmp_path))) as page:
        mistake = page.get_by_role("alert").first
        for text in (" ", "..."):
            begin(page, text)
            expect(mistake).to_have_text("There is nothing to speak; write a text.")
        begin(page, "a" * 5001)
        expect(mistake).to_contain_text("The text has 5,001 characters, but at most 5,000 can be")
        expect(page.locator("#counter")).to_have_text("5,001 of 5,000 characters")
        page.select_option("#voice", "broken")
        begin(page, SHORT_TEXT)
        expect(mistake).to_have_text(
            "The voice broken cannot be loaded; the server's log says why."
        )
        expect(page.locator("#empty")).to_be_visible()
        page.select_option("#voice", "tiny")
        begin(page, SHORT_TEXT)
        expect(mistake).to_be_hidden()
        wait_until(page, lambda: bool(read_log(page, "start")))


def test_a_russian_phone(server: Any, browser: Browser) -> None:
    viewport = {"width": 360, "height": 640}
    address = f"{find_address(server)}#voice=speakers&text=One%20two."
    with open_page(browser, address, locale="ru-RU", viewport=viewport) as page:
        expect(page.locator("#text")).to_have_value("One two.")
        expect(page.locator("#speaker")).to_be_visible()
        page.click("#more summary")
        page.click("#speak")
        expect(page.locator("#state")).to_have_text(re.compile(r"^Первый звук через \d+,\d"))
        expect(page.locator("#speak-name")).to_have_text("Озвучить")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        expect(page.locator("#speak")).to_be_in_viewport()
        expect(page.locator("#play")).to_be_in_viewport()
        shown = page.evaluate(
            "[...document.querySelectorAll('label, summary, button, h2, p:not(#spoken p)')]"
            ".map(node => node.textContent.trim())"
        )
        names = r"Piper|WAV|MP3|Opus|FLAC|API|Ctrl|Enter|Esc|[.]onnx|[.]json"
        assert [text for text in shown if re.search("[a-z]", re.sub(names, "", text))] == []


def test_another_page_cannot_have_it_speak(
    start_server: Callable[..., Any], browser: Browser
) -> None:
    # Neither a picture nor a sound has an Origin; sixty of them would fill the queue.
    server = start_server()
    address = f"{find_address(server)}?text=Hello."
    page = browser.new_page()
    listen = "address => { new Audio(address).play().catch(() => {}); }"
    page.goto(f"http://localhost:{server.port}/health")
    with page.expect_event("requestfailed"):
        page.evaluate(listen, address)
    figures = server.get("/metrics").body.decode()
    assert 'status="403"} 1.0' in figures
    assert "piper_audio_seconds_total 0.0" in figures
    page.goto(f"http://127.0.0.1:{server.port}/health")
    with page.expect_response(address) as answer:
        page.evaluate(listen, address)
    assert answer.value.status == 200
    page.close()
