"""Reads a page: its elements, attributes and text, in one of its languages. For tests."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "br", "img", "link", "input", "hr"}


def show_in(language: str, source: str) -> str:
    """Return a page of all languages as one of them shows it."""
    text = r'<(span|tspan) class="in" lang="{}">([^<]*)</\1>'
    shown = re.sub(text.format(language), r"\2", source)
    return re.sub(text.format(r"\w+"), "", shown)


def find_english(source: str) -> set[str]:
    """Return the English words that a page shows in Russian, beside code and quotes.

    Words are of letters only: no file names, options or rules.
    """
    shown = show_in("ru", source)
    assert not re.search(r'class="in" lang="en"', shown)
    shown = re.sub(r"<(style|pre|code|q|blockquote|del|ins)\b.*?</\1>", "", shown, flags=re.DOTALL)
    texts = re.findall(r'>([^<>]+)<|(?:aria-label|title)="([^"]+)"', shown)
    tokens = " ".join(html.unescape(" ".join(text)) for text in texts).split()
    words = {token.strip("«»().,:;—–") for token in tokens}
    return {word for word in words if re.fullmatch("[A-Za-z]{2,}", word)}


class Page(HTMLParser):
    """A page's elements, attributes and text; open and close tags must agree."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(show_in("en", text))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    def find(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]

    @property
    def text(self) -> str:
        return "".join(self.texts)


def check_page(page: Page, source: str) -> None:
    """Check that a page loads nothing, runs nothing that is not its own, and can be read aloud."""
    assert not page.find("script", "img", "iframe", "object", "link", "base")
    for outside in ("<script", "http://", "https://", "@import", "url("):
        assert outside not in source
    attributes = [(name, value or "") for _, found in page.tags for name, value in found.items()]
    assert not [name for name, _ in attributes if name.startswith("on")]
    loading = ("src", "href", "srcset", "poster", "data", "action")
    addresses = [value for name, value in attributes if name in loading]
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    (policy,) = [one["content"] or "" for one in page.find("meta") if "http-equiv" in one]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")
    assert page.tags[0] == ("html", {"lang": "en"})
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(one["role"] == "img" and one["aria-label"] for one in page.find("svg"))
    assert all(one["aria-label"] and "controls" in one for one in page.find("audio"))
    assert len(page.find("thead")) == len(page.find("table"))
    assert all(one["scope"] in ("col", "row", "rowgroup") for one in page.find("th"))
