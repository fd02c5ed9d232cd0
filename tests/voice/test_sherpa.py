"""What sherpa-onnx wants: metadata in the model, and its list of tokens."""

from __future__ import annotations

from onnx import ModelProto

from piper.config import VoiceConfig
from piper.voice.sherpa import add_sherpa_metadata, tokens_text


def create_config() -> VoiceConfig:
    return VoiceConfig(
        num_symbols=10,
        num_speakers=2,
        sample_rate=16000,
        espeak_voice="en-us",
        phoneme_id_map={"_": [0], "^": [1], " ": [3], "ts": [4], "\n": [5], "ʃ": [6], "x": []},
        language={"code": "en_US", "name_english": "English"},
    )


def test_the_metadata_is_what_sherpa_reads() -> None:
    model = ModelProto()
    model.metadata_props.add(key="piper_graph", value="{}")
    model.metadata_props.add(key="voice", value="de")
    add_sherpa_metadata(model, create_config(), "en_US-two-low")
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "piper_graph": "{}",
        "model_type": "vits",
        "comment": "piper",
        "language": "English",
        "voice": "en-us",
        "has_espeak": "1",
        "n_speakers": "2",
        "sample_rate": "16000",
        "name": "en_US-two-low",
    }


def test_tokens_are_lines_of_single_code_points() -> None:
    assert tokens_text(create_config()) == "_ 0\n^ 1\n  3\nʃ 6\n"
