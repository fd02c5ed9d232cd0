"""Export of checkpoints that carry no JSON, and of those that are no voice any more."""

from __future__ import annotations

import json
import pathlib
from pathlib import Path
from typing import Any

import pytest
import torch

from piper.config import VoiceConfig
from piper.languages import describe_language
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.train.export_onnx import main as export
from piper.train.lightning import VitsModel

NARROW = {"quality": "tiny", "hidden_channels": 8, "inter_channels": 8, "filter_channels": 8}
NARROW |= {"n_layers": 1, "upsample_initial_channel": 16, "discriminator_channels": 8}


@pytest.fixture(scope="module")
def foreign() -> dict[str, Any]:
    """What Piper's trainer saves: weights and hyper-parameters, but not the voice's JSON."""
    torch.manual_seed(0)
    model = VitsModel(**NARROW)  # type: ignore[arg-type]
    weights = {name: w for name, w in model.state_dict().items() if name.startswith("model_g.")}
    return {"state_dict": weights, "hyper_parameters": dict(model.hparams)}


@pytest.fixture
def voice_json() -> str:
    voice = VoiceConfig(256, 1, 22050, "ru", DEFAULT_PHONEME_ID_MAP, language={"code": "ru_RU"})
    return json.dumps(voice.to_dict())


def test_a_checkpoint_of_another_trainer_is_exported_all_the_same(
    foreign: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quick start's command, as it stands there: it ended without a voice."""
    torch.save(foreign, tmp_path / "last.ckpt")
    flags = ["--checkpoint", str(tmp_path / "last.ckpt"), "--output-file"]
    assert export([*flags, str(tmp_path / "voice.onnx")]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "voice.onnx").is_file() and not (tmp_path / "voice.onnx.json").exists()
    assert "none is known" in out and "--espeak-voice" in out
    assert export([*flags, str(tmp_path / "ru.onnx"), "--espeak-voice=ru"]) == 0
    config = json.loads((tmp_path / "ru.onnx.json").read_text(encoding="utf-8"))
    assert config["espeak"]["voice"] == "ru" and config["language"]["code"] == "ru_RU"
    assert export([*flags, str(tmp_path / "no.onnx"), "--espeak-voice=nowhere"]) == 1


@pytest.mark.parametrize("place", ["beside", "above", "dataset", "flag of the data", "config.yaml"])
def test_the_json_is_found_where_other_trainers_leave_it(
    place: str,
    foreign: dict[str, Any],
    voice_json: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    checkpoint = {**foreign}
    if place == "dataset":  # as its first trainer pickled it
        named = {"dataset": [pathlib.PosixPath(elsewhere / "dataset.jsonl")]}
        checkpoint["hyper_parameters"] = {**foreign["hyper_parameters"], **named}
    elif place == "flag of the data":
        checkpoint["datamodule_hyper_parameters"] = {"config_path": str(elsewhere / "config.json")}
    elif place == "config.yaml":
        text = f"data:\n  dataset_dir: {elsewhere}\n"
        (folder.parent / "config.yaml").write_text(text, encoding="utf-8")
        (elsewhere / "metadata.csv").touch()
    written = {"beside": folder, "above": tmp_path}.get(place, elsewhere) / "config.json"
    written.write_text(voice_json, encoding="utf-8")
    # Another voice's, nearer: it does not fit the network.
    wrong = json.loads(voice_json) | {"num_symbols": 99}
    (folder / "last.ckpt.json").write_text(json.dumps(wrong), encoding="utf-8")
    torch.save(checkpoint, folder / "last.ckpt")
    output = tmp_path / "voice.onnx"
    assert export(["--checkpoint", str(folder), "--output-file", str(output)]) == 0
    assert f"(as {written} has it)" in capsys.readouterr().out
    assert json.loads(Path(f"{output}.json").read_text(encoding="utf-8"))["espeak"]["voice"] == "ru"


def test_a_map_without_latin_letters_is_exported_without_warnings(
    foreign: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Letters of a test sentence that the map lacks were twenty warnings about nothing."""
    ids = {symbol: [number] for number, symbol in enumerate("_^$ абвгд")}
    voice = VoiceConfig(256, 1, 22050, "ru", ids).to_dict() | {"phoneme_type": "text"}
    torch.save({**foreign, "voice_config": voice}, tmp_path / "last.ckpt")
    flags = ["--checkpoint", str(tmp_path / "last.ckpt"), "--output-file"]
    assert export([*flags, str(tmp_path / "voice.onnx")]) == 0
    assert caplog.records == []


@pytest.mark.parametrize(
    ("factors", "problem"),
    [
        ((0.0, 0.0), "silence"),
        ((1e8, 1e8), "a constant"),
        ((1e8, -1e8), "samples at full scale throughout"),
        ((float("nan"), 1.0), "samples that are not finite"),
    ],
)
def test_what_is_no_sound_is_not_exported(
    factors: tuple[float, float],
    problem: str,
    foreign: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Network and voice agreed on a square wave, so it was written as checked."""
    name = "model_g.dec.conv_post.weight"
    broken = torch.zeros_like(foreign["state_dict"][name])
    broken[..., 0], broken[..., -1] = factors
    weights = {**foreign["state_dict"], name: broken}
    torch.save({**foreign, "state_dict": weights}, tmp_path / "last.ckpt")
    output = tmp_path / "voice.onnx"
    assert export(["--checkpoint", str(tmp_path / "last.ckpt"), "--output-file", str(output)]) == 1
    assert f"gives {problem}, so {output} was not written" in capsys.readouterr().err
    assert not output.exists()


def test_flipped_bytes_are_found_at_every_entrance(foreign: dict[str, Any], tmp_path: Path) -> None:
    from piper.errors import CheckpointError
    from piper.train.cli import SafeCheckpointIO
    from piper.train.warm_start import load_source

    path = tmp_path / "last.ckpt"
    torch.save(foreign, path)
    content = bytearray(path.read_bytes())
    weight = foreign["state_dict"]["model_g.dec.conv_pre.weight"].numpy().tobytes()
    content[content.find(weight) + 3] ^= 0x40
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # as if nothing were wrong
    assert export(["--checkpoint", str(path), "--output-file", str(tmp_path / "v.onnx")]) == 1
    for read in (SafeCheckpointIO().load_checkpoint, load_source):
        with pytest.raises(CheckpointError, match=r"damaged \(the checksum"):
            read(str(path))


@pytest.mark.parametrize(
    ("voice", "code", "names"),
    [
        ("en-us", "en_US", ("English", "United States")),
        ("en-gb-x-rp", "en_GB", ("English", "Great Britain")),
        ("cmn", "zh_CN", ("Chinese", "China")),
        ("es-419", "es_MX", ("Spanish", "Mexico")),
        ("nb", "no_NO", ("Norwegian", "Norway")),
        ("tlh", "tlh", (None, None)),
    ],
)
def test_languages_are_written_as_published_voices_have_them(
    voice: str, code: str, names: tuple[str | None, str | None]
) -> None:
    found = describe_language(voice)
    assert found["code"] == code and found["family"] == code.partition("_")[0]
    assert (found.get("name_english"), found.get("country_english")) == names
