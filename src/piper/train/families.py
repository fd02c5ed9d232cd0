"""The families of networks, as all who speak with them or write them see them: VITS, quick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from piper.errors import ExportError
from piper.train.presets import NetworkShape
from piper.train.quick.config import QuickConfig
from piper.train.quick.network import NO_PAD, QuickSynthesizer
from piper.train.vits.network import VitsSynthesizer
from piper.voice.graph import QuickDecoder, build_graph
from piper.voice.graph_config import GraphConfig, is_spoken_with
from piper.voice.graph_quick import QuickGraphConfig, build_quick_graph, excitation_noise
from piper.voice.session import PartsSession, SpeechSettings


@dataclass(frozen=True)
class Spoken:
    """A sentence as a network spoke it.

    Attributes:
        audio: (S,) float32.
        durations: (P,) int64 frames of each id.
        f0: (T,) hertz, where the network knows it.
    """

    audio: Tensor
    durations: Tensor
    f0: Tensor | None = None


def create_network(config: NetworkShape) -> nn.Module:
    """Return a network of this shape, with random weights."""
    return QuickSynthesizer(config) if isinstance(config, QuickConfig) else VitsSynthesizer(config)


def is_needed_to_speak(name: str, config: NetworkShape) -> bool:
    """Return whether a voice has this weight; what serves training alone has none."""
    return isinstance(config, QuickConfig) or is_spoken_with(name)


@dataclass(frozen=True)
class KeptText:
    """The text side of a VITS voice that a copy keeps.

    Attributes:
        weights: The voice's, named as in a checkpoint without `model_g.`, of the speakers that are
            kept.
        config: Its network's shape.
        session: Speaks as that voice.
        speakers: Numbers there of the speakers that are kept.
    """

    weights: Mapping[str, npt.NDArray[Any]]
    config: GraphConfig
    session: PartsSession
    speakers: Sequence[int]


def build_voice_graph(network: Any, kept: KeptText | None = None) -> Any:
    """Return a network as the ONNX graph of a voice.

    Raises:
        ExportError: It needs the text side of another voice, which is not given.
    """
    weights = {key: value.cpu().numpy() for key, value in network.state_dict().items()}
    config = network.config
    if isinstance(config, QuickConfig):
        if not config.kept_latents:
            return build_quick_graph(weights, _graph_config(network))
        if kept is None:
            raise ExportError(
                "This is the decoder of a copy that keeps the text side of its original; the "
                "command that made it, python -m piper.train copy … --keep text, exports it."
            )
        decoder = QuickDecoder(weights, _graph_config(network))
        return build_graph(kept.weights, kept.config, decoder=decoder)
    return build_graph(
        weights,
        GraphConfig.from_weights(
            weights,
            sample_rate=config.sample_rate,
            upsample_rates=config.upsample_rates,
            resblock_dilation_sizes=config.resblock_dilation_sizes,
        ),
    )


def _graph_config(network: QuickSynthesizer) -> QuickGraphConfig:
    config = network.config
    return QuickGraphConfig(
        config.sample_rate,
        config.decoder_filter_length,
        config.hop_length,
        None if int(network.pad_id) == NO_PAD else int(network.pad_id),
        num_speakers=config.num_speakers,
    )


def speak(
    network: Any,
    ids: Tensor,
    speaker_id: int | None = None,
    *,
    noise_scale: float = 0.667,
    length_scale: float = 1.0,
    noise_w_scale: float = 0.8,
    seed: int | None = None,
    max_frames: int | None = None,
    kept: KeptText | None = None,
) -> Spoken:
    """Speak a sentence by a network in evaluation mode.

    Args:
        network: Of any family.
        ids: (P,) int64 on the network's device.
        speaker_id: None where there is one speaker.
        noise_scale: Factor on the noise of the sound.
        length_scale: Factor on durations.
        noise_w_scale: Factor on the noise of durations.
        seed: Of all noise; None takes torch's own generator.
        max_frames: Frames of the longest sentence; what would follow is left out.
        kept: The text side that the network lacks, whose first speaker speaks.

    Raises:
        RuntimeError: The network cannot, because its durations are no numbers or memory is full.
    """
    config: NetworkShape = network.config
    is_quick = isinstance(config, QuickConfig)
    speaker = None
    if config.num_speakers > 1:
        speaker = torch.tensor([speaker_id or 0], dtype=torch.long, device=ids.device)
    generator = None
    if seed is not None:
        generator = torch.Generator("cpu" if is_quick else ids.device).manual_seed(seed)
    options: dict[str, Any] = {
        "noise_scale": noise_scale,
        "length_scale": length_scale,
        "noise_w_scale": noise_w_scale,
        "max_frames": max_frames,
        "generator": generator,
    }
    if is_quick:
        hiss = torch.from_numpy(excitation_noise(_graph_config(network))).to(ids.device)
        if kept is not None:
            settings = SpeechSettings(
                noise_scale, length_scale, noise_w_scale, {kept.speakers[0]: 1.0}
            )
            rng = np.random.default_rng(seed)
            latents, durations = kept.session.find_latents(ids.tolist(), settings, rng)
            z = torch.from_numpy(latents.T[None]).to(ids.device)
            audio, f0 = network.decode_kept(z, hiss, speaker)
            return Spoken(audio.float(), torch.from_numpy(durations), f0)
        spoken = network.infer(ids[None], speaker, hiss=hiss, **options)
        return Spoken(spoken.audio.float(), spoken.durations, spoken.f0)
    lengths = torch.tensor([len(ids)], dtype=torch.long, device=ids.device)
    result = network.infer(ids[None], lengths, speaker, **options)
    return Spoken(result.audio[0, 0].float(), result.durations.reshape(-1).round().long())
