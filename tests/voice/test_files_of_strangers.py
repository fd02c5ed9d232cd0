"""A voice's files as nobody should write them: speech comes of them, or one sentence."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from piper import PiperVoice
from piper.errors import CheckpointError, PiperError
from piper.voice.weights import load_voice_weights

# The same examples in each run: what it finds stays found.
REPEATABLE = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
}
ADDED: dict[str, Any] = {
    "phoneme_map": {"x": ["k", "s"]},
    "text_options": {"write_numbers": False, "stress": "marks"},
    "phonemizer": {"name": "espeak-ng", "version": "1.52.0"},
    "language": {"code": "en_US"},
    "default_speaker_id": 0,
}
WORDS = ("", "en", "22050", "1e400", "٣", "../../x", "a\0b", "x" * 5000, "\ud800", "PhonemeType.")
NUMBERS = (0, -1, 1, 256, 2**31, 10**19, -(10**19), 22050.0, 1.5, 1e308, float("nan"))
LEAVES = st.sampled_from((None, True, *WORDS, *NUMBERS))
JUNK = st.one_of(
    LEAVES,
    st.lists(LEAVES, max_size=3),
    st.dictionaries(st.sampled_from(("a", "voice", "")), st.lists(LEAVES, max_size=2), max_size=2),
    st.sampled_from(([1] * 100_000, ["x" * 1000] * 1000)),
)


def find_places(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value; of the map of phonemes to those that a test's text needs."""
    if place:
        yield place
    items = enumerate(data) if isinstance(data, list) else data.items() if data else ()
    for key, value in items:
        if len(place) == 0 or place[0] != "phoneme_id_map" or key in ("h", "^", "_", "x"):
            yield from (
                find_places(value, (*place, key))
                if isinstance(value, dict | list)
                else [(*place, key)]
            )


def speak(model: Path) -> str:
    """Speak a sentence; return why that cannot be done, or nothing."""
    try:
        for _ in PiperVoice.load(model).synthesize("Hi, box 3.", include_alignments=True):
            pass
    except PiperError as error:
        said = str(error)
        assert len(said.encode("utf-8")) < 1500
        assert "\n" not in said
        return said
    return ""


@pytest.fixture(scope="module")
def voice(tiny_voice_multi_speaker: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strange")
    for suffix in ("", ".json"):
        shutil.copy(f"{tiny_voice_multi_speaker}{suffix}", folder / f"v.onnx{suffix}")
    return folder / "v.onnx"


def test_any_value_in_a_voice_s_json_is_spoken_with_or_named(voice: Path) -> None:
    path = Path(f"{voice}.json")
    sound = json.loads(path.read_text("utf-8")) | ADDED
    places = list(find_places(sound))
    results = set()

    @settings(max_examples=60, **REPEATABLE)
    @given(st.sampled_from(places), JUNK, st.booleans())
    def try_one(place: tuple[Any, ...], junk: Any, is_gone: bool) -> None:
        data = copy.deepcopy(sound)
        inner = data
        for key in place[:-1]:
            inner = inner[key]
        if is_gone:
            del inner[place[-1]]
        else:
            inner[place[-1]] = junk
        path.write_text(json.dumps(data), encoding="utf-8")
        results.add(bool(speak(voice)))

    try_one()
    assert results == {True, False}
    path.write_text(json.dumps(sound), encoding="utf-8")
    assert not speak(voice)


def set_metadata(model: onnx.ModelProto, change: Callable[[dict[str, Any]], Any]) -> None:
    [entry] = model.metadata_props
    entry.value = json.dumps(change(json.loads(entry.value)))


def test_any_value_in_a_voice_s_own_metadata_leaves_it_its_own_graph(tiny_voice: Path) -> None:
    # What is said of the network there serves only to take it apart.
    path = tiny_voice.with_name("strange.onnx")
    shutil.copy(f"{tiny_voice}.json", f"{path}.json")
    sound = onnx.load(tiny_voice)
    keys = sorted(json.loads(sound.metadata_props[0].value))

    @settings(max_examples=40, **REPEATABLE)
    @given(st.sampled_from(keys), JUNK)
    def try_one(key: str, junk: Any) -> None:
        model = copy.deepcopy(sound)
        set_metadata(model, lambda data: {**data, key: junk})
        onnx.save(model, path)
        with suppress(CheckpointError):
            load_voice_weights(path)

    try_one()
    for key, junk in (("n_heads", 0), ("upsample_rates", None), ("use_sdp", False)):
        model = copy.deepcopy(sound)
        set_metadata(model, lambda data, key=key, junk=junk: {**data, key: junk})
        onnx.save(model, path)
        assert not speak(path)


def save_apart(path: Path, model: onnx.ModelProto, changes: dict[str, str]) -> None:
    """Write a model whose weights lie in a file beside it, and change what is said of them."""
    weights = path.with_suffix(".bin")
    weights.unlink(missing_ok=True)
    onnx.save_model(copy.deepcopy(model), path, save_as_external_data=True, location=weights.name)
    written = onnx.load(path, load_external_data=False)
    for tensor in written.graph.initializer:
        for entry in tensor.external_data:
            entry.value = changes.get(entry.key, entry.value)
    onnx.save(written, path)


@pytest.mark.parametrize(
    "changes",
    [
        {"location": "/etc/passwd"},
        {"location": "../../../../../../etc/passwd"},
        {"location": "x" * 5000},
        {"location": ""},
        {"offset": "-1"},
        {"offset": "x"},
        {"length": str(10**15)},
    ],
)
def test_weights_that_lie_elsewhere_are_refused_in_one_sentence(
    tiny_voice: Path, tmp_path: Path, changes: dict[str, str]
) -> None:
    path = tmp_path / "v.onnx"
    shutil.copy(f"{tiny_voice}.json", f"{path}.json")
    save_apart(path, onnx.load(tiny_voice), changes)
    assert speak(path).startswith(str(path))
    with pytest.raises(PiperError, match="cannot be read"):
        load_voice_weights(path)


def test_a_voice_whose_weights_have_two_names_speaks_by_its_own_graph(
    tiny_voice: Path, tmp_path: Path
) -> None:
    # The package onnx reads no hard links; ONNX Runtime does, and links save room on disks.
    path = tmp_path / "v.onnx"
    shutil.copy(f"{tiny_voice}.json", f"{path}.json")
    save_apart(path, onnx.load(tiny_voice), {})
    os.link(path.with_suffix(".bin"), tmp_path / "other.bin")
    assert not speak(path)


def test_damaged_graphs_are_refused_in_one_sentence(
    tiny_voice: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "v.onnx"
    shutil.copy(f"{tiny_voice}.json", f"{path}.json")
    sound = tiny_voice.read_bytes()

    @settings(max_examples=15, **REPEATABLE)
    @given(st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=4))))
    def try_one(changes: list[tuple[float, bytes]]) -> None:
        content = bytearray(sound)
        for where, new in changes:
            # Names and shapes lie at the beginning more than elsewhere.
            start = int(where**3 * len(content))
            content[start : start + len(new)] = new
        path.write_bytes(content)
        speak(path)

    try_one()
    # ONNX Runtime's own words, and its second try, would stand in the sound of `--output-raw`.
    assert capfd.readouterr() == ("", "")
