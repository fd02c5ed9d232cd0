"""A checkpoint becomes a voice: ONNX, its JSON, metadata for sherpa-onnx, and a self-test.

The graph is built from named weights by `piper.voice.graph`, so that no exporter of torch's stands
between network and voice; what was built is then run against the network it came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from piper.config import VoiceConfig, load_voice_config
from piper.errors import ConfigError, ExportError
from piper.files import refuse_overwriting, replace_on_success, sync_file
from piper.languages import describe_language
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.frontend import create_frontend
from piper.train.checkpoints import (
    AVERAGES_KEY,
    VOICE_CONFIG_KEY,
    find_checkpoint,
    fit_weights,
    load_checkpoint,
    network_config_from_checkpoint,
)
from piper.train.families import (
    KeptText,
    build_voice_graph,
    create_network,
    is_needed_to_speak,
    speak,
)
from piper.train.presets import NetworkShape, find_quality
from piper.train.warm_start import find_json_places
from piper.voice.graph import MAX_KEPT_DIFFERENCE
from piper.voice.session import SpeechSettings, VoiceSession
from piper.voice.sherpa import add_sherpa_metadata, tokens_text

MAX_DIFFERENCE = 1e-3
"""Largest difference between a sample of the network and one of the voice, without noise."""

MIN_PEAK = 1e-6
"""Sound that is softer, or deviates less, is none: 120 dB below full scale."""

MAX_SATURATED = 0.25
"""Share of samples at full scale: speech has none, a damaged network little else."""


@dataclass(frozen=True)
class ExportReport:
    """What an export made.

    Attributes:
        model_path: The ONNX file.
        config_path: Its JSON; None where the checkpoint's is not to be found.
        tokens_path: Symbols and ids for sherpa-onnx; None likewise.
        difference: Largest difference of a sample between network and voice.
        seconds: Length of the audio that they were compared on.
        source: Where the JSON was found, if neither the checkpoint nor the caller gave it.
    """

    model_path: Path
    config_path: Path | None
    tokens_path: Path | None
    difference: float
    seconds: float
    source: str = ""


def export_voice(
    checkpoint_path: Path | str,
    output_path: Path | str,
    config_path: Path | str | None = None,
    *,
    use_averages: bool = True,
    espeak_voice: str | None = None,
    kept: KeptText | None = None,
) -> ExportReport:
    """Write a checkpoint as a voice.

    Args:
        checkpoint_path: Checkpoint of this or an older trainer, here or at s3://… and the like; of
            a run's folder the newest.
        output_path: The ONNX file to write; `<output>.json` and `tokens.txt` go beside it, where
            the voice's JSON is known.
        config_path: The voice's JSON, for checkpoints that do not carry it. Without one it is
            looked for beside the checkpoint, above it, and where the checkpoint says that its
            dataset was.
        use_averages: Take the moving averages of the weights, where the checkpoint has them.
        espeak_voice: espeak-ng's voice that it was trained with, for a checkpoint without a JSON
            that was trained on Piper's own phonemes.
        kept: The text side of the voice that the checkpoint's is a copy of, where it keeps that.
    """
    checkpoint_path, output_path = find_checkpoint(checkpoint_path), Path(output_path)
    config_out = output_path.with_name(output_path.name + ".json")
    refuse_overwriting(
        {"--output-file": output_path, "JSON": config_out},
        {"--checkpoint": checkpoint_path, "--config": config_path},
    )
    checkpoint = load_checkpoint(checkpoint_path)
    network_config = network_config_from_checkpoint(checkpoint, checkpoint_path)
    knows_rate = "sample_rate" in checkpoint["hyper_parameters"]
    config, source = _find_voice_config(
        checkpoint, checkpoint_path, config_path, espeak_voice, network_config
    )
    if config is not None and not knows_rate:
        network_config = replace(network_config, sample_rate=config.sample_rate)
    network = load_network(checkpoint, network_config, checkpoint_path, use_averages=use_averages)
    model = build_voice_graph(network, kept)
    if config is not None:
        add_sherpa_metadata(model, config, output_path.stem)

    with replace_on_success(output_path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        difference, seconds = _test_voice(
            temporary, network, config, checkpoint_path, output_path, kept
        )
        sync_file(temporary)
        # The JSON first: a voice without one cannot speak, a JSON alone harms nobody.
        if config is None:
            return ExportReport(output_path, None, None, difference, seconds)
        text = json.dumps(config.to_dict(), ensure_ascii=False, indent=2)
        _write_text(config_out, text + "\n")
        tokens_out = _tokens_path(output_path, tokens_text(config))
        _write_text(tokens_out, tokens_text(config))
    return ExportReport(output_path, config_out, tokens_out, difference, seconds, source)


def _find_voice_config(
    checkpoint: Mapping[str, Any],
    checkpoint_path: str,
    config_path: Path | str | None,
    espeak_voice: str | None,
    network: NetworkShape,
) -> tuple[VoiceConfig | None, str]:
    """Return the voice's JSON, and where it was found if nobody gave it."""
    carried, config = checkpoint.get(VOICE_CONFIG_KEY), None
    if config_path is not None:
        config = load_voice_config(config_path)
    elif carried is not None:
        config = VoiceConfig.from_dict(carried, f"{checkpoint_path} ({VOICE_CONFIG_KEY})")
    if config is not None:
        if difference := _find_difference(config, network, checkpoint):
            name, said, real = difference
            raise ExportError(
                f"The voice's JSON says {name} {said}, but {checkpoint_path} was trained with "
                f"{real}; give the JSON that belongs to it as --config."
            )
        return (replace(config, espeak_voice=espeak_voice) if espeak_voice else config), ""
    if espeak_voice:
        speakers = range(network.num_speakers) if network.num_speakers > 1 else ()
        config = VoiceConfig(
            num_symbols=network.num_symbols,
            num_speakers=network.num_speakers,
            sample_rate=network.sample_rate,
            espeak_voice=espeak_voice,
            phoneme_id_map=DEFAULT_PHONEME_ID_MAP,
            speaker_id_map={str(number): number for number in speakers},
            hop_length=network.hop_length,
            quality=find_quality(network) or "",
            language=describe_language(espeak_voice),
        )
        create_frontend(config)  # an unknown voice is told here
        return config, ""
    for place in find_json_places(checkpoint, checkpoint_path):
        try:
            config = load_voice_config(place)
        except ConfigError:
            continue
        if _find_difference(config, network, checkpoint) is None:
            return config, str(place)
    return None, ""


def _find_difference(
    config: VoiceConfig, network: NetworkShape, checkpoint: Mapping[str, Any]
) -> tuple[str, int, int] | None:
    """Return name, what a voice's JSON says, and what the network is, where they differ."""
    keys = ["num_symbols", "num_speakers"]
    keys += ["sample_rate"] if "sample_rate" in checkpoint["hyper_parameters"] else []
    pairs = ((key, getattr(config, key), getattr(network, key)) for key in keys)
    return next((pair for pair in pairs if pair[1] != pair[2]), None)


def _test_voice(
    model_path: Path,
    network: Any,
    config: VoiceConfig | None,
    checkpoint_path: str,
    output_path: Path,
    kept: KeptText | None,
) -> tuple[float, float]:
    """Speak by the voice and by the network it came from; return difference and seconds."""
    map_ids = [i for ids in config.phoneme_id_map.values() for i in ids] if config else []
    audio, difference = compare_with_network(VoiceSession(model_path), network, map_ids, kept)
    if problem := _find_no_sound(audio):
        raise ExportError(
            f"The voice of {checkpoint_path} gives {problem}, so {output_path} was not written: "
            "its weights are damaged, or its training went wrong; export another checkpoint."
        )
    most = MAX_DIFFERENCE if kept is None else MAX_KEPT_DIFFERENCE
    if not difference <= most:
        raise ExportError(
            f"Voice and network differ by {difference:.2g} in a sample (at most "
            f"{most:g} is allowed), so {output_path} was not written; please "
            "report it with the checkpoint."
        )
    return difference, len(audio) / network.config.sample_rate


def _find_no_sound(audio: npt.NDArray[np.float32]) -> str | None:
    """Return what a voice gives in place of sound; None where it gives sound."""
    if not np.isfinite(audio).all():
        return "samples that are not finite"
    if np.abs(audio).max(initial=0.0) < MIN_PEAK:
        return "silence"
    if float(audio.std()) < MIN_PEAK:
        return "a constant"
    if float((np.abs(audio) > 0.99).mean()) > MAX_SATURATED:
        return "samples at full scale throughout"
    return None


def load_network(
    checkpoint: Mapping[str, Any],
    config: NetworkShape,
    path: str = "The checkpoint",
    *,
    use_averages: bool = True,
) -> Any:
    """Return a checkpoint's network, ready to speak."""
    network = create_network(config)
    weights = {
        name.removeprefix("model_g."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("model_g.")
    }
    if use_averages:
        weights |= (checkpoint.get(AVERAGES_KEY) or {}).get("weights", {})
    fitted, report = fit_weights(weights, network.state_dict())
    missing = [name for name in report.missing if is_needed_to_speak(name, config)]
    if missing or report.other_shape:
        raise ExportError(f"{path} is no voice that can be exported: {report}")
    network.load_state_dict(fitted)
    return network.eval()


def compare_with_network(
    session: VoiceSession, network: Any, map_ids: Sequence[int], kept: KeptText | None = None
) -> tuple[npt.NDArray[np.float32], float]:
    """Speak a sentence without noise by both.

    A duration whose value lies within rounding of a whole number may go either way; such a
    sentence says nothing about the graph, so the next one is tried.

    Returns:
        What the voice spoke, (S,) float32, and the largest difference of a sample, infinite where
        the lengths differ in every sentence.
    """
    audio = np.zeros(0, np.float32)
    sentences = _test_ids(map_ids, network.config.num_symbols)
    # An untrained network gives each id exactly one frame: of 1.1 none is within rounding.
    for ids, scale in zip(sentences, (1.1, 1.0, 1.2), strict=True):
        scales: dict[str, Any] = {"noise_scale": 0.0, "length_scale": scale, "noise_w_scale": 0.0}
        with torch.no_grad():
            real = speak(network, torch.tensor(ids, dtype=torch.long), kept=kept, **scales)
        output = session.run(ids, SpeechSettings(**scales))
        audio, frames = output.audio, output.durations_frames
        is_alike = frames is None or np.array_equal(frames, real.durations.numpy())
        if len(real.audio) == len(audio) and is_alike:
            return audio, float(np.abs(real.audio.numpy() - audio).max(initial=0.0))
    return audio, float("inf")


def _test_ids(map_ids: Sequence[int], num_symbols: int) -> Iterator[list[int]]:
    """Give sentences of ids that mean something: of the map, with pauses as all voices have them.

    No text is needed for that, whose letters a map may lack.
    """
    known = sorted({i for i in map_ids if 0 < i < num_symbols}) or list(range(1, num_symbols))
    rng = np.random.default_rng(0)
    for length in (40, 30, 20):
        chosen = rng.choice(known, length).tolist()
        yield [value for i in chosen for value in (i, 0)]


def _tokens_path(output_path: Path, tokens: str) -> Path:
    """Return `tokens.txt` beside the voice, or a name of its own where another voice's lies."""
    path = output_path.with_name("tokens.txt")
    if path.exists() and path.read_text(encoding="utf-8") != tokens:
        return output_path.with_name(output_path.stem + ".tokens.txt")
    return path


def _write_text(path: Path, text: str) -> None:
    with replace_on_success(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
