"""Downloads from a server that breaks off, lies, moves, changes its files or has no time."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from piper.errors import PiperError
from publishing import (
    MODEL_PATH,
    NAME,
    ONNX,
    WHOLE,
    Hub,
    download,
    find_part,
    leave_part,
    read_all,
)

REST = "bytes=1000000-"


def test_a_connection_that_breaks_is_made_anew_with_growing_waits(
    hub: Hub, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.cuts = [300_000, 0, 500_000, None]
    with caplog.at_level(logging.WARNING):
        download(hub, target)
    assert hub.ranges == ["", "bytes=300000-", "bytes=300000-", "bytes=800000-"]
    assert hub.sent_bytes == len(ONNX)
    waits = [re.search(r"trying again in (\S+) s", line) for line in caplog.messages]
    # Where something came, the next failure is a first one.
    assert [wait and wait[1] for wait in waits] == ["0.01", "0.02", "0.01"]
    assert read_all(target) == WHOLE


def test_a_connection_that_always_breaks_is_given_up_and_the_part_stays(
    hub: Hub, target: Path
) -> None:
    hub.cuts = [300_000] + [0] * 10
    with pytest.raises(PiperError, match=r"cannot be fetched .*check the network"):
        download(hub, target)
    assert len(hub.ranges) == 3
    assert find_part(target).stat().st_size == 300_000


def test_a_server_that_has_no_time_is_asked_again(
    hub: Hub, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.statuses = [503, 429]
    download(hub, target)
    assert len(hub.ranges) == 3
    hub.statuses = [404, 404]
    with pytest.raises(PiperError, match="answers 404 Not Found; check the address"):
        download(hub, target, is_forced=True)
    assert hub.statuses == [404]
    # It may say when it will have time.
    hub.statuses, hub.retry_after = [503], "1"
    with caplog.at_level(logging.WARNING):
        download(hub, target, is_forced=True)
    assert "onnx answers 503 Service Unavailable; trying again in 1 s" in caplog.text
    assert read_all(target) == WHOLE


@pytest.mark.parametrize(
    ("part", "hub_facts", "ranges"),
    [
        pytest.param(None, {}, [REST], id="the rest is fetched and no more"),
        pytest.param(None, {"has_ranges": False}, [REST], id="a server without ranges"),
        pytest.param(b"other" * 200_000, {}, [REST, ""], id="a part of another version"),
        pytest.param(b"x" * len(ONNX), {}, [""], id="whole, but wrong"),
        pytest.param(b"x" * (len(ONNX) + 5), {}, [""], id="too long"),
        pytest.param(ONNX, {}, [], id="a whole part needs no server"),
        pytest.param(
            None,
            {"content_range": f"bytes 0-{len(ONNX) - 1}/{len(ONNX)}"},
            [REST, ""],
            id="the rest of something else",
        ),
    ],
)
def test_a_part_that_is_there(
    hub: Hub,
    target: Path,
    caplog: pytest.LogCaptureFixture,
    part: bytes | None,
    hub_facts: dict[str, Any],
    ranges: list[str],
) -> None:
    path = leave_part(hub, target)
    assert path.stat().st_size == 1_000_000
    assert not (target / f"{NAME}.onnx").exists()
    if part is not None:
        path.write_bytes(part)
    for name, value in hub_facts.items():
        setattr(hub, name, value)
    with caplog.at_level(logging.WARNING):
        download(hub, target)
    assert hub.ranges == ranges
    if part is None and not hub_facts:
        assert hub.sent_bytes == len(ONNX) - 1_000_000
    assert ("does not fit (" in caplog.text) == (ranges[-1:] == [""])
    assert read_all(target) == WHOLE


def test_a_server_that_has_less_than_the_part(hub: Hub, target: Path) -> None:
    leave_part(hub, target)
    (hub.root / MODEL_PATH.removeprefix("/main/")).write_bytes(b"short")
    with pytest.raises(PiperError, match="5 bytes came, but the catalogue says"):
        download(hub, target)
    assert hub.ranges == [REST, ""]
    assert list(target.iterdir()) == []


def test_a_new_version_in_the_catalogue_takes_nothing_of_the_old_part(
    hub: Hub, target: Path
) -> None:
    leave_part(hub, target)
    new = ONNX[::-1]
    hub.publish(new)
    download(hub, target)
    assert hub.ranges == [""]
    assert read_all(target) == {**WHOLE, f"{NAME}.onnx": new}


def test_a_redirected_address_is_resumed_too(hub: Hub, target: Path) -> None:
    hub.moved_to = MODEL_PATH.replace("/main/", "/moved/")
    hub.cuts = [1_000_000]
    download(hub, target)
    moved = [headers for path, headers in hub.requests if path == hub.moved_to]
    assert [headers.get("Range") for headers in moved] == [None, REST]
    assert read_all(target) == WHOLE


@pytest.mark.parametrize(
    ("facts", "shift_bytes", "message"),
    [
        ({"size_bytes": 7}, 0, f"{len(ONNX)} bytes came, but the catalogue says 7"),
        ({"size_bytes": 7}, None, r"\d+ bytes came, but the catalogue says 7"),
        ({"md5_digest": "0" * 32}, 0, f"but the catalogue says {'0' * 32}"),
        ({"md5_digest": "0" * 32}, None, f"but the catalogue says {'0' * 32}"),
        ({}, -100, f"{len(ONNX) - 100} bytes came"),
        ({}, 100, f"{len(ONNX) + 100} bytes came"),
    ],
)
def test_a_file_that_is_not_the_catalogue_s_is_refused(
    hub: Hub, target: Path, facts: dict[str, Any], shift_bytes: int | None, message: str
) -> None:
    """Whether the server says the true length, another one or none."""
    hub.publish(**facts)
    hub.length_shift_bytes = shift_bytes
    if shift_bytes is None and "size_bytes" in facts:
        hub.seconds_a_block = 0.5  # an answer that does not end is left
    with pytest.raises(PiperError, match=message):
        download(hub, target)
    assert hub.sent_bytes < len(ONNX) / 2 or not hub.seconds_a_block
    assert list(target.iterdir()) == []


def test_an_answer_without_a_length(hub: Hub, target: Path) -> None:
    hub.length_shift_bytes = None
    download(hub, target)
    assert read_all(target) == WHOLE
