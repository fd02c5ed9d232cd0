"""The page to try a voice: its parts in `web/` become one file, and nothing else may run in it.

Knows nothing of voices and of speech.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from piper.server.settings import SpeechDefaults, SpeechLimits

_SCRIPTS = ("language.js", "sound.js", "reader.js", "speech.js", "controls.js", "page.js")
"""In the order in which they run: what one of them says at once, the next ones may use."""


@dataclass(frozen=True)
class Page:
    """What a browser gets.

    Attributes:
        html: The whole page; it loads nothing.
        headers: Of the answer. Only the page's own style and script may run, by their digests, and
            only its own server is asked.
    """

    html: str
    headers: dict[str, str]


@cache
def create_page(defaults: SpeechDefaults, limits: SpeechLimits) -> Page:
    """Return the page.

    Args:
        defaults: What its sliders stand at.
        limits: Longer texts it does not send.
    """
    facts = {
        "most_characters": limits.max_text_characters,
        "speaker": defaults.speaker,
        "length_scale": defaults.length_scale,
        "noise_scale": defaults.noise_scale,
        "noise_w_scale": defaults.noise_w_scale,
        "pitch": defaults.pitch,
    }
    style = f"\n{_read('page.css')}"
    script = '\n"use strict";\n' + "\n".join(map(_read, _SCRIPTS))
    page = _read("page.html")
    for empty, full in (
        ("<body>", f'<body data-server="{html.escape(json.dumps(facts))}">'),
        ("<style></style>", f"<style>{style}</style>"),
        ("<script></script>", f"<script>{script}</script>"),
    ):
        assert page.count(empty) == 1
        page = page.replace(empty, full)
    # A WebSocket to the own server is 'self', too.
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        # After an update of the server a script of the old page would speak to the new one.
        "Cache-Control": "no-cache",
    }
    return Page(page, headers)


def _read(name: str) -> str:
    return resources.files("piper.server").joinpath("web", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
