"""Take updates with a compiled and with a plain generator; print how far the losses differ.

Run in a process of its own, because what torch.compile has made stays for the process.
"""

from __future__ import annotations

import logging
import sys

import torch

from piper.train.data.batches import Batch
from piper.train.presets import create_network_config
from piper.train.steps import compilation, gan
from piper.train.steps.gan import GanStep
from piper.train.vits.discriminators import Discriminator
from piper.train.vits.network import VitsSynthesizer


def create_step() -> GanStep:
    config = create_network_config(
        "tiny",
        hidden_channels=16,
        inter_channels=16,
        filter_channels=16,
        n_layers=1,
        upsample_initial_channel=16,
        upsample_rates=(16, 16),
        upsample_kernel_sizes=(16, 16),
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1,),),
        discriminator_channels=16,
    )
    torch.manual_seed(1)
    generator, judges = VitsSynthesizer(config), Discriminator(config.discriminator_channels)
    return GanStep(generator, list(judges.discriminators), config, gan.USUAL_WEIGHTS)


def create_batch(step: GanStep, number: int) -> Batch:
    """Batches differ in all sizes, as those of a dataset do."""
    random = torch.Generator().manual_seed(number)
    size, phonemes, frames = 3 + number % 2, 9 + number, 40 + 2 * number
    hop = step.config.hop_length
    return Batch(
        ids=torch.randint(1, 99, (size, phonemes), generator=random),
        id_lengths=torch.full((size,), phonemes),
        spectrograms=torch.rand(size, step.config.spec_channels, frames, generator=random),
        spectrogram_lengths=torch.full((size,), frames),
        audio=torch.rand(size, 1, frames * hop, generator=random) - 0.5,
        audio_lengths=torch.full((size,), frames * hop),
        speaker_ids=None,
        segment_frames=step.config.segment_frames,
    )


def take_updates(step: GanStep, count: int) -> torch.Tensor:
    """The losses of all updates, (count, names)."""
    networks = [step.generator, *step.discriminators]
    optimizer = torch.optim.AdamW([p for net in networks for p in net.parameters()], lr=1e-3)
    losses = []
    for number in range(count):
        torch.manual_seed(number)
        optimizer.zero_grad()
        named = step.backward(create_batch(step, number))
        optimizer.step()
        losses.append(torch.stack([named[name] for name in sorted(named)]))
    return torch.stack(losses)


def main() -> None:
    logging.basicConfig()
    count = int(sys.argv[1])
    plain = take_updates(create_step(), count)
    step = create_step()
    compilation.compile_generator(step.generator)
    compiled = take_updates(step, count)
    print(f"largest difference {float(((compiled - plain) / plain).abs().max()):g}")


if __name__ == "__main__":
    main()
