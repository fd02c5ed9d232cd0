from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from piper.train.vits.config import NetworkConfig
from piper.train.vits.discriminators import Discriminator
from piper.train.vits.durations import transform_by_spline
from piper.train.vits.layers import (
    WeightNormConv1d,
    WeightNormConvTranspose1d,
    cut_segments,
    place_segments,
)
from piper.train.vits.network import TrainingOutput, VitsSynthesizer

TINY: dict[str, Any] = {
    "num_symbols": 20,
    "resblock_kernel_sizes": (3,),
    "resblock_dilation_sizes": ((1, 2),),
    "upsample_initial_channel": 16,
    "inter_channels": 8,
    "hidden_channels": 16,
    "filter_channels": 16,
    "n_layers": 2,
    "p_dropout": 0.0,
    "segment_size": 2048,
}
# the first utterance is shorter than a segment of 8 frames, and has one frame a phoneme
ID_LENGTHS = torch.tensor([5, 9])
FRAME_LENGTHS = torch.tensor([5, 20])


def create_network(**changes: Any) -> VitsSynthesizer:
    torch.manual_seed(0)
    return VitsSynthesizer(NetworkConfig(**{**TINY, **changes}))


def make_batch(frames: int = 20) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 20, (2, 9), generator=generator)
    spectrogram = torch.rand(2, 513, frames, generator=generator)
    return ids, ID_LENGTHS, spectrogram, FRAME_LENGTHS.clamp(max=frames)


def list_tensors(output: TrainingOutput) -> dict[str, torch.Tensor]:
    values = {**vars(output.posterior), **vars(output.match), **vars(output)}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def sum_losses(output: TrainingOutput) -> torch.Tensor:
    """All paths of gradients: decoder, KL and durations."""
    match, own = output.match, output.posterior
    distance = (match.z_p - match.m_p).square() * torch.exp(-2.0 * match.logs_p)
    kl = (match.logs_p - own.logs_q - 0.5 + 0.5 * distance) * own.frame_mask
    target = torch.linspace(-1.0, 1.0, output.audio.shape[2])
    return (output.audio - target).square().mean() + kl.mean() + output.duration_loss.mean()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_sdp": False},
        {"num_speakers": 3, "gin_channels": 6},
        {"num_speakers": 3, "use_sdp": False, "gin_channels": 6},
        {"resblock": "1", "upsample_rates": (8, 32), "upsample_kernel_sizes": (16, 64)},
    ],
)
def test_every_parameter_learns(changes: dict[str, Any]) -> None:
    network = create_network(**changes).train()
    speakers = torch.tensor([0, 2]) if "num_speakers" in changes else None
    output = network(*make_batch(), speakers)
    assert output.audio.shape == (2, 1, 2048)
    assert output.duration_loss.shape == (2,)
    assert torch.equal(output.match.path.sum((1, 2)), FRAME_LENGTHS.float())
    assert output.segment_starts[0] == 0
    sum_losses(output).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_whole_batch_shorter_than_a_segment() -> None:
    """Latents are padded as recordings are: short clips must not crash late in training."""
    output = create_network().train()(*make_batch(frames=6))
    assert output.audio.shape == (2, 1, 2048)
    sum_losses(output).backward()


def test_a_few_steps_reduce_the_loss() -> None:
    network = create_network().eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        output = network(*make_batch(), generator=torch.Generator().manual_seed(2))
        loss = sum_losses(output)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


def test_fixed_generator_gives_equal_results() -> None:
    network = create_network().eval()
    outputs = []
    for seed in (5, 5, 6):
        generator = torch.Generator().manual_seed(seed)
        outputs.append(network(*make_batch(), generator=generator))
    first, same, other = outputs
    for name, values in list_tensors(first).items():
        assert torch.equal(values, list_tensors(same)[name]), name
    assert not torch.equal(first.posterior.z, other.posterior.z)


def test_given_segment_starts_are_used() -> None:
    network = create_network().eval()
    starts = torch.tensor([0, 12])
    output = network(*make_batch(), segment_starts=starts)
    assert torch.equal(output.segment_starts, starts)
    wanted = network.dec(torch.stack([output.posterior.z[0, :, :8], output.posterior.z[1, :, 12:]]))
    torch.testing.assert_close(output.audio, wanted)


def test_padding_does_not_change_an_utterance() -> None:
    network = create_network().eval()
    ids, id_lengths, spectrogram, frame_lengths = make_batch()
    together = network.infer(ids, id_lengths, noise_scale=0.0, noise_w_scale=0.0)
    alone = network.infer(ids[:1, :5], id_lengths[:1], noise_scale=0.0, noise_w_scale=0.0)
    torch.testing.assert_close(together.durations[:1, :5], alone.durations)
    trained = network(ids, id_lengths, spectrogram, frame_lengths)
    short = network(ids[:1, :5], id_lengths[:1], spectrogram[:1, :, :5], frame_lengths[:1])
    torch.testing.assert_close(trained.posterior.m_q[:1, :, :5], short.posterior.m_q)
    torch.testing.assert_close(trained.match.m_p[:1, :, :5], short.match.m_p)


def test_bfloat16_autocast_is_finite_and_near() -> None:
    network = create_network().train()
    plain = network(*make_batch(), generator=torch.Generator().manual_seed(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(*make_batch(), generator=torch.Generator().manual_seed(3))
        scores = Discriminator()(mixed.audio)
    for name in ("audio", "z", "z_p", "m_p", "logs_p", "m_q", "logs_q", "duration_loss"):
        values = list_tensors(mixed)[name]
        assert values.dtype == torch.float32, name
        assert values.isfinite().all(), name
    assert all(features[-1].isfinite().all() for features in scores)
    torch.testing.assert_close(mixed.posterior.m_q, plain.posterior.m_q, atol=0.05, rtol=0.05)
    sum_losses(mixed).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("use_sdp", [True, False])
def test_infer_of_several_speakers(use_sdp: bool) -> None:
    network = create_network(num_speakers=3, gin_channels=6, use_sdp=use_sdp).eval()
    ids, id_lengths, _, _ = make_batch()
    generator = torch.Generator().manual_seed(1)
    output = network.infer(ids, id_lengths, torch.tensor([0, 2]), generator=generator)
    frames = output.frame_mask.shape[2]
    assert output.audio.shape == (2, 1, frames * 256)
    assert torch.equal(output.durations.sum(1), output.frame_mask.sum((1, 2)))
    assert output.alignment.shape == (2, 1, frames, 9)
    with pytest.raises(ValueError, match="speaker_ids are missing"):
        network.infer(ids, id_lengths)


def test_infer_can_be_cut_and_has_at_least_a_frame() -> None:
    network = create_network().eval()
    ids, id_lengths, _, _ = make_batch()
    assert network.infer(ids, id_lengths, max_frames=3).audio.shape == (2, 1, 3 * 256)
    assert network.infer(ids, id_lengths, length_scale=0.0).audio.shape == (2, 1, 256)


def test_longer_length_scale_is_slower() -> None:
    network = create_network().eval()
    ids, id_lengths, _, _ = make_batch()
    frames = [
        network.infer(ids, id_lengths, noise_w_scale=0.0, length_scale=scale).durations.sum()
        for scale in (1.0, 3.0)
    ]
    assert frames[1] > frames[0]


def test_segments_beyond_the_end_are_zero() -> None:
    x = torch.arange(1.0, 7.0).view(1, 1, 6).repeat(2, 1, 1)
    segments = cut_segments(x, torch.tensor([0, 4]), 4)
    assert segments[:, 0].tolist() == [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 0.0, 0.0]]
    assert cut_segments(x, torch.tensor([0, 0]), 8)[0, 0].tolist() == [*range(1, 7), 0, 0]


def test_starts_are_uniform_over_what_fits() -> None:
    lengths = torch.tensor([3, 8, 10]).repeat_interleave(3000)
    drawn = torch.rand(9000, generator=torch.Generator().manual_seed(0))
    starts = place_segments(lengths, 8, drawn).view(3, 3000)
    assert (starts[:2] == 0).all()
    counts = torch.bincount(starts[2])
    assert counts.shape == (3,)
    assert counts.min() > 900


def test_spline_inverts_and_states_its_slope() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.linspace(-6.0, 6.0, 200, dtype=torch.float64, requires_grad=True)
    sizes = torch.randn(200, 2, 10, generator=generator, dtype=torch.float64)
    slopes = torch.randn(200, 9, generator=generator, dtype=torch.float64)
    y, log_slope = transform_by_spline(x, sizes, slopes, bound=5.0)
    back, log_slope_back = transform_by_spline(y, sizes, slopes, bound=5.0, is_inverse=True)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(log_slope_back, -log_slope)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient.log(), log_slope)
    assert (y[x.abs() > 5.0] == x[x.abs() > 5.0]).all()


def test_gradients_of_the_spline_are_those_of_its_differences() -> None:
    """They are written out, so that torch's own cannot vouch for them."""
    generator = torch.Generator().manual_seed(1)
    x = 7.0 * torch.rand(12, generator=generator, dtype=torch.float64) - 3.5
    sizes = torch.randn(12, 2, 4, generator=generator, dtype=torch.float64)
    slopes = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (x, sizes, slopes)]
    assert torch.autograd.gradcheck(
        lambda *given: transform_by_spline(*given, bound=3.0), inputs, atol=1e-6
    )


def test_weights_are_normalised_over_all_axes_but_the_first() -> None:
    torch.manual_seed(0)
    pairs = (
        (WeightNormConv1d(4, 6, 5, padding=2, groups=2), nn.Conv1d(4, 6, 5, padding=2, groups=2)),
        (
            WeightNormConvTranspose1d(4, 2, 16, stride=8, padding=4),
            nn.ConvTranspose1d(4, 2, 16, stride=8, padding=4),
        ),
    )
    for normed, plain in pairs:
        nn.init.uniform_(normed.weight_g, 0.5, 2.0)
        weight = normed.weight_g * normed.weight_v / normed.weight_v.norm(dim=(1, 2), keepdim=True)
        plain.load_state_dict({"weight": weight, "bias": normed.bias})
        x = torch.randn(1, 4, 30)
        torch.testing.assert_close(plain(x), normed(x))


def test_training_copies_nothing_to_the_host() -> None:
    """Meta tensors have no values, so that any look at one raises."""
    with torch.device("meta"):
        network = VitsSynthesizer(NetworkConfig(**TINY, num_speakers=3)).train()
    batch = [tensor.to("meta") for tensor in make_batch()]
    output = network(*batch, torch.tensor([0, 2], device="meta"))
    assert output.audio.shape == (2, 1, 2048)
    (output.audio.sum() + output.match.z_p.sum() + output.duration_loss.sum()).backward()
