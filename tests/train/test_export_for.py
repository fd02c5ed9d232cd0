"""`python -m piper.train export --for`: what sherpa-onnx, Sonata and pages in a browser read.

Those programs themselves speak with it in tests/test_peers.py.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from piper import PiperVoice
from piper.download import parse_catalogue
from piper.train.export_for import main
from piper.voice.session import SpeechSettings, VoiceSession

IDS = [1, 0, 20, 0, 24, 0, 2]
# Sonata's add-on reads language, name and quality off the ONNX's name.
SONATA_NAME = re.compile(r"([a-z]+_?[a-z]*)-([a-z_]+)-(high|medium|low|x_low)", re.IGNORECASE)


def export(voice: Path, target: str, folder: Path, *more: str) -> int:
    return main([str(voice), "--for", target, "--output-dir", str(folder), *more])


def copy_voice(voice: Path, path: Path, **changes: Any) -> Path:
    shutil.copy(voice, path)
    config = json.loads(Path(f"{voice}.json").read_text(encoding="utf-8")) | changes
    Path(f"{path}.json").write_text(json.dumps(config), encoding="utf-8")
    return path


def check_types_of_sonata(config: dict[str, Any]) -> None:
    """Its JSON is read into Rust's types: what is not of the type ends the voice."""
    assert all(len(symbol) == 1 for symbol in config["phoneme_id_map"])
    ids = chain.from_iterable(config["phoneme_id_map"].values())
    assert all(type(one) is int for one in ids)
    assert config["phoneme_map"] == {}
    assert config["language"]["code"] == "en_US"
    assert config["espeak"] == {"voice": "en-us"}
    assert config["inference"].keys() == {"noise_scale", "length_scale", "noise_w"}
    assert type(config["audio"]["sample_rate"]) is int
    assert type(config["num_speakers"]) is type(config["num_symbols"]) is int


@pytest.mark.parametrize("kind", ["tiny_voice_multi_speaker", "quick_voice"])
def test_sonata_gets_an_archive_that_it_can_read(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    voice = copy_voice(request.getfixturevalue(kind), tmp_path / "Anna 2.onnx")
    (tmp_path / "MODEL_CARD").write_text("mine", encoding="utf-8")
    assert export(voice, "sonata", tmp_path / "out") == 0
    archive = tmp_path / "out" / "en_US-Anna-medium.tar.gz"
    with tarfile.open(archive) as tar:
        names = ["MODEL_CARD", "en_US-Anna-medium.onnx", "en_US-Anna-medium.onnx.json"]
        assert tar.getnames() == names
        assert {(member.uname, member.gname) for member in tar} == {("", "")}
        tar.extractall(tmp_path / "in", filter="data")
    model = tmp_path / "in" / names[1]
    assert SONATA_NAME.fullmatch(model.stem)
    config = json.loads((tmp_path / "in" / names[2]).read_text(encoding="utf-8"))
    check_types_of_sonata(config)
    # It gives the inputs in this order, by no name, and takes the first output.
    session = onnxruntime.InferenceSession(model)
    values = [np.array([IDS]), np.array([len(IDS)]), np.array([0, 1, 0], np.float32)]
    if config["num_speakers"] > 1:
        assert config["speaker_id_map"] == {"anna": 0, "boris": 1, "vera": 2}
        values.append(np.array([2]))
    names_of = [value.name for value in session.get_inputs()]
    audio = session.run(None, dict(zip(names_of, values, strict=False)))[0].ravel()
    settings = SpeechSettings(speakers={2 if config["num_speakers"] > 1 else 0: 1.0})
    np.testing.assert_allclose(audio, VoiceSession(voice).run(IDS, settings).audio, atol=1e-5)


def test_sherpa_gets_its_folder(tiny_voice: Path, tmp_path: Path) -> None:
    voice = copy_voice(tiny_voice, tmp_path / "de_DE-mls_10-x_low.onnx")
    assert export(voice, "sherpa", tmp_path) == 0
    folder = tmp_path / "vits-piper-de_DE-mls_10-x_low"
    said = {entry.key: entry.value for entry in onnx.load(folder / voice.name).metadata_props}
    assert (said["comment"], said["voice"], said["sample_rate"]) == ("piper", "en-us", "16000")
    tokens = (folder / "tokens.txt").read_text(encoding="utf-8")
    assert tokens.startswith("_ 0\n^ 1\n$ 2\n  3\n")
    assert (folder / "espeak-ng-data" / "phontab").is_file()


def test_a_browser_gets_the_layout_of_published_voices(
    tiny_voice_multi_speaker: Path, tmp_path: Path
) -> None:
    # A name that is no number's own stands for a speaker without one.
    voice = copy_voice(tiny_voice_multi_speaker, tmp_path / "my.onnx", speaker_id_map={"anna": 1})
    assert export(voice, "web", tmp_path, "--name", "en_GB-anna-low") == 0
    folder = tmp_path / "en_GB-anna-low-web"
    listed = json.loads((folder / "voices.json").read_text(encoding="utf-8"))
    assert listed["en_GB-anna-low"]["speaker_id_map"] == {"0": 0, "anna": 1, "2": 2}
    place = folder / "en/en_GB/anna/low/en_GB-anna-low.onnx"
    assert set(listed["en_GB-anna-low"]["files"]) == {
        path.relative_to(folder).as_posix() for path in (place, Path(f"{place}.json"))
    }
    catalogue = parse_catalogue(listed, "http://127.0.0.1/voices.json")
    assert catalogue["en_GB-anna-low"].num_speakers == 3
    assert PiperVoice.load(place).config.speaker_id_map["anna"] == 1
    assert {path.name for path in folder.iterdir()} == {
        *("en", "index.html", "package.json", "voices.json")
    }


@pytest.mark.parametrize(
    ("changes", "more", "said"),
    [
        ({"phoneme_type": "text"}, (), "has phoneme_type 'text', not 'espeak'"),
        ({"phoneme_map": {"a": ["b"]}}, (), "replaces phonemes (phoneme_map)"),
        ({"vowel_clusters": ["aɪ"]}, (), "joins vowels (vowel_clusters)"),
        ({"phoneme_id_map": {"_": [0], "^": [1], "a": [3]}}, (), "has no id for $"),
        ({"num_speakers": 2}, (), "with the inputs input, input_lengths, scales, not"),
        ({}, ("--name=Anna",), "--name=Anna is no name"),
        ({}, ("--name=../ru_RU-anna-low",), "is no name"),
    ],
)
def test_what_a_program_cannot_do_is_one_message(
    changes: dict[str, Any],
    more: tuple[str, ...],
    said: str,
    tiny_voice: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    voice = copy_voice(tiny_voice, tmp_path / "voice.onnx", **changes)
    assert export(voice, "sherpa", tmp_path / "out", *more) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_there_stays_and_torch_is_not_needed(
    tiny_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import sys\nfrom piper.train.export_for import main\n"
        "assert main(sys.argv[1:]) == 0 and 'torch' not in sys.modules"
    )
    arguments = [str(tiny_voice), "--for=web", f"--output-dir={tmp_path}"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True)
    before = sorted(tmp_path.rglob("*"))
    assert export(tiny_voice, "web", tmp_path) == 1
    assert "en_US-tiny-medium-web is there already" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_program_that_is_not_known(tiny_voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export(tiny_voice, "sherpo", Path())
    assert "sherpa" in capsys.readouterr().err


def test_a_language_in_the_json_is_no_path(
    tiny_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    language = {"code": "../../up", "family": "../../up"}
    voice = copy_voice(tiny_voice, tmp_path / "voice.onnx", language=language)
    assert export(voice, "web", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["en_US-voice-medium-web"]
    espeak = {"voice": f"{tmp_path}/evil"}
    voice = copy_voice(tiny_voice, tmp_path / "other.onnx", language={}, espeak=espeak)
    assert export(voice, "web", tmp_path / "out") == 1
    assert "give --name" in capsys.readouterr().err
    assert not list(tmp_path.rglob("evil*"))
