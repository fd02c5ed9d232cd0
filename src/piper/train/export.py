"""A checkpoint becomes a voice: ONNX, its JSON, metadata for sherpa-onnx, and a self-test.

The graph is built from named weights by `piper.voice.graph`, so that no exporter of torch's stands
between network and voice; what was built is then run against the network it came from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from piper.atomic import refuse_overwriting, replace_on_success
from piper.config import VoiceConfig, load_voice_config
from piper.errors import ExportError
from piper.text.frontend import create_frontend
from piper.train.checkpoints.checkpoint import (
    AVERAGES_KEY,
    VOICE_CONFIG_KEY,
    fit_weights,
    load_checkpoint,
    network_config_from_checkpoint,
)
from piper.train.checkpoints.last import find_checkpoint
from piper.train.vits.config import NetworkConfig
from piper.train.vits.synthesizer import Synthesizer
from piper.voice.graph import build_graph
from piper.voice.graph_config import GraphConfig
from piper.voice.graph_folding import is_spoken_with
from piper.voice.metadata import add_sherpa_metadata, tokens_text
from piper.voice.session import VoiceSession

MAX_DIFFERENCE = 1e-3
"""Largest difference between a sample of the network and one of the voice, without noise."""

_TEST_SENTENCES = {
    "ru": ("Привет, это тест.", "Сегодня хорошая погода.", "Как вас зовут?"),
    "": ("Hello, this is a test.", "1, 2, 3.", "Good morning!"),
}


@dataclass(frozen=True)
class ExportReport:
    """What an export made.

    Attributes:
        model_path: The ONNX file.
        config_path: Its JSON.
        tokens_path: Symbols and ids for sherpa-onnx.
        difference: Largest difference of a sample between network and voice.
        seconds: Length of the audio that they were compared on.
    """

    model_path: Path
    config_path: Path
    tokens_path: Path
    difference: float
    seconds: float


def export_voice(
    checkpoint_path: Path | str,
    output_path: Path | str,
    config_path: Path | str | None = None,
    *,
    use_averages: bool = True,
) -> ExportReport:
    """Write a checkpoint as a voice.

    Args:
        checkpoint_path: Checkpoint of this or an older trainer, here or at s3://… and the like; of
            a run's folder the newest.
        output_path: The ONNX file to write; `<output>.json` and `tokens.txt` go beside it.
        config_path: The voice's JSON, for checkpoints that do not carry it.
        use_averages: Take the moving averages of the weights, where the checkpoint has them.

    Raises:
        CheckpointError: The checkpoint cannot be read or is no voice's.
        ConfigError: The JSON is missing or broken.
        ExportError: Voice and network differ; nothing is then left behind.
    """
    checkpoint_path, output_path = find_checkpoint(checkpoint_path), Path(output_path)
    config_out = output_path.with_name(output_path.name + ".json")
    refuse_overwriting(
        {"--output-file": output_path, "--output-file (its JSON)": config_out},
        {"--checkpoint": checkpoint_path, "--config": config_path},
    )
    checkpoint = load_checkpoint(checkpoint_path)
    config = _find_voice_config(checkpoint, checkpoint_path, config_path)
    network_config = network_config_from_checkpoint(checkpoint, checkpoint_path)
    _check_config(config, network_config, checkpoint_path)
    network = load_network(checkpoint, network_config, use_averages=use_averages)
    model = _build_model(network, network_config, config, output_path.stem)

    tokens_out = _tokens_path(output_path, tokens_text(config))
    with replace_on_success(output_path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        difference, seconds = compare_with_network(VoiceSession(temporary), network, config)
        if not difference <= MAX_DIFFERENCE:
            raise ExportError(
                f"Voice and network differ by {difference:.2g} in a sample (at most "
                f"{MAX_DIFFERENCE:g} is allowed), so {output_path} was not written; please "
                "report it with the checkpoint."
            )
        # The JSON first: a voice without one cannot speak, a JSON alone harms nobody.
        _write_text(config_out, json.dumps(config.to_dict(), ensure_ascii=False, indent=2) + "\n")
        _write_text(tokens_out, tokens_text(config))
    return ExportReport(output_path, config_out, tokens_out, difference, seconds)


def _find_voice_config(
    checkpoint: Mapping[str, Any], checkpoint_path: str, config_path: Path | str | None
) -> VoiceConfig:
    if config_path is not None:
        return load_voice_config(config_path)
    carried = checkpoint.get(VOICE_CONFIG_KEY)
    if carried is not None:
        return VoiceConfig.from_dict(carried, f"{checkpoint_path} ({VOICE_CONFIG_KEY})")
    raise ExportError(
        f"{checkpoint_path} was written by another trainer and does not carry the voice's JSON: "
        "name the config.json that it was trained with as --config."
    )


def _check_config(config: VoiceConfig, network: NetworkConfig, path: str) -> None:
    pairs = (
        ("num_symbols", config.num_symbols, network.num_symbols),
        ("num_speakers", config.num_speakers, network.num_speakers),
        ("sample_rate", config.sample_rate, network.sample_rate),
    )
    for name, said, real in pairs:
        if said != real:
            raise ExportError(
                f"The voice's JSON says {name} {said}, but {path} was trained with {real}; "
                "give the JSON that belongs to it as --config."
            )


def load_network(
    checkpoint: Mapping[str, Any], config: NetworkConfig, *, use_averages: bool = True
) -> Synthesizer:
    """Return a checkpoint's network, ready to speak.

    Args:
        checkpoint: What was read; it may lack weights that serve training alone.
        config: Its network.
        use_averages: Take the moving averages of the weights, where it has them.

    Raises:
        ExportError: It lacks weights of a voice.
    """
    network = Synthesizer(config)
    weights = {
        name.removeprefix("model_g."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("model_g.")
    }
    if use_averages:
        weights |= (checkpoint.get(AVERAGES_KEY) or {}).get("weights", {})
    fitted, report = fit_weights(weights, network.state_dict())
    if any(map(is_spoken_with, report.missing)) or report.other_shape:
        raise ExportError(f"The checkpoint is no voice that can be exported: {report}")
    network.load_state_dict(fitted)
    return network.eval()


def _build_model(
    network: Synthesizer, network_config: NetworkConfig, config: VoiceConfig, name: str
) -> Any:
    weights = {key: value.numpy() for key, value in network.state_dict().items()}
    graph_config = GraphConfig.from_weights(
        weights,
        sample_rate=network_config.sample_rate,
        upsample_rates=network_config.upsample_rates,
        resblock_dilation_sizes=_dilations_a_block(network_config),
    )
    model = build_graph(weights, graph_config)
    add_sherpa_metadata(model, config, name)
    return model


def _dilations_a_block(config: NetworkConfig) -> Sequence[Sequence[int]]:
    return config.resblock_dilation_sizes


def compare_with_network(
    session: VoiceSession, network: Synthesizer, config: VoiceConfig
) -> tuple[float, float]:
    """Speak a sentence without noise by both.

    A duration whose value lies within rounding of a whole number may go either way; such a
    sentence says nothing about the graph, so the next one is tried.

    Returns:
        The largest difference of a sample, infinite where the lengths differ in every sentence,
        and the seconds of audio compared.
    """
    best = float("inf")
    seconds = 0.0
    for ids in _test_ids(config):
        real, durations = _speak_network(network, ids)
        output = session.run(
            ids, noise_scale=0.0, length_scale=1.0, noise_w_scale=0.0, speaker_id=0
        )
        if output.durations_frames is not None and not np.array_equal(
            output.durations_frames, durations
        ):
            continue
        if len(real) != len(output.audio):
            continue
        best = float(np.abs(real - output.audio).max(initial=0.0))
        seconds = len(real) / config.sample_rate
        break
    return best, seconds


def _test_ids(config: VoiceConfig) -> list[list[int]]:
    language = config.espeak_voice.split("-")[0]
    texts = _TEST_SENTENCES.get(language, _TEST_SENTENCES[""])
    frontend = create_frontend(config)
    sentences = [frontend.text_to_sentences(text)[0].ids for text in texts]
    known = [ids for ids in config.phoneme_id_map.values() if ids]
    # A voice of plain characters may know none of these letters; its own symbols always serve.
    sentences.append([i for ids in known[:40] for i in ids])
    return [ids for ids in sentences if len(ids) > 3]


def _speak_network(
    network: Synthesizer, ids: Sequence[int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    id_tensor = torch.tensor([list(ids)], dtype=torch.long)
    lengths = torch.tensor([id_tensor.shape[1]], dtype=torch.long)
    speaker: Tensor | None = None
    if network.config.num_speakers > 1:
        speaker = torch.zeros(1, dtype=torch.long)
    result = network.infer(
        id_tensor, lengths, speaker, noise_scale=0.0, length_scale=1.0, noise_w_scale=0.0
    )
    durations = result.durations.reshape(-1).round().long().numpy()
    return result.audio.reshape(-1).numpy(), durations


def _tokens_path(output_path: Path, tokens: str) -> Path:
    """Return `tokens.txt` beside the voice, or a name of its own where another voice's lies."""
    path = output_path.with_name("tokens.txt")
    if path.exists() and path.read_text(encoding="utf-8") != tokens:
        return output_path.with_name(output_path.stem + ".tokens.txt")
    return path


def _write_text(path: Path, text: str) -> None:
    with replace_on_success(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
