"""Who may use a server: names it is asked by, a key, pages of other origins.

The review's page has the same rule for names; it is shared from here.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import secrets
from collections.abc import Callable, Collection
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from piper.errors import PiperError
from piper.server.settings import Access

_PRIVATE_NAMES = ("*.local", "*.internal", "*.home.arpa")
"""Never of the public DNS (RFC 6762, RFC 8375, ICANN), so no stranger's page can have them."""
_OPEN_PATHS = ("/health",)
"""For a container's health check, which knows no key."""
_MAX_ECHO = 60
"""Characters of a client's own words that an answer repeats."""
_FOREIGN = (
    "Pages of this origin may not use the server; start it with --allow-origin, or let the proxy "
    "in front of it pass the Host header on."
)


class ApiKey:
    """The key that a client has to say.

    Args:
        key: None lets everybody in.

    Raises:
        PiperError: It is empty.
    """

    REFUSAL = "The API key is missing or wrong; send the header Authorization: Bearer KEY."

    def __init__(self, key: str | None) -> None:
        if key == "":
            raise PiperError("The API key is empty, so everybody has it; give one, or none at all.")
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


def is_own_name(host: str, listens_on: str, allowed: Collection[str] = ()) -> bool:
    """Return whether a request's header `Host` names this machine.

    A page can let its own name lead to 127.0.0.1 once it is loaded (DNS rebinding); to a browser
    the server is then the page's own. Rebinding needs a name: a number leads to the machine that
    has it, and so does `localhost`. Where other machines are let in, names count, too, that no
    stranger can have: those without a dot, and those of private networks.

    Args:
        host: The header, with or without a port.
        listens_on: Address or name that the server listens on.
        allowed: More names; `*` in one stands for anything.
    """
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    name = name.lower().removesuffix(".")
    if name in ("localhost", listens_on.lower()):
        return True
    if any(fnmatch.fnmatchcase(name, pattern.lower()) for pattern in allowed):
        return True
    if _find_address(name.strip("[]")) is not None:
        return True
    address = _find_address(listens_on)
    is_local = listens_on.lower() == "localhost" or (address is not None and address.is_loopback)
    is_private = "." not in name or any(fnmatch.fnmatchcase(name, one) for one in _PRIVATE_NAMES)
    return is_private and not is_local


def _find_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


class AccessGuard:
    """Answers those who have no key, and pages of other origins, before any endpoint does.

    A browser lets every page that it shows open WebSockets to every server, and send simple
    requests; only where they come from tells them from our own page.

    Args:
        app: What is protected.
        access: Who may use it.
        key: Of the server.
        describe: Path, status code and sentence to an answer's body.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        key: ApiKey,
        describe: Callable[[str, int, str], dict[str, Any]],
    ) -> None:
        self._app = app
        self._access = access
        self._key = key
        self._describe = describe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._is_meant(headers.get("host", "")):
            status, sentence = HTTPStatus.FORBIDDEN, _describe_name(headers["host"])
        elif not self._is_from_here(headers):
            status, sentence = HTTPStatus.FORBIDDEN, _FOREIGN
        elif not (self._is_open(scope) or self._key.fits_headers(headers)):
            status, sentence = HTTPStatus.UNAUTHORIZED, self._key.REFUSAL
        else:
            await self._app(scope, receive, send)
            return
        body = self._describe(scope["path"], status, sentence)
        challenge = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
        await JSONResponse(body, status, challenge)(scope, receive, send)

    def _is_meant(self, host: str) -> bool:
        """Return whether the request is for this server, as far as a name can tell."""
        # Every browser sends the header. Whoever has the key is no page of a stranger, and where
        # pages of all origins may use the server, there is nothing that rebinding would gain.
        is_open = self._access.api_key is not None or "*" in self._access.allowed_origins
        if is_open or not host:
            return True
        return is_own_name(host, self._access.listens_on, self._access.allowed_hosts)

    def _is_from_here(self, headers: Headers) -> bool:
        origin = _find_origin(headers)
        allowed = self._access.allowed_origins
        if origin is None or "*" in allowed or origin in allowed:
            return True
        # A proxy in front may speak TLS, so that only the name is the same.
        return origin.partition("://")[2].lower() == headers.get("host", "").lower()

    def _is_open(self, scope: Scope) -> bool:
        # A browser's WebSocket cannot send the header; its first message has the key.
        if scope["type"] == "websocket" or scope["method"] == "OPTIONS":
            return True
        is_page = scope["path"] == "/" and not scope["query_string"]
        return scope["method"] in ("GET", "HEAD") and (is_page or scope["path"] in _OPEN_PATHS)


def _describe_name(host: str) -> str:
    return (
        f"{host[:_MAX_ECHO]!r} is no name of this server; ask by its number or as localhost, or "
        "start it with --allow-host NAME or with a key."
    )


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
