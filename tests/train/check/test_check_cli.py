"""`python -m piper.train check DIR` from end to end: verdicts, exit codes, files, going on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from piper.train.check import cli
from piper.train.check.run import RULES
from piper.train.data.module import VitsDataModule


@pytest.fixture
def checked(speech_dataset: Path, tmp_path: Path) -> Path:
    """A dataset with links to the recordings; 16 are too few for a voice, so that is left out."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "wavs").mkdir()
    for path in (speech_dataset / "wavs").iterdir():
        (folder / "wavs" / path.name).symlink_to(path)
    for name in ("metadata.csv", "config.json"):
        (folder / name).write_bytes((speech_dataset / name).read_bytes())
    return folder


FEW = "--ignore=few-recordings,little-speech"


def test_a_good_dataset_is_ready(checked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(checked), "--strict", "--quick", FEW]) == 0
    said = capsys.readouterr().out
    assert "Verdict: ready" in said
    assert f"python -m piper.train fit --data.dataset_dir={checked}" in said
    report = json.loads((checked / "check" / "report.json").read_text(encoding="utf-8"))
    assert report["verdict"] == "ready"
    assert report["recordings"] == 16
    assert report["facts"]["Training"]["estimate"].startswith("by a table")
    # Those that training really holds out.
    split = VitsDataModule(dataset_dir=str(checked)).split
    assert report["held_out"] == [u.row.audio_path.name for u in split.validation]
    assert (checked / "check" / "report.html").stat().st_size > 5_000


def test_scripts_are_told_by_the_exit_code(
    checked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (checked / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write("gone.wav|Её нет.\n")
    assert cli.main([str(checked), "--quick", FEW]) == 0
    assert cli.main([str(checked), "--quick", FEW, "--strict"]) == cli.NOT_READY
    said = capsys.readouterr().out
    assert "Verdict: not ready" in said
    assert "missing-file" in said
    assert cli.main([str(checked), "--quick", "--strict", f"{FEW},missing-file"]) == 0
    assert cli.main([str(checked), "--quick", "--ignore=loudness"]) == 1
    assert 'error: There is no rule "loudness"; choose from' in capsys.readouterr().err


def test_a_second_check_measures_only_what_has_changed(
    checked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main([str(checked), "--quick"])
    capsys.readouterr()
    changed = checked / "wavs" / "utterance001.wav"
    data = changed.read_bytes()
    changed.unlink()
    changed.write_bytes(data[: len(data) // 2])
    with (checked / ".cache" / "check-2.jsonl").open("a") as file:
        file.write('["cut off by a kill", {"sec')
    assert cli.main([str(checked), "--quick"]) == 0
    captured = capsys.readouterr()
    assert "Measuring: 1 recording " in captured.err
    assert "truncated" in captured.out


def test_links_that_lie_where_it_writes_are_not_written_through(
    checked: Path, tmp_path: Path
) -> None:
    """A dataset of somebody else may bring links to files of the user's."""
    precious = tmp_path / "precious"
    precious.write_text("{}")
    (checked / "check").mkdir()
    links = [checked / "check" / "report.json", checked / "check" / "report.html"]
    for link in links:
        link.symlink_to(precious)
    assert cli.main([str(checked), "--quick"]) == 0
    assert precious.read_text() == "{}"
    assert json.loads(links[0].read_text(encoding="utf-8"))["recordings"]
    # What the user names is written to, whatever it is.
    links[0].unlink()
    links[0].symlink_to(precious)
    assert cli.main([str(checked), "--quick", "--output-dir", str(checked / "check")]) == 0
    assert json.loads(precious.read_text(encoding="utf-8"))["recordings"]
    kept = checked / ".cache" / "check-2.jsonl"
    kept.unlink()
    kept.symlink_to(precious)
    before = precious.read_bytes()
    assert cli.main([str(checked), "--quick"]) == 1
    assert precious.read_bytes() == before


def test_ctrl_c_keeps_what_was_measured(checked: Path) -> None:
    """Real processes: the parent is told, and its workers end with it."""
    source = checked / "wavs" / "utterance002.wav"
    lines = []
    for number in range(2500):
        (checked / "wavs" / f"more{number}.wav").symlink_to(source.resolve())
        lines.append(f"more{number}.wav|Текст номер {number}.\n")
    (checked / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "piper.train", "check", str(checked)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        kept, end = checked / ".cache" / "check-2.jsonl", time.monotonic() + 120
        while not kept.exists() or kept.stat().st_size < 40_000:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Stopped; what was measured is kept, and the same command goes on." in said
    assert "Traceback" not in said
    # Who looks while another process writes may add an empty line, which reading passes over.
    for line in filter(None, kept.read_text(encoding="utf-8").splitlines()):
        json.loads(line)


def test_every_rule_is_documented() -> None:
    documents = (Path(__file__).parents[3] / "docs/DATASETS.md").read_text(encoding="utf-8")
    assert [rule.name for rule in RULES if f"`{rule.name}`" not in documents] == []


def test_a_check_without_the_aligner_loads_no_torch() -> None:
    """It takes two seconds to load; measuring 620 recordings takes as long."""
    code = "import sys, piper.train.check.run; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
