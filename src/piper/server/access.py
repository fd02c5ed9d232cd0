"""Who may use the server: a key, and the pages of other origins. Knows nothing of speech."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_OPEN_PATHS = ("/health",)
"""For a container's health check, which knows no key."""
_FOREIGN = (
    "Pages of this origin may not use the server; start it with --allow-origin, or let the proxy "
    "in front of it pass the Host header on."
)


class ApiKey:
    """The key that a client has to say.

    Args:
        key: None lets everybody in.
    """

    REFUSAL = "The API key is missing or wrong; send the header Authorization: Bearer KEY."

    def __init__(self, key: str | None) -> None:
        self._key = None if key is None else key.encode()

    def fits(self, given: str | None) -> bool:
        """Return whether a client that says this may go on."""
        if self._key is None:
            return True
        # In constant time: how much of it is right must not show.
        return given is not None and secrets.compare_digest(given.encode(), self._key)

    def fits_headers(self, headers: Headers) -> bool:
        """Return whether the header `Authorization` has the key."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return self.fits(given.strip() if scheme.lower() == "bearer" else None)


class AccessGuard:
    """Answers those who have no key, and pages of other origins, before any endpoint does.

    A browser lets every page that it shows open WebSockets to every server, and send simple
    requests; only where they come from tells them from our own page.

    Args:
        app: What is protected.
        key: Of the server.
        allowed_origins: Origins (`https://example.org`) whose pages may use it; `*` means all.
        describe: Path, status code and sentence to an answer's body.
    """

    def __init__(
        self,
        app: ASGIApp,
        key: ApiKey,
        allowed_origins: Collection[str],
        describe: Callable[[str, int, str], dict[str, Any]],
    ) -> None:
        self._app = app
        self._key = key
        self._allowed_origins = frozenset(allowed_origins)
        self._describe = describe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_from_here(headers):
            status, sentence = HTTPStatus.FORBIDDEN, _FOREIGN
        elif not (self._is_open(scope) or self._key.fits_headers(headers)):
            status, sentence = HTTPStatus.UNAUTHORIZED, self._key.REFUSAL
        else:
            await self._app(scope, receive, send)
            return
        body = self._describe(scope["path"], status, sentence)
        challenge = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
        await JSONResponse(body, status, challenge)(scope, receive, send)

    def _is_from_here(self, headers: Headers) -> bool:
        origin = _find_origin(headers)
        if origin is None or "*" in self._allowed_origins or origin in self._allowed_origins:
            return True
        # A proxy in front may speak TLS, so that only the name is the same.
        return origin.partition("://")[2].lower() == headers.get("host", "").lower()

    def _is_open(self, scope: Scope) -> bool:
        # A browser's WebSocket cannot send the header; its first message has the key.
        if scope["type"] == "websocket" or scope["method"] == "OPTIONS":
            return True
        is_page = scope["path"] == "/" and not scope["query_string"]
        return scope["method"] in ("GET", "HEAD") and (is_page or scope["path"] in _OPEN_PATHS)


def _find_origin(headers: Headers) -> str | None:
    """Return whose page asks; None where none does.

    Pictures and sounds in a page are asked for without an origin, `/?text=…` among them; that
    another page does so, browsers say all the same. A link that is followed is the reader's wish.
    """
    origin = headers.get("origin")
    is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    if origin is not None or not is_foreign or headers.get("sec-fetch-dest") == "document":
        return origin
    scheme, _, place = headers.get("referer", "").partition("://")
    return f"{scheme}://{place.partition('/')[0]}"
