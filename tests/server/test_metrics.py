"""`/metrics`, read by the parser of Prometheus's own library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Start = Callable[..., Any]
Labels = frozenset[tuple[str, str]]


def read(server: Any) -> dict[tuple[str, Labels], float]:
    answer = server.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def find(figures: dict[tuple[str, Labels], float], name: str, **labels: str) -> float:
    return figures.get((name, frozenset(labels.items())), 0.0)


def test_requests_and_sound_are_counted(start_server: Start) -> None:
    server = start_server()
    assert find(read(server), "piper_audio_seconds_total") == 0
    wav = server.synthesize(text="Hello there.").body
    server.synthesize(text="")
    for number in range(20):
        assert server.get(f"/nonsense/{number}").status == 404
    figures = read(server)
    seconds = (len(wav) - 44) / 2 / 16000
    assert abs(find(figures, "piper_audio_seconds_total") - seconds) < 1e-6
    assert find(figures, "piper_first_audio_seconds_count") == 1
    assert 0 < find(figures, "piper_first_audio_seconds_sum") < 30
    assert find(figures, "piper_accepted_speech_requests") == 0
    requests = "piper_requests_total"
    post = {"method": "POST", "endpoint": "/synthesize"}
    assert find(figures, requests, **post, status="200") == 1
    assert find(figures, requests, **post, status="422") == 1
    # One line for all of them: addresses that clients make up must not fill the memory.
    other = {"method": "GET", "endpoint": "other", "status": "404"}
    assert find(figures, requests, **other) == 20
    assert find(figures, "process_resident_memory_bytes") > 1e6

    # So are methods.
    for number in range(5):
        server.ask(f"NONSENSE{number}", "/health")
    server.ask("DELETE", "/health")
    lines = [labels for name, labels in read(server) if name == requests]
    assert {dict(labels)["method"] for labels in lines} == {"GET", "POST", "other"}
    # Another server of this process counts for itself.
    assert find(read(start_server()), "piper_audio_seconds_total") == 0
