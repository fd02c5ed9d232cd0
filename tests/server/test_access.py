"""Who may use a server: the API key and the pages of other origins, over real HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect as websocket

from piper.errors import PiperError
from piper.http_server import API_KEY_VARIABLE, create_parser, find_api_key, main
from piper.server.http import ApiKey, is_own_name
from piper.server.settings import Access, ServerSettings

KEY = "correct-horse"
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def locked_server(start_server: Start) -> Any:
    return start_server(ServerSettings(access=Access(api_key=KEY)))


def ask(
    server: Any, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, Any, str]:
    """Return status, headers, and what is wrong, if something is."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = server.ask(method, path, body, headers=names)
    said = json.loads(answer.body) if answer.status >= 400 else {}
    mistake = said["error"]["message"] if "error" in said else said.get("detail", "")
    return answer.status, answer.headers, mistake


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
        status, answer_headers, mistake = ask(locked_server, method, path, body, **headers)
        assert status == 401
        assert answer_headers["www-authenticate"] == "Bearer"
        assert mistake.startswith("The API key is missing or wrong")
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
        status, _, mistake = ask(server, "POST", "/", '{"text": "Hello."}', Origin=origin)
        assert (status, "--allow-origin" in mistake) == (403, True)
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
    def find(*options: str) -> str | None:
        return find_api_key(create_parser().parse_args(["-m", "voice", *options]))

    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    assert find() is None
    monkeypatch.setenv(API_KEY_VARIABLE, "from-the-environment")
    assert find() == "from-the-environment"
    assert find("--api-key", "x") == "x"
    for key in ("", " x", "ключ", "a\nb"):
        with pytest.raises(SystemExit):
            create_parser().parse_args(["-m", "voice", "--api-key", key])
    assert "a key must be" in capsys.readouterr().err
    with pytest.raises(PiperError, match="The API key is empty"):
        ApiKey("")


@pytest.mark.parametrize("key", ["", " ", "ключ"])
def test_a_key_that_is_none_starts_no_open_server(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, voices_folder: Path, key: str
) -> None:
    # A file of secrets that was not filled in left the server open, without a word.
    monkeypatch.setenv(API_KEY_VARIABLE, key)
    assert main(["-m", str(voices_folder / "tiny.onnx"), "--port", "0"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: The environment's {API_KEY_VARIABLE} cannot be used: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("listens_on", "own", "foreign"),
    [
        (
            "127.0.0.1",
            "127.0.0.1 127.0.0.1:5000 localhost LOCALHOST:80 localhost. [::1] [::1]:5000 "
            "192.168.1.20:5000 speech.example.org:443 a.example.net",
            "evil.example evil.example:5000 127.0.0.1.evil.example evil nas.local "
            "localhost.evil.example 0x7f000001 example.net [::1].evil.example [evil] "
            "xspeech.example.org",
        ),
        # Where other machines are let in, names that no stranger can have will do.
        ("0.0.0.0", "localhost nas nas.local:5000 host.docker.internal piper:5000", "evil.example"),
        ("::", "nas [fe80::1]:5000", "evil.example evil.local.example"),
        ("nas.example", "nas.example:5000 nas", "evil.example"),
    ],
)
def test_which_names_are_ours(listens_on: str, own: str, foreign: str) -> None:
    allowed = ("speech.example.org", "*.example.net")
    for host in own.split():
        assert is_own_name(host, listens_on, allowed), host
    for host in foreign.split():
        assert not is_own_name(host, listens_on, allowed), host
    assert is_own_name("evil.example", listens_on, ["*"])


def test_a_name_that_leads_here_by_rebinding_is_refused(
    server: Any, start_server: Start, locked_server: Any
) -> None:
    # To the browser a page of http://evil.example:5000 and this server are then one origin.
    port = server.port
    for method, path, body in (
        ("GET", "/voices", None),
        ("GET", "/", None),
        ("POST", "/v1/audio/speech", '{"input": "Hello."}'),
    ):
        headers = {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"}
        status, _, mistake = ask(server, method, path, body, **headers)
        assert (status, "--allow-host" in mistake) == (403, True)
        assert "'evil.example" in mistake
        own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
        assert ask(server, method, path, body, **own)[0] == 200
    here = socket.create_connection(("127.0.0.1", port))
    with pytest.raises(InvalidStatus, match="403"):
        websocket(f"ws://evil.example:{port}/live", sock=here)
    # Behind a proxy that has a name: with that name, with a key, or for all.
    named = start_server(ServerSettings(access=Access(allowed_hosts=("speech.example.org",))))
    assert ask(named, "GET", "/voices", Host="speech.example.org")[0] == 200
    assert ask(named, "GET", "/voices", Host="evil.example")[0] == 403
    bearer = f"Bearer {KEY}"
    for headers, status in (({"Authorization": bearer}, 200), ({}, 401)):
        assert ask(locked_server, "GET", "/voices", Host="a.example", **headers)[0] == status


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
