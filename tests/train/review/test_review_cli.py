"""`python -m piper.train review DIR` as a process: its sentences, its end, its browser."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
from reviews import open_table

from piper.train.review import cli
from piper.train.review.gathering import select_clips
from piper.train.review.session import Choice


@contextmanager
def start(folder: Path, *flags: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, which ends with the block also where that fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "piper.train", "review", str(folder), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_address(process: subprocess.Popen[str]) -> tuple[str, int, str]:
    """Return what the command says first, the port, and the page's path."""
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    found = re.fullmatch(r"Review: http://127\.0\.0\.1:(\d+)(/\S+/) \(Ctrl\+C ends it\)\n", second)
    assert found, (first, second, process.communicate())
    return first, int(found[1]), found[2]


def test_it_says_where_it_is_opens_a_browser_and_ends_with_a_sentence(
    doubted: Path, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {seen}.part && mv {seen}.part {seen}\n')
    browser.chmod(0o755)
    with start(doubted, BROWSER=f"{browser} %s") as process:
        first, port, path = read_address(process)
        assert first == "3 clips to review, 0 decided\n"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", path)
        assert connection.getresponse().read().startswith(b"<!DOCTYPE html>")
        end = time.monotonic() + 120
        while not seen.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert seen.read_text() == f"http://127.0.0.1:{port}{path}"
        # Two reviews of one dataset would not know of each other's decisions.
        second = subprocess.run(
            [sys.executable, "-m", "piper.train", "review", str(doubted), "--no-browser"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 1
        assert "is being reviewed by another process" in second.stderr
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said == "Ended; every decision is kept in review.jsonl, and the same command goes on.\n"


def test_an_unchecked_dataset_is_told_to_be_checked(
    doubted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (doubted / "check" / "report.json").unlink()
    assert cli.main([str(doubted)]) == 1
    said = capsys.readouterr().err
    assert f"check first: python -m piper.train check {doubted}, or review every" in said


def test_a_report_of_another_csv_is_refused(
    doubted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = doubted / "metadata.csv"
    csv.write_text("".join(csv.read_text(encoding="utf-8").splitlines(keepends=True)[1:]))
    assert cli.main([str(doubted)]) == 1
    assert "is of another metadata.csv (line" in capsys.readouterr().err
    (doubted / "check" / "report.json").write_text('{"rules": [{"findings": [{}]}]}')
    assert cli.main([str(doubted)]) == 1
    assert "is no report of a check" in capsys.readouterr().err


def test_rules_choose_what_is_shown(doubted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gathered = open_table(doubted).gathered

    def choose(*, is_all: bool = False, rules: str = "") -> list[int | None]:
        return [c.line for c in select_clips(gathered, doubted, is_all=is_all, rules=rules)]

    assert choose() == [1, 2, 3]
    assert choose(rules="start-silence, missing-file") == [1, 3]
    assert choose(is_all=True) == list(range(1, 17))
    assert cli.main([str(doubted), "--rules=dc-offset"]) == 0
    assert "Nothing to review" in capsys.readouterr().out
    assert cli.main([str(doubted), "--rules=loudness"]) == 1
    assert 'There is no rule "loudness"; choose from' in capsys.readouterr().err


def test_names_that_lead_out_of_the_dataset_are_not_heard(
    doubted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples, rate = soundfile.read(doubted / "wavs" / "utterance002.wav")
    soundfile.write(tmp_path / "secret.wav", samples, rate)
    with (doubted / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write(f"../../secret.wav|Тайна.\n{tmp_path / 'secret.wav'}|Она же.\n")
    table = open_table(doubted)
    for name in ("../../secret.wav", str(tmp_path / "secret.wav")):
        clip = table.find(name)
        assert clip.path is None
        assert clip.obstacle.startswith("The recording lies outside the dataset")
        table.decide(name, Choice.DROP)
    assert cli.main([str(doubted), f"--fix={tmp_path / 'copy'}"]) == 0
    assert not (tmp_path / "copy" / "wavs" / "secret.wav").exists()


def test_the_servers_extra_is_named_where_it_is_missing(
    doubted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("piper.train.review.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main([str(doubted), "--no-browser"]) == 1
    assert capsys.readouterr().err == (
        "error: This needs the Python package 'uvicorn'; "
        "install it with: pip install 'piper-workshop[http]'\n"
    )
