"""Who may use a server: the API key and the pages of other origins, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from piper.http_server import create_parser
from piper.server.settings import Access, ServerSettings

KEY = "correct-horse"
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def locked_server(start_server: Start) -> Any:
    return start_server(ServerSettings(access=Access(api_key=KEY)))


def ask(
    server: Any, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = server.connect()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        names["Content-Type"] = "application/json"
    connection.request(method, path, body, names)
    response = connection.getresponse()
    answer = response.status, dict(response.headers), response.read()
    connection.close()
    return answer


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/synthesize", '{"text": "Hello."}'),
        ("POST", "/", '{"text": "Hello."}'),
        ("GET", "/?text=Hello.", None),
        ("GET", "/voices", None),
        ("GET", "/info", None),
        ("GET", "/metrics", None),
        ("GET", "/openapi.json", None),
        ("GET", "/v1/models", None),
        ("POST", "/v1/audio/speech", '{"input": "Hello."}'),
        ("POST", "/download", '{"voice": "nobody"}'),
    ],
)
def test_everything_wants_the_key(
    locked_server: Any, method: str, path: str, body: str | None
) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"}):
        status, answer_headers, answer = ask(locked_server, method, path, body, **headers)
        assert status == 401
        assert answer_headers["www-authenticate"] == "Bearer"
        said = json.loads(answer)
        sentence = said["error"]["message"] if path.startswith("/v1") else said["detail"]
        assert sentence.startswith("The API key is missing or wrong")
    if path != "/download":  # which would ask another machine
        status, _, _ = ask(locked_server, method, path, body, Authorization=f"Bearer {KEY}")
        assert status == 200


def test_page_and_health_want_none(locked_server: Any) -> None:
    # The page asks for the key; a container's health check knows none.
    for path in ("/", "/health"):
        assert ask(locked_server, "GET", path)[0] == 200


def test_the_openai_client_sends_it(locked_server: Any) -> None:
    address = f"http://127.0.0.1:{locked_server.port}/v1"
    with openai.OpenAI(base_url=address, api_key=KEY, max_retries=0) as client:
        assert client.models.list().data
    wrong = openai.OpenAI(base_url=address, api_key="wrong", max_retries=0)
    with wrong as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_pages_of_other_origins_are_refused(server: Any) -> None:
    # Every page that is open in a browser on this machine can send requests to 127.0.0.1.
    for origin in ("https://evil.example", "null"):
        status, _, answer = ask(server, "POST", "/", '{"text": "Hello."}', Origin=origin)
        assert status == 403
        assert "--allow-origin" in json.loads(answer)["detail"]
    own = f"http://127.0.0.1:{server.port}"
    assert ask(server, "POST", "/", '{"text": "Hello."}', Origin=own)[0] == 200


def test_allowed_origins_may_read(start_server: Start) -> None:
    allowed = "https://a.example"
    server = start_server(ServerSettings(access=Access(api_key=KEY, allowed_origins=(allowed,))))
    preflight = {
        "Origin": allowed,
        "Access_Control_Request_Method": "POST",
        "Access_Control_Request_Headers": "authorization,content-type",
    }
    status, headers, _ = ask(server, "OPTIONS", "/v1/audio/speech", **preflight)
    assert (status, headers["access-control-allow-origin"]) == (200, allowed)
    bearer = f"Bearer {KEY}"
    body = '{"input": "Hello."}'
    status, headers, _ = ask(
        server, "POST", "/v1/audio/speech", body, Origin=allowed, Authorization=bearer
    )
    assert (status, headers["access-control-allow-origin"]) == (200, allowed)
    other = ask(server, "POST", "/v1/audio/speech", body, Origin="https://b.example")
    assert other[0] == 403


def test_what_pages_of_other_origins_show_is_refused(start_server: Start) -> None:
    # <audio src="http://127.0.0.1:5000/?text=…"> is asked for without an Origin.
    allowed = "https://a.example"
    server = start_server(ServerSettings(access=Access(allowed_origins=(allowed,))))
    for site, kind, referer, status in (
        ("cross-site", "audio", "https://b.example/", 403),
        ("cross-site", "image", "", 403),
        ("cross-site", "image", "http://[", 403),
        ("same-site", "empty", "http://127.0.0.1:1/", 403),
        ("cross-site", "iframe", f"{allowed}.evil.example/", 403),
        ("cross-site", "audio", f"{allowed}/", 200),
        ("same-origin", "audio", f"http://127.0.0.1:{server.port}/", 200),
        ("none", "document", "", 200),
        ("cross-site", "document", "https://b.example/", 200),
    ):
        headers = {"Sec_Fetch_Site": site, "Sec_Fetch_Dest": kind, "Referer": referer}
        assert ask(server, "GET", "/?text=Hello.", **headers)[0] == status, headers


def test_all_origins(start_server: Start) -> None:
    server = start_server(ServerSettings(access=Access(allowed_origins=("*",))))
    status, headers, _ = ask(server, "GET", "/voices", Origin="https://b.example")
    assert (status, headers["access-control-allow-origin"]) == (200, "*")


def test_the_key_of_the_command(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("PIPER_API_KEY", raising=False)
    assert create_parser().parse_args(["-m", "voice"]).api_key is None
    monkeypatch.setenv("PIPER_API_KEY", "from-the-environment")
    assert create_parser().parse_args(["-m", "voice"]).api_key == "from-the-environment"
    assert create_parser().parse_args(["-m", "voice", "--api-key", "x"]).api_key == "x"
    # An empty variable, as compose files make it, is no key.
    monkeypatch.setenv("PIPER_API_KEY", "")
    assert create_parser().parse_args(["-m", "voice"]).api_key is None
    for key in ("", " x", "ключ", "a\nb"):
        with pytest.raises(SystemExit):
            create_parser().parse_args(["-m", "voice", "--api-key", key])
    assert "a key must be" in capsys.readouterr().err


def test_origins_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for text, origin in (
        ("https://Example.org/", "https://example.org"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("chrome-extension://abc", "chrome-extension://abc"),
        ("null", "null"),
        ("*", "*"),
    ):
        args = create_parser().parse_args(["-m", "voice", "--allow-origin", text])
        assert args.allow_origin == [origin]
    # With any of these no page would ever be let in, and nobody would know why.
    for text in ("example.org", "https://example.org/page", "https://*.example.org/x", "https://"):
        with pytest.raises(SystemExit):
            create_parser().parse_args(["-m", "voice", "--allow-origin", text])
        assert "is no origin; give scheme, name and port" in capsys.readouterr().err
