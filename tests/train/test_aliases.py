"""Flags by the names they once had, and by those of Piper's trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from piper.train.aliases import translate_arguments, translate_config


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--model.preset=x-low"], ["--model.quality=x-low"]),
        (["--model.preset", "tiny"], ["--model.quality", "tiny"]),
        (["--model.warmstart_ckpt=a.ckpt"], ["--model.warmstart=a.ckpt"]),
        (["--model.warmstart_ckpt", "preset"], ["--model.warmstart", "preset"]),
        (["--model.vocoder_warmstart_ckpt=b.ckpt"], ["--model.vocoder_warmstart=b.ckpt"]),
        (["--model.mos_metric=utmos"], ["--validation_quality=auto"]),
        (["--model.mos_metric", "null"], ["--validation_quality=off"]),
        (["--model.mos_metric", "none", "--a"], ["--validation_quality=off", "--a"]),
        (["fit", "--model.quality=high", "--help"], ["fit", "--model.quality=high", "--help"]),
        (["--data.csv_path=--model.preset=1"], ["--data.csv_path=--model.preset=1"]),
        (["--config", "gone.yaml"], ["--config", "gone.yaml"]),
        (["--config"], ["--config"]),
    ],
)
def test_a_command_line_gets_the_names_of_today(old: list[str], new: list[str]) -> None:
    assert translate_arguments(old) == new


def test_a_config_is_translated_where_it_is_old(tmp_path: Path) -> None:
    """A config.yaml that an earlier training wrote goes on working."""
    old = {
        "seed_everything": 1,
        "model": {"preset": "tiny", "eps": 1e-9, "warmstart_ckpt": None, "mos_metric": "utmos"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(old), encoding="utf-8")
    [first] = translate_arguments([f"--config={path}"])
    flag, _, text = first.partition("=")
    assert flag == "--config"
    expected = {
        "seed_everything": 1,
        "model": {"quality": "tiny", "eps": 1e-9, "warmstart": None},
        "validation_quality": "auto",
    }
    assert yaml.safe_load(text) == expected
    # What is of today is left to the parser, which knows the file by its name.
    path.write_text(text, encoding="utf-8")
    assert translate_arguments(["-c", str(path)]) == ["-c", str(path)]
    assert translate_config({"fit": old}) == {"fit": expected}


def test_numbers_without_a_point_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model:\n  preset: tiny\n  eps: 1e-09\n", encoding="utf-8")
    [_, text] = translate_arguments(["--config", str(path)])
    assert yaml.safe_load(text)["model"]["eps"] == 1e-9


def test_the_model_s_own_file_is_translated(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_text("preset: high\n", encoding="utf-8")
    expected: dict[str, Any] = {"quality": "high"}
    assert yaml.safe_load(translate_arguments(["--model", str(path)])[1]) == expected
