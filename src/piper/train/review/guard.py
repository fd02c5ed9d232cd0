"""Keeps other pages and other people out of the review's page. Knows nothing of clips.

Any page that is open in the same browser can send requests to 127.0.0.1, and by DNS rebinding
even read the answers under its own name. So an address holds a random token, a request must name
this machine, and one that comes from a page must come from ours.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from piper.server.access import is_own_name

TOKEN_BYTES = 16
"""128 bits are not guessed."""
_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


def create_token() -> str:
    """Return a new token, of letters that an address may hold."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class Guard:
    """Lets through what our own page asks for.

    Args:
        app: What is protected.
        token: The first part of each address.
        host: That the server listens on.
    """

    def __init__(self, app: ASGIApp, token: str, host: str) -> None:
        self._app = app
        self._token = token
        self._host = host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._find_refusal(scope["path"], Headers(scope=scope))
        if refusal:
            answer = JSONResponse({"detail": refusal}, HTTPStatus.FORBIDDEN)
            await answer(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _find_refusal(self, path: str, headers: Headers) -> str:
        host = headers.get("host", "")
        if not is_own_name(host, self._host):
            return f"{host or 'No name'} is no name of this review; open the address it printed."
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return f"A page of {origin} may not use this review."
        given = path.split("/")[1] if "/" in path else ""
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return "The address lacks the token; open the one that the command printed."
        return ""
