"""The application keeps to its own OpenAPI, whatever is sent to it; schemathesis thinks of it."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.generation import GenerationMode
from servers import copy_voice

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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
MARKS = st.sampled_from(
    (
        *("[[", "]]", "<speak>", "</speak>", "<p>", "<break time='9s'/>", "<sub alias='x'>"),
        *("&amp;", "**", "`", "```\n", "\n\n", "# ", "- ", "| a |\n|---|\n", "![x](y)", "<br>"),
        *("1,000", "5 °C", "Dr. ", "…", "+а", "а\u0301", "\u200d", "❤\ufe0f", "漢字"),
        *("\x1b[31m", "\x00", "\ud800", "\u2028"),
    )
)
TEXTS = st.lists(MARKS | st.text(max_size=8), max_size=12).map("".join)
SAID = {
    "input_format": st.sampled_from(("text", "markdown", "ssml", "plain")),
    "write_numbers": st.booleans(),
    "abbreviations": st.booleans(),
    "stress": st.sampled_from(("marks", "off", "silero")),
    "lexicon": st.dictionaries(TEXTS, TEXTS, max_size=3),
    "speaker": st.sampled_from(("vera", "0:0.5,vera:0.5", "0:nan", "1e9", "-1", "²", "")),
    "speaker_id": st.integers(),
    "voice": st.sampled_from(("ru", "tiny", "ru:anna", "../x", "")),
    "length_scale": st.floats(0.1, 10),
    "noise_w_scale": st.floats(0, 2),
    "ellipsis_silence": st.floats(0, 60),
    "response_format": st.sampled_from(("mp3", "opus", "aac", "flac", "wav", "pcm")),
    "speed": st.floats(0.25, 4),
    "stream_format": st.sampled_from(("audio", "sse")),
}
BODIES = st.fixed_dictionaries(
    {"text": TEXTS}, optional={name: values | JSON for name, values in SAID.items()}
)


@pytest.mark.parametrize("max_examples", [40, pytest.param(3000, marks=pytest.mark.long)])
def test_whatever_a_body_says_it_is_no_failure_of_the_server(
    start_server: Callable[..., Any],
    voices_folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    max_examples: int,
) -> None:
    """Bodies that fit, nearly fit, or do not, with texts that are made to be troublesome."""
    copy_voice(voices_folder / "speakers.onnx", tmp_path / "ru.onnx", espeak={"voice": "ru"})
    limits = SpeechLimits(max_text_characters=200, max_audio_seconds=60)
    server = start_server(ServerSettings(limits=limits), tmp_path)

    @settings(
        max_examples=max_examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(BODIES, st.sampled_from(("/synthesize", "/", "/v1/audio/speech")), st.booleans())
    def send(body: dict[str, Any], path: str, is_ascii: bool) -> None:
        if path.startswith("/v1"):
            body = {**body, "input": body["text"]}
        data = json.dumps(body, ensure_ascii=is_ascii).encode(errors="surrogatepass")
        try:
            answer = server.ask("POST", path, data)
        except http.client.IncompleteRead:
            return  # more sound than is allowed shows late
        assert answer.status < 500, answer.body
        assert answer.status in (200, 400, 404, 413, 422), answer.body
        if answer.status != 200:
            said = json.loads(answer.body)
            assert said["error"]["message"] if path.startswith("/v1") else said["detail"]

    send()
    server.wait_until_idle()
    assert "Traceback" not in caplog.text


def test_a_missing_key_is_described(start_server: Callable[..., Any]) -> None:
    server = start_server(ServerSettings(access=Access(api_key="secret")))
    address = f"http://127.0.0.1:{server.port}/openapi.json"
    key = {"Authorization": "Bearer secret"}
    schema = schemathesis.openapi.from_url(address, headers=key)
    for found in schema.get_all_operations():
        send_and_check(found.ok(), GenerationMode.POSITIVE, 2)
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}/metrics", headers=key)
    with urllib.request.urlopen(request, timeout=120) as figures:
        assert b'endpoint="other",method="POST",status="401"' in figures.read()
