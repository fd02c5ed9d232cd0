"""What sherpa-onnx wants of a voice: metadata in the model, and a list of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from piper.config import PhonemeType, VoiceConfig
from piper.voice.graph_writer import set_metadata

if TYPE_CHECKING:
    import onnx


def add_sherpa_metadata(model: onnx.ModelProto, voice_config: VoiceConfig, name: str) -> None:
    """Store in a model, in place, what sherpa-onnx reads there."""
    language = str(voice_config.language.get("name_english") or voice_config.espeak_voice)
    set_metadata(
        model,
        {
            "model_type": "vits",
            "comment": "piper",
            "language": language,
            "voice": voice_config.espeak_voice,
            "has_espeak": "1" if voice_config.phoneme_type is PhonemeType.ESPEAK else "0",
            "n_speakers": str(voice_config.num_speakers),
            "sample_rate": str(voice_config.sample_rate),
            "name": name,
        },
    )


def tokens_text(config: VoiceConfig) -> str:
    """Return the text of sherpa-onnx's `tokens.txt`: one line `symbol id` a phoneme.

    Symbols of several code points are left out, because sherpa-onnx stops at them, and so are
    line breaks, which the format cannot hold.
    """
    lines = [
        f"{symbol} {ids[0]}\n"
        for symbol, ids in config.phoneme_id_map.items()
        if len(symbol) == 1 and symbol not in "\r\n" and ids
    ]
    return "".join(lines)
