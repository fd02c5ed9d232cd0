"""Downloads of published voices from a server on loopback that does all that servers do wrong."""

from __future__ import annotations

import logging
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from piper.catalogue import load_catalogue
from piper.download import download_voice
from piper.download_voices import main
from piper.errors import PiperError
from piper.transfer import Manner
from piper.voices import find_voice
from publishing import CONFIG, MODEL_PATH, NAME, ONNX, Hub, serve_hub

HASTY = Manner(waits_seconds=(0.01, 0.02))
WHOLE = {f"{NAME}.onnx": ONNX, f"{NAME}.onnx.json": CONFIG}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serve_hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "voices"


def download(hub: Hub, target: Path, manner: Manner = HASTY, **options: Any) -> list[Path]:
    return download_voice(load_catalogue(hub.url)[NAME], target, manner=manner, **options)


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def find_part(folder: Path) -> Path:
    (part,) = folder.glob(f".{NAME}.onnx.*.part")
    return part


def leave_part(hub: Hub, target: Path, size_bytes: int = 1_000_000) -> Path:
    """Let a download end after so many bytes of the ONNX."""
    hub.cuts = [size_bytes]
    with pytest.raises(PiperError, match=r"bytes of it did not come"):
        download(hub, target, Manner(waits_seconds=()))
    hub.requests.clear()
    hub.sent_bytes = 0
    return find_part(target)


def start_command(hub: Hub, target: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "piper.download_voices", NAME, "--download-dir", str(target)]
    return subprocess.Popen(
        [*command, "--catalogue-url", hub.url], stderr=subprocess.PIPE, text=True, **options
    )


def wait_for_part(target: Path, size_bytes: int) -> None:
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size >= size_bytes for path in target.glob(".*.part")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("option", ["--download-dir", "--data-dir", "--data_dir"])
@pytest.mark.parametrize("name", [NAME, "ru-test"])
def test_a_voice_arrives_with_its_json(hub: Hub, target: Path, option: str, name: str) -> None:
    assert main([name, option, str(target), "--catalogue-url", hub.url]) == 0
    assert read_all(target) == WHOLE
    assert find_voice(NAME, data_dirs=[target])


def test_what_is_there_is_not_fetched_again_unless_forced(hub: Hub, target: Path) -> None:
    command = [NAME, "--download-dir", str(target), "--catalogue-url", hub.url]
    assert main(command) == 0
    hub.requests.clear()
    assert main(command) == 0
    assert hub.paths == ["/main/voices.json"]
    assert main([*command, "--force-redownload"]) == 0
    assert len(hub.paths) == 1 + 3


def test_a_file_that_differs_stays_with_a_warning(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / f"{NAME}.onnx.json"
    own.write_text("my own")
    with caplog.at_level(logging.WARNING):
        assert download(hub, tmp_path) == [tmp_path / f"{NAME}.onnx", own]
    assert own.read_text() == "my own"
    assert "is kept although it is not the catalogue's file; --force-redownload" in caplog.text
    download(hub, tmp_path, is_forced=True)
    assert own.read_bytes() == CONFIG


@pytest.mark.parametrize("etag", ['"one"', "", 'W/"weak"'])
def test_the_rest_of_a_broken_download_is_fetched_and_no_more(
    hub: Hub, target: Path, etag: str
) -> None:
    hub.etag = etag
    part = leave_part(hub, target)
    assert part.stat().st_size == 1_000_000
    assert not (target / f"{NAME}.onnx").exists()
    download(hub, target)
    assert hub.ranges == ["bytes=1000000-"]
    assert hub.sent_bytes == len(ONNX) - 1_000_000
    headers = next(headers for path, headers in hub.requests if path == MODEL_PATH)
    assert headers.get("If-Range") == ('"one"' if etag == '"one"' else None)
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


def test_a_server_without_ranges_begins_anew(hub: Hub, target: Path) -> None:
    leave_part(hub, target)
    hub.has_ranges = False
    download(hub, target)
    assert hub.ranges == ["bytes=1000000-"]
    assert read_all(target) == WHOLE


def test_a_part_of_another_version_on_the_server(hub: Hub, target: Path) -> None:
    """The ETag says so; a server that heeds If-Range sends the whole at once."""
    leave_part(hub, target).write_bytes(b"other" * 200_000)
    hub.etag = '"two"'
    download(hub, target)
    assert hub.ranges == ["bytes=1000000-"]
    assert hub.sent_bytes == len(ONNX)
    assert read_all(target) == WHOLE


def test_a_part_that_nothing_tells_is_spoilt(
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


def test_an_answer_without_a_length(hub: Hub, target: Path) -> None:
    hub.length_shift_bytes = None
    download(hub, target)
    assert read_all(target) == WHOLE


def test_onnx_and_json_come_both_or_not_at_all(hub: Hub, target: Path) -> None:
    download(hub, target)
    new = ONNX[::-1]
    hub.publish(new)
    (hub.root / f"{MODEL_PATH.removeprefix('/main/')}.json").unlink()
    with pytest.raises(PiperError, match="answers 404"):
        download(hub, target, is_forced=True)
    assert {name: data for name, data in read_all(target).items() if name in WHOLE} == WHOLE
    hub.publish(new)
    hub.requests.clear()
    download(hub, target, is_forced=True)
    assert hub.ranges == []  # it had come whole before
    assert read_all(target) == {**WHOLE, f"{NAME}.onnx": new}


def test_sigkill_costs_nothing_that_had_come(hub: Hub, target: Path) -> None:
    hub.seconds_a_block = 0.05
    with start_command(hub, target) as process:
        wait_for_part(target, 300_000)
        process.kill()
    assert not (target / f"{NAME}.onnx").exists()
    had_bytes = find_part(target).stat().st_size
    hub.seconds_a_block = 0.0
    hub.requests.clear()
    with start_command(hub, target) as process:
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 0
    assert hub.ranges == [f"bytes={had_bytes}-"]
    assert f"{had_bytes / 1e6:.1f} of {len(ONNX) / 1e6:.1f} MB are there" in said
    assert read_all(target) == WHOLE


def test_ctrl_c_ends_it_and_says_that_it_goes_on(hub: Hub, target: Path) -> None:
    hub.seconds_a_block = 0.05
    with start_command(hub, target) as process:
        wait_for_part(target, 300_000)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 130
    assert said.endswith("Interrupted; the same command goes on from here.\n")
    assert sorted(path.suffix for path in target.iterdir()) == [".etag", ".part"]


def test_two_downloads_at_once_do_it_once(hub: Hub, target: Path) -> None:
    hub.seconds_a_block = 0.02
    with start_command(hub, target) as first:
        wait_for_part(target, 1)
        with pytest.raises(PiperError, match=f"Another process downloads {NAME}; try again"):
            download(hub, target, Manner(is_patient=False))
        with start_command(hub, target) as second:
            assert first.stderr and second.stderr
            said = second.stderr.read()
    assert (first.returncode, second.returncode) == (0, 0)
    assert f"Waiting for another process that downloads {NAME}" in said
    assert len(hub.ranges) == 1
    assert read_all(target) == WHOLE


def test_a_stop_keeps_the_part(hub: Hub, target: Path) -> None:
    hub.seconds_a_block = 0.02
    manner = Manner()
    caught: list[PiperError] = []

    def run() -> None:
        try:
            download(hub, target, manner)
        except PiperError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for_part(target, 1)
    manner.stop.set()
    thread.join(10)
    assert "was stopped; the next one goes on from there" in str(caught)
    assert 0 < find_part(target).stat().st_size < len(ONNX)


def test_no_room_is_said_before_the_start(
    hub: Hub, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.publish(size_bytes=10**18)
    assert main([NAME, "--download-dir", str(target), "--catalogue-url", hub.url]) == 1
    said = capsys.readouterr().err
    assert f"1,000,000,000,000.0 MB are to come, but the disk of {target} has only" in said
    assert hub.paths == ["/main/voices.json"]
    assert not target.parent.exists()


def test_a_disk_that_takes_no_more(hub: Hub, target: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    with start_command(hub, target, preexec_fn=limit) as process:
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 1
    assert re.search(r"\nerror: \S+ cannot be written \(File too large\); choose another", said)
    assert find_part(target).stat().st_size <= 1_000_000
    assert not (target / f"{NAME}.onnx").exists()


def test_a_folder_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PiperError, match=r"cannot be written \(.+\); choose another folder"):
        download(hub, tmp_path / "file")


def test_progress_on_a_terminal(hub: Hub, target: Path) -> None:
    hub.seconds_a_block = 0.02
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "piper.download_voices", NAME, "--download-dir", str(target)]
    with subprocess.Popen([*command, "--catalogue-url", hub.url], stderr=slave) as process:
        os.close(slave)
        said = ""
        try:
            while block := os.read(master, 1 << 16):
                said += block.decode()
        except OSError:  # the terminal is gone with the process
            pass
    os.close(master)
    assert process.returncode == 0
    total = f"{len(ONNX) / 1e6:.1f}"
    assert re.search(rf"\r{NAME}\.onnx: \d\.\d/{total} MB \(\d+ %\), \S+ a second, 0:00 left", said)
    assert re.search(rf"\r{NAME}\.onnx: {total} MB in \d\.\d s \(\S+ a second\) *\r\n", said)
    assert ".json:" not in said
