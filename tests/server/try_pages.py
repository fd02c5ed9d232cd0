"""The page to try a voice, opened in a real Chromium; what it hears, sends, plays and lights."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

TEXT = "One, two three. Four five!"
SHORT_TEXT = "One."
LONG_TEXT = "Hello there, and hello again. " * 60
"""Some four minutes."""
WATCH = """
window.log = [];
window.note = (kind, values) => window.log.push({ kind, ...values });
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (at) {
  note("start", { at, seconds: this.buffer.duration, now: this.context.currentTime });
  start.call(this, at);
  if (window.onSound) window.onSound();
};
window.WebSocket = class extends WebSocket {
  constructor(address) {
    super(address);
    this.addEventListener("message", ({ data }) => {
      if (typeof data !== "string") note("samples", { values: [...new Int16Array(data)] });
      else note(JSON.parse(data).type, { message: JSON.parse(data) });
    });
  }
  send(data) {
    note("sent", { message: JSON.parse(data) });
    super.send(data);
  }
};
document.addEventListener("DOMContentLoaded", () => {
  new MutationObserver(changes => {
    const place = Number(document.getElementById("seek").value);
    for (const { target } of changes) {
      if (target.className !== "lit") continue;
      const kind = target.closest(".words") ? "word" : "phoneme";
      note(kind, { text: target.textContent, place });
    }
  }).observe(document.getElementById("spoken"),
    { subtree: true, attributes: true, attributeFilter: ["class"] });
});
"""
"""Notes what the page hears, sends, plays and lights, in order."""


@contextmanager
def open_page(
    browser: Browser, address: str, *, expected_errors: str = "^$", **options: Any
) -> Iterator[Page]:
    """Open the page; at the end no other error may stand in its console."""
    mistakes: list[str] = []
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    # A breach of the page's policy is an error there, too.
    page.on("console", lambda line: mistakes.append(line.text) if line.type == "error" else None)
    page.add_init_script(WATCH)
    page.goto(address)
    yield page
    context.close()
    assert [mistake for mistake in mistakes if not re.search(expected_errors, mistake)] == []


def find_address(server: Any) -> str:
    return f"http://127.0.0.1:{server.port}/"


def read_log(page: Page, *kinds: str) -> list[dict[str, Any]]:
    return list(page.evaluate("kinds => log.filter(({ kind }) => kinds.includes(kind))", kinds))


def wait_until(page: Page, is_so: Callable[[], bool]) -> None:
    """Wait; Playwright's own `wait_for_function` needs `eval`, which the page's policy forbids."""
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end
        page.wait_for_timeout(20)


def begin(page: Page, text: str) -> None:
    expect(page.locator("#about-voice")).not_to_be_empty()
    page.fill("#text", text)
    page.press("#text", "Control+Enter")


def wait_for_silence(page: Page) -> None:
    expect(page.locator("#speak-name")).to_have_text("Speak")


def make_repeatable(page: Page) -> None:
    """Put both kinds of noise to 0."""
    page.locator("#more").evaluate("more => { more.open = true; }")
    for slider in ("#noise", "#rhythm"):
        page.press(slider, "Home")


def save(page: Page, name: str) -> bytes:
    with page.expect_download() as caught:
        page.get_by_role("button", name=name, exact=True).click()
    assert caught.value.suggested_filename == f"tiny.{name.lower()}"
    expect(page.locator("#state")).to_have_text(f"Saved as tiny.{name.lower()}.")
    return Path(caught.value.path()).read_bytes()


def read_place(page: Page) -> float:
    return float(page.input_value("#seek"))
