"""The application keeps to its own OpenAPI, whatever is sent to it; schemathesis thinks of it."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks
from schemathesis.generation import GenerationMode

from piper.server.settings import Access, Downloads, ServerSettings, SpeechLimits
from publishing import serve_hub

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
"""Not that whatever fits the schema is spoken: a text of blanks fits."""


@pytest.fixture(scope="module")
def operations(
    start_server: Callable[..., Any],
    voices_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Any]]:
    """Endpoints and methods of a running server, whose published voices lie on loopback."""
    folder = tmp_path_factory.mktemp("described")
    with serve_hub(folder / "hub") as hub:
        server = start_server(
            ServerSettings(
                limits=SpeechLimits(max_text_characters=200),
                downloads=Downloads(folder / "voices", hub.url),
            )
        )
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")
        yield [found.ok() for found in schema.get_all_operations()]


def find_modes(operation: Any) -> list[GenerationMode]:
    """Return which kinds of requests there are: without a body none contradicts the schema."""
    return list(GenerationMode) if operation.body else [GenerationMode.POSITIVE]


def send_and_check(operation: Any, mode: GenerationMode, max_examples: int) -> None:
    """Send requests, the same ones in each run; check each answer against the schema."""

    @settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    send()


@pytest.mark.parametrize("max_examples", [20, pytest.param(400, marks=pytest.mark.long)])
def test_answers_are_as_described(operations: list[Any], max_examples: int) -> None:
    assert {operation.label for operation in operations} >= {
        "POST /synthesize",
        "POST /v1/audio/speech",
        "POST /download",
    }
    for operation in operations:
        for mode in find_modes(operation):
            send_and_check(operation, mode, max_examples)


def test_a_missing_key_is_described(start_server: Callable[..., Any]) -> None:
    server = start_server(ServerSettings(access=Access(api_key="secret")))
    address = f"http://127.0.0.1:{server.port}/openapi.json"
    key = {"Authorization": "Bearer secret"}
    schema = schemathesis.openapi.from_url(address, headers=key)
    for found in schema.get_all_operations():
        send_and_check(found.ok(), GenerationMode.POSITIVE, 2)
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/metrics", headers=key)
    with urllib.request.urlopen(request, timeout=20) as figures:
        assert b'endpoint="other",method="POST",status="401"' in figures.read()
