"""Downloads of published voices, as a whole: files, processes, signals, the disk, the terminal."""

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
from pathlib import Path
from typing import Any

import pytest

from piper import download_voices
from piper.download import TransferOptions, describe_size, ensure_voice_exists, get_voices
from piper.download import find_voice as find_former_voice
from piper.download_voices import main
from piper.errors import PiperError
from piper.voices import find_voice
from publishing import (
    CONFIG,
    MODEL_PATH,
    NAME,
    ONNX,
    WHOLE,
    Hub,
    download,
    find_part,
    read_all,
    wait_for_part,
)


def start_command(hub: Hub, target: Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "piper.download_voices", NAME, "--download-dir", str(target)]
    return subprocess.Popen(
        [*command, "--catalogue-url", hub.url], stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("option", ["--download-dir", "--data-dir", "--data_dir"])
@pytest.mark.parametrize("name", [NAME, "ru-test"])
def test_a_voice_arrives_with_its_json(hub: Hub, target: Path, option: str, name: str) -> None:
    assert main([name, option, str(target), "--catalogue-url", hub.url]) == 0
    assert read_all(target) == WHOLE
    assert find_voice(NAME, data_dirs=[target])


def test_programs_download_by_the_existing_module_s_functions(
    hub: Hub,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(download_voices, "VOICES_JSON", hub.url)
    download_voices.list_voices()
    assert NAME in capsys.readouterr().out.splitlines()
    download_voices.download_voice(NAME, target)
    assert read_all(target) == WHOLE
    hub.requests.clear()
    download_voices.download_voice(NAME, str(target))
    assert not hub.paths, "what is there needs no network"
    download_voices.download_voice(NAME, target, force_redownload=True)
    assert len(hub.paths) == 3
    with pytest.raises(PiperError, match="has no voice 'nobody'"):
        download_voices.download_voice("nobody", target)


def test_addresses_and_names_of_published_voices_have_their_parts() -> None:
    match = download_voices.VOICE_PATTERN.match("en_US-lessac-medium")
    assert match is not None
    parts = match.groupdict()
    assert parts == {
        "lang_family": "en",
        "lang_region": "US",
        "voice_name": "lessac",
        "voice_quality": "medium",
    }
    address = download_voices.URL_FORMAT.format(lang_code="en_US", extension=".onnx", **parts)
    assert address.partition("?")[0].endswith(
        "/main/en/en_US/lessac/medium/en_US-lessac-medium.onnx"
    )
    assert address.startswith(download_voices.VOICES_JSON.removesuffix("voices.json"))


def test_calls_of_piper_1_2_download_with_a_warning(
    hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("piper.download.CATALOGUE_URL", hub.url)
    with pytest.warns(DeprecationWarning, match="fetch_catalogue"):
        voices = get_voices(target, update_voices=True)
    with pytest.warns(DeprecationWarning, match="download_voices"):
        ensure_voice_exists(NAME, [target], target, voices)
    with pytest.warns(DeprecationWarning, match=r"voices\.find_voice"):
        model, config = find_former_voice(NAME, [target])
    assert (model.parent, config.name) == (target, f"{model.name}.json")
    hub.requests.clear()
    with pytest.warns(DeprecationWarning):
        ensure_voice_exists(NAME, [target], target, voices)
    assert not hub.paths


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


def test_the_onnx_takes_its_name_last(hub: Hub, target: Path) -> None:
    (target / f"{NAME}.onnx.json").mkdir(parents=True)
    with pytest.raises(PiperError, match="cannot be written"):
        download(hub, target)
    assert not (target / f"{NAME}.onnx").exists()


def test_sigkill_costs_nothing_that_had_come(hub: Hub, target: Path) -> None:
    hub.seconds_a_block = 0.4  # eleven seconds in all
    with start_command(hub, target) as process:
        wait_for_part(target, 100_000)
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
    assert f"{describe_size(had_bytes)} of 1.9 MB are there" in said
    assert read_all(target) == WHOLE


def test_ctrl_c_ends_it_and_says_that_it_goes_on(hub: Hub, target: Path) -> None:
    hub.seconds_a_block = 0.4  # eleven seconds in all
    with start_command(hub, target) as process:
        wait_for_part(target, 100_000)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        said = process.stderr.read()
    assert process.returncode == 130
    assert said.endswith("Interrupted; the same command goes on from here.\n")
    assert [path.suffix for path in target.iterdir()] == [".part"]


def test_two_downloads_at_once_do_it_once(hub: Hub, target: Path) -> None:
    hub.seconds_a_block = 0.5  # until both are there
    with start_command(hub, target) as first:
        wait_for_part(target, 1)
        with pytest.raises(PiperError, match=f"Another process downloads {NAME}; try again"):
            download(hub, target, TransferOptions(is_patient=False))
        with start_command(hub, target) as second:
            assert first.stderr and second.stderr
            said = ""
            while "Waiting" not in said:
                said += (line := second.stderr.readline())
                assert line, said
            hub.seconds_a_block = 0.0
            said += second.stderr.read()
    assert (first.returncode, second.returncode) == (0, 0)
    assert f"Waiting for another process that downloads {NAME}" in said
    assert len(hub.ranges) == 1
    assert read_all(target) == WHOLE


def test_a_stop_keeps_the_part(hub: Hub, target: Path) -> None:
    hub.seconds_a_block = 0.5
    options = TransferOptions()
    caught: list[PiperError] = []

    def run() -> None:
        try:
            download(hub, target, options)
        except PiperError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_for_part(target, 1)
    options.stop.set()
    thread.join(120)
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
    assert re.search(
        rf"\r{NAME}\.onnx: 0:\d\d left · \d\.\d/{total} MB \(\d+ %\) · \S+ a second", said
    )
    assert re.search(rf"\r{NAME}\.onnx: {total} MB in \d+\.\d s \(\S+ a second\) *\r\n", said)
    assert ".json:" not in said
