"""A fixed copy is ready, differs only where it says so, and leaves the original alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from piper.train.check import cli
from piper.train.check.copying import fix_text

FEW = "--ignore=few-recordings,little-speech"


def digest(folder: Path) -> dict[str, str]:
    files = [folder / "metadata.csv", *folder.rglob("*.wav")]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def spoilt(dataset: Path, tmp_path: Path) -> Path:
    """A copy with a defect in each of the first ten recordings or their lines."""
    folder = Path(shutil.copytree(dataset, tmp_path / "spoilt"))
    wavs = sorted((folder / "wavs").iterdir())
    chance = np.random.default_rng(1)
    quiet = 0.0003 * chance.standard_normal(44100)

    def change(index: int, function: object, rate: int = 22050) -> None:
        samples, _ = soundfile.read(wavs[index])
        soundfile.write(wavs[index], function(samples), rate, "PCM_16")  # type: ignore[operator]

    change(0, lambda x: np.concatenate([quiet, x]))
    change(1, lambda x: np.stack([x, x], axis=1))
    change(2, lambda x: 0.5 * x + 0.1)
    change(3, lambda x: 0.02 * x)
    change(4, lambda x: soxr.resample(x, 22050, 44100), 44100)
    wavs[5].write_bytes(b"no recording")
    lines = (folder / "metadata.csv").read_text(encoding="utf-8").splitlines()
    lines[6] = lines[6].replace("о", "o", 1)
    name, text = lines[7].split("|")
    lines[7] = f'{name}|"{text}"'
    lines[8] += "\u200b"
    lines[9] = lines[9].split("|")[0] + "|"
    lines[10] = f"C:\\voice\\{lines[10]}"
    lines.append("gone.wav|Её нет.")
    lines.append("a line of another file")
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_the_copy_is_ready_and_every_change_is_listed(
    spoilt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = digest(spoilt), tmp_path / "corrected"
    assert cli.main([str(spoilt), "--quick", FEW, "--strict", f"--fix={out}"]) == cli.NOT_READY
    assert "4 lines left out" in capsys.readouterr().out
    assert digest(spoilt) == before
    changes = json.loads((out / "changes.json").read_text(encoding="utf-8"))
    assert {(change["line"], change["rule"]) for change in changes} >= {
        (1, "start-silence"),
        (2, "not-mono"),
        (3, "dc-offset"),
        (4, "quiet"),
        (5, "mixed-rates"),
        (6, "unreadable"),
        (7, "mixed-scripts"),
        (8, "quotes"),
        (9, "control-characters"),
        (10, "empty-text"),
        (11, "other-name"),
        (17, "missing-file"),
        (18, "delimiter"),
    }
    assert cli.main([str(out), "--quick", "--strict", FEW]) == 0
    report = json.loads((out / "check" / "report.json").read_text(encoding="utf-8"))
    found = {rule["rule"] for rule in report["rules"] if rule["severity"] != "note"}
    assert found <= {"upsampled"}, found
    assert report["recordings"] == 14
    # What nothing was wrong with is the same to the byte.
    same = sorted((spoilt / "wavs").iterdir())[10]
    assert (out / "wavs" / same.name).read_bytes() == same.read_bytes()
    # What cannot be copied is left out, also where its rule is ignored.
    ignored, out = f"{FEW},unreadable,missing-file", tmp_path / "ignored"
    assert cli.main([str(spoilt), "--quick", ignored, f"--fix={out}"]) == 0
    changes = json.loads((out / "changes.json").read_text(encoding="utf-8"))
    left_out = {one["line"]: one["rule"] for one in changes if one["what"] == "left out"}
    assert (left_out[6], left_out[17]) == ("unreadable", "missing-file")


def test_a_folder_with_something_in_it_is_refused(spoilt: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    assert cli.main([str(spoilt), "--quick", f"--fix={tmp_path / 'full'}"]) == 1
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_letters_of_the_wrong_alphabet_are_replaced_where_they_look_alike() -> None:
    assert fix_text("Cегодня он", "Cyrl", {"mixed-scripts"})[0] == "Сегодня он"
    assert fix_text("Тhe сat", "Latn", {"mixed-scripts"})[0] == "The cat"
    # No letter looks like these; whole words of the other alphabet stay.
    assert fix_text("Zавтра", "Cyrl", {"mixed-scripts"})[0] == "Zавтра"
    assert fix_text("Он взял Cat.", "Cyrl", {"mixed-scripts"})[0] == "Он взял Cat."
