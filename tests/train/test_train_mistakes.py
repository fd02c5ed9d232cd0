"""Mistakes of a user end in one sentence that says what to do, without a traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch

from piper.train import cli
from piper.train.export_onnx import main as export_main


@pytest.fixture
def fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `fit` on a dataset, expect failure, and return what it says on standard error."""

    def run(dataset: Path, *flags: str) -> str:
        arguments = [
            *("fit", f"--data.dataset_dir={dataset}", "--model.quality=tiny"),
            *(f"--trainer.default_root_dir={tmp_path / 'root'}", "--trainer.max_epochs=1"),
            *("--trainer.accelerator=cpu", "--data.num_workers=0", *flags),
        ]
        assert cli.main(arguments) == 1
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        errors = [line for line in printed.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, printed
        return printed[printed.index("error: ") :].removeprefix("error: ").strip()

    return run


Change = Callable[[Path], object]


def rows_of(dataset: Path) -> list[str]:
    return (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()


def write_rows(dataset: Path, rows: list[str]) -> None:
    (dataset / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def replace_row(dataset: Path, index: int, row: str) -> None:
    rows = rows_of(dataset)
    rows[index] = row
    write_rows(dataset, rows)


def remove_wavs(dataset: Path) -> None:
    for row in rows_of(dataset)[:7]:
        (dataset / "wavs" / row.split("|")[0]).unlink()


def first_wavs(dataset: Path) -> list[Path]:
    return [dataset / "wavs" / row.split("|")[0] for row in rows_of(dataset)[:3]]


def write_wavs(dataset: Path, content: bytes) -> None:
    for path in first_wavs(dataset):
        path.write_bytes(content)


def write_silence(dataset: Path) -> None:
    for path in first_wavs(dataset):
        soundfile.write(path, [0.0] * 22050, 22050)


def change_config(dataset: Path, key: str, value: object) -> None:
    data = json.loads((dataset / "config.json").read_text(encoding="utf-8"))
    part = data
    *parents, last = key.split(".")
    for parent in parents:
        part = part.setdefault(parent, {})
    part[last] = value
    (dataset / "config.json").write_text(json.dumps(data), encoding="utf-8")


# What is done to a good dataset, and what the sentence must hold.
MISTAKES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "no CSV": (lambda d: (d / "metadata.csv").unlink(), ("metadata.csv", "does not exist")),
    "missing WAVs": (remove_wavs, ("metadata.csv", "7 ", "line 1")),
    "empty text": (
        lambda d: replace_row(d, 2, f"{rows_of(d)[2].split('|')[0]}|  "),
        ("metadata.csv", "line 3"),
    ),
    "wrong delimiter": (
        lambda d: write_rows(d, [row.replace("|", ";") for row in rows_of(d)]),
        ("metadata.csv", "line 1", ";"),
    ),
    "three columns, one speaker": (
        lambda d: write_rows(d, [row.replace("|", "|anna|") for row in rows_of(d)]),
        ("metadata.csv", "--model.num_speakers"),
    ),
    # More than a tenth of the recordings: a few are left out with a warning.
    "corrupt WAVs": (
        lambda d: write_wavs(d, b"RIFF nothing that follows is audio"),
        ("line 1", "utterance001.wav"),
    ),
    "empty WAVs": (lambda d: write_wavs(d, b""), ("line 1", "utterance001.wav")),
    "silent WAVs": (write_silence, ("line 1", "utterance001.wav", "silen")),
    "unknown espeak voice": (
        lambda d: change_config(d, "espeak.voice", "klingon-xyz"),
        ("klingon-xyz",),
    ),
    "config that is not JSON": (
        lambda d: (d / "config.json").write_text("{audio: 1", encoding="utf-8"),
        ("config.json", "not valid JSON"),
    ),
    "config with a wrong type": (
        lambda d: change_config(d, "audio.sample_rate", "fast"),
        ("config.json", "audio.sample_rate", "fast"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_dataset_is_named(
    mistake: str,
    speech_dataset: Path,
    copy_dataset: Callable[[Path], Path],
    fail: Callable[..., str],
) -> None:
    change, wanted = MISTAKES[mistake]
    dataset = copy_dataset(speech_dataset)
    change(dataset)
    said = fail(dataset)
    for part in wanted:
        assert part in said, said


def test_a_missing_dataset(fail: Callable[..., str], tmp_path: Path) -> None:
    assert "does not exist" in fail(tmp_path / "nowhere")


def test_sample_rates_that_disagree(
    speech_dataset: Path, copy_dataset: Callable[[Path], Path], fail: Callable[..., str]
) -> None:
    dataset = copy_dataset(speech_dataset)
    said = fail(dataset, "--model.sample_rate=16000")
    assert all(part in said for part in ("config.json", "22050", "--model.sample_rate", "16000"))
    said = fail(dataset, "--model.quality=x_low")
    assert all(part in said for part in ("x_low", "16000", "22050", "config.json"))


def test_an_unknown_quality(dataset: Path, fail: Callable[..., str]) -> None:
    said = fail(dataset, "--model.quality=best")
    assert said.startswith(
        'The quality "best" is unknown; choose one of medium, high, low, x-low, quick'
    )


@pytest.mark.parametrize("flag", ["warmstart", "vocoder_warmstart", "warmstart_ckpt"])
def test_a_file_to_start_from_that_is_not_there(
    flag: str, dataset: Path, fail: Callable[..., str]
) -> None:
    """Named before the recordings are prepared, which may take hours."""
    assert fail(dataset, f"--model.{flag}=gone.ckpt").startswith("The checkpoint gone.ckpt")
    assert "gone.onnx does not exist" in fail(dataset, f"--model.{flag}=gone.onnx")


def test_a_gpu_that_is_not_there(
    dataset: Path, fail: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The one thing that cannot be had on both kinds of machine: no GPU where there may be one.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = fail(dataset, "--trainer.accelerator=gpu")
    assert "no GPU" in said
    assert "--trainer.accelerator=auto" in said


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("accelerator=mps", "The --trainer.* flags cannot be used like this: `MPSAccelerator` can"),
        ("devices=0", "cannot be used like this: `Trainer(devices='0')` value is not a valid"),
        ("max_steps=-3", "cannot be used like this: `max_steps` must be a non-negative integer"),
        ("val_check_interval=100", "cannot be used like this: `val_check_interval` (100) must be"),
        ("log_every_n_steps=0", "--trainer.log_every_n_steps=0: a whole number from 1 on."),
        ("precision=16-true", "voices train in 32, 16-mixed or bf16-mixed."),
        ("gradient_clip_algorithm=sum", "is neither norm nor value."),
    ],
)
def test_flags_that_lightning_refuses_or_stumbles_over(
    flag: str, said: str, dataset: Path, fail: Callable[..., str]
) -> None:
    """Each ended in forty lines of traceback."""
    assert said in fail(dataset, f"--trainer.{flag}")


def test_a_missing_checkpoint(dataset: Path, fail: Callable[..., str]) -> None:
    said = fail(dataset, "--ckpt_path=gone.ckpt")
    assert "gone.ckpt does not exist; `find lightning_logs" in said


def test_a_checkpoint_of_another_quality_is_a_short_table(
    dataset: Path, fail: Callable[..., str], tmp_path: Path
) -> None:

    from piper.train.lightning import VitsModel

    model = VitsModel(quality="tiny", hidden_channels=32, inter_channels=32)
    path = tmp_path / "other.ckpt"
    data = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams)}
    torch.save(data, path)
    said = fail(dataset, f"--ckpt_path={path}")
    assert "hidden_channels" in said
    assert "inter_channels" in said
    assert "--model.warmstart" in said
    assert len(said.splitlines()) < 8


def test_a_folder_that_cannot_be_written(dataset: Path, fail: Callable[..., str]) -> None:
    said = fail(dataset, "--trainer.default_root_dir=/proc/nowhere")
    assert "Nothing can be written to /proc/nowhere" in said
    assert len(said.splitlines()) == 1


def test_an_unknown_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["fit", "--data.bach_size=3"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "--data.bach_size=3; did you mean --data.batch_size?" in said
    assert said.count("\n") == 2, "no usage of a hundred lines"


def test_help_begins_with_what_a_voice_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning's four hundred lines come with --help=all."""
    texts = []
    for flag in ("--help", "--help=all"):
        with pytest.raises(SystemExit):
            cli.main(["fit", flag])
        texts.append(capsys.readouterr().out)
    short, full = texts
    flags = re.findall(r"^  (--[\w.]+)", short, re.M)
    assert flags[0] == "--data.dataset_dir"
    assert len(flags) == len(set(flags))
    assert flags.index("--trainer.max_epochs") < flags.index("--model.quality")
    assert "--trainer.plugins" not in short
    assert len(short.splitlines()) < 220
    assert "--trainer.plugins" in full
    assert set(flags) <= set(re.findall(r"--[\w.]+", full))


def test_export_of_a_missing_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--checkpoint", str(tmp_path / "a.ckpt"), "--output-file", str(tmp_path / "a.onnx")]
    assert export_main(flags) == 1
    assert "a.ckpt does not exist" in capsys.readouterr().err
