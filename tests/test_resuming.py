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


def test_the_rest_of_a_broken_download_is_fetched_and_no_more(hub: Hub, target: Path) -> None:
    part = leave_part(hub, target)
    assert part.stat().st_size == 1_000_000
    assert not (target / f"{NAME}.onnx").exists()
    download(hub, target)
    assert hub.ranges == ["bytes=1000000-"]
    assert hub.sent_bytes == len(ONNX) - 1_000_000
    assert read_all(target) == WHOLE


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


def test_a_server_that_has_no_time_is_asked_again(hub: Hub, target: Path) -> None:
    hub.statuses = [503, 429]
    download(hub, target)
    assert len(hub.ranges) == 3
    hub.statuses = [404, 404]
    with pytest.raises(PiperError, match="answers 404 Not Found; check the address"):
        download(hub, target, is_forced=True)
    assert hub.statuses == [404]
    assert read_all(target) == WHOLE


def test_a_server_says_when_it_will_have_time(
    hub: Hub, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.statuses, hub.retry_after = [503], "1"
    with caplog.at_level(logging.WARNING):
        download(hub, target)
    assert "onnx answers 503 Service Unavailable; trying again in 1 s" in caplog.text
    assert read_all(target) == WHOLE


def test_a_server_without_ranges_begins_anew(hub: Hub, target: Path) -> None:
    leave_part(hub, target)
    hub.has_ranges = False
    download(hub, target)
    assert hub.ranges == ["bytes=1000000-"]
    assert read_all(target) == WHOLE


def test_a_part_of_another_version_on_the_server(
    hub: Hub, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_part(hub, target).write_bytes(b"other" * 200_000)
    with caplog.at_level(logging.WARNING):
        download(hub, target)
    assert "does not fit (its MD5 is" in caplog.text
    assert hub.ranges == ["bytes=1000000-", ""]
    assert read_all(target) == WHOLE


@pytest.mark.parametrize("size_bytes", [len(ONNX), len(ONNX) + 5])
def test_a_part_that_is_too_long_or_whole_but_wrong(
    hub: Hub, target: Path, size_bytes: int
) -> None:
    leave_part(hub, target).write_bytes(b"x" * size_bytes)
    download(hub, target)
    assert hub.ranges == [""]
    assert read_all(target) == WHOLE


def test_a_part_that_is_whole_needs_no_server(hub: Hub, target: Path) -> None:
    leave_part(hub, target).write_bytes(ONNX)
    download(hub, target)
    assert hub.ranges == []
    assert read_all(target) == WHOLE


def test_the_rest_of_something_else_is_not_taken(hub: Hub, target: Path) -> None:
    leave_part(hub, target)
    hub.content_range = f"bytes 0-{len(ONNX) - 1}/{len(ONNX)}"
    download(hub, target)
    assert hub.ranges == ["bytes=1000000-", ""]
    assert read_all(target) == WHOLE


def test_a_server_that_has_less_than_the_part(hub: Hub, target: Path) -> None:
    leave_part(hub, target)
    (hub.root / MODEL_PATH.removeprefix("/main/")).write_bytes(b"short")
    with pytest.raises(PiperError, match="5 bytes came, but the catalogue says"):
        download(hub, target)
    assert hub.ranges == ["bytes=1000000-", ""]
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
    assert [headers.get("Range") for headers in moved] == [None, "bytes=1000000-"]
    assert read_all(target) == WHOLE


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"size_bytes": 7}, f"{len(ONNX)} bytes came, but the catalogue says 7"),
        ({"md5_digest": "0" * 32}, f"but the catalogue says {'0' * 32}"),
    ],
)
@pytest.mark.parametrize("has_length", [True, False])
def test_a_file_that_is_not_the_catalogue_s_is_refused(
    hub: Hub, target: Path, facts: dict[str, Any], message: str, has_length: bool
) -> None:
    hub.publish(**facts)
    hub.length_shift_bytes = 0 if has_length else None
    if not has_length:
        message = r"\d+ bytes came, but the catalogue says 7|" + message
    with pytest.raises(PiperError, match=message):
        download(hub, target)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("shift_bytes", [-100, 100])
def test_a_server_that_lies_about_the_length(hub: Hub, target: Path, shift_bytes: int) -> None:
    hub.length_shift_bytes = shift_bytes
    with pytest.raises(PiperError, match=f"{len(ONNX) + shift_bytes} bytes came"):
        download(hub, target)
    assert hub.sent_bytes < len(ONNX) or shift_bytes > 0
    assert list(target.iterdir()) == []


def test_an_answer_that_does_not_end_is_left(hub: Hub, target: Path) -> None:
    hub.publish(size_bytes=7)
    hub.length_shift_bytes = None
    hub.seconds_a_block = 0.5
    with pytest.raises(PiperError, match=r"\d+ bytes came, but the catalogue says 7"):
        download(hub, target)
    assert hub.sent_bytes < len(ONNX) / 2


def test_an_answer_without_a_length(hub: Hub, target: Path) -> None:
    hub.length_shift_bytes = None
    download(hub, target)
    assert read_all(target) == WHOLE
