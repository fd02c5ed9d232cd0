"""Layers that are computed in another way than they are written down equal the plain way."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from piper.train.vits.discriminators import LEAK, PERIODS, PeriodDiscriminator
from piper.train.vits.encoders import (
    WINDOW,
    RelativeAttention,
    gate_and_mix,
    place_distances,
)
from piper.train.vits.layers import Dropout


def gate_and_mix_plainly(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    signal, gate = x.chunk(2, dim=2)
    return F.linear(torch.tanh(signal) * torch.sigmoid(gate), weight.squeeze(2), bias)


@pytest.mark.parametrize("parts", [1, 2])
def test_gate_and_its_gradients(parts: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 5, 8), (parts * 4, 4, 1), (parts * 4,))
    inputs = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]
    result, wanted = gate_and_mix(*inputs), gate_and_mix_plainly(*inputs)
    torch.testing.assert_close(result, wanted)
    direction = torch.randn(wanted.shape, generator=generator, dtype=wanted.dtype)
    torch.testing.assert_close(
        torch.autograd.grad(result, inputs, direction),
        torch.autograd.grad(wanted, inputs, direction),
    )
    assert torch.autograd.gradcheck(gate_and_mix, inputs)


def test_gate_under_autocast() -> None:
    """The signal is half precision there, and the weights are not."""
    x = torch.randn(2, 5, 8, requires_grad=True)
    weight, bias = torch.randn(4, 4, 1, requires_grad=True), torch.zeros(4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        result = gate_and_mix(x.bfloat16(), weight, bias)
    assert result.dtype == torch.bfloat16
    result.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == x.dtype
    plain = gate_and_mix_plainly(x, weight, bias)
    torch.testing.assert_close(result.float(), plain, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("period", PERIODS)
def test_columns_are_discriminated_as_torch_does(period: int) -> None:
    torch.manual_seed(period)
    discriminator = PeriodDiscriminator(period, widest=128).double()
    audio = torch.randn(2, 1, 1001, dtype=torch.float64, requires_grad=True)
    features = discriminator(audio)
    folded = F.pad(audio, (0, -1001 % period), mode="reflect").unflatten(2, (-1, period))
    x, wanted = folded, []
    for convolution in discriminator.convs:
        x = F.leaky_relu(convolution(x), LEAK)
        wanted.append(x)
    wanted.append(discriminator.conv_post(x).flatten(1))
    torch.testing.assert_close(features, wanted)
    inputs = (audio, *discriminator.parameters())
    losses = [sum(feature.square().mean() for feature in maps) for maps in (features, wanted)]
    got, want = (torch.autograd.grad(loss, inputs) for loss in losses)
    torch.testing.assert_close(got, want)


def attend_plainly(attention: RelativeAttention, x: Tensor, lengths: list[int]) -> list[Tensor]:
    """Row by row and distance by distance, each utterance without its padding."""
    results = []
    for row, length in enumerate(lengths):
        inner = x[row : row + 1, :, :length]
        query, key, value = (
            conv(inner)[0].view(attention.n_heads, attention.head_channels, length).mT
            for conv in (attention.conv_q, attention.conv_k, attention.conv_v)
        )
        distances = torch.arange(length) - torch.arange(length).unsqueeze(1) + WINDOW
        is_near = (distances >= 0) & (distances <= 2 * WINDOW)
        index = distances.clamp(0, 2 * WINDOW)
        near_keys, near_values = (
            emb[0][index] * is_near.unsqueeze(2)
            for emb in (attention.emb_rel_k, attention.emb_rel_v)
        )
        scores = torch.einsum("hic,hjc->hij", query, key)
        scores = scores + torch.einsum("hic,ijc->hij", query, near_keys)
        weights = torch.softmax(scores * attention.head_channels**-0.5, dim=2)
        output = torch.einsum("hij,hjc->hic", weights, value)
        output = output + torch.einsum("hij,ijc->hic", weights, near_values)
        results.append(attention.conv_o(output.mT.reshape(1, -1, length))[0])
    return results


def test_attention_and_its_gradients() -> None:
    torch.manual_seed(0)
    attention = RelativeAttention(8, 2, p_dropout=0.0).double()
    x = torch.randn(2, 8, 13, dtype=torch.float64, requires_grad=True)
    lengths = [13, 3]
    is_padding = torch.arange(13) >= torch.tensor(lengths).unsqueeze(1)
    penalty = -1e4 * is_padding[:, None, None].double()
    y = attention(x, penalty, place_distances(13, x.device))
    wanted = torch.cat(attend_plainly(attention, x, lengths), 1)
    result = torch.cat([y[row, :, :length] for row, length in enumerate(lengths)], 1)
    torch.testing.assert_close(result, wanted)
    inputs = (x, *attention.parameters())
    direction = torch.randn(wanted.shape, dtype=wanted.dtype)
    torch.testing.assert_close(
        torch.autograd.grad(result, inputs, direction),
        torch.autograd.grad(wanted, inputs, direction),
    )


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(share: float) -> None:
    torch.manual_seed(0)
    dropout = Dropout(share)
    x = torch.ones(3, 11, 10_001, requires_grad=True)
    y = dropout(x)
    assert abs(float((y == 0).float().mean()) - share) < 5e-3
    assert abs(float(y.detach().mean()) - 1.0) < 5e-3
    assert y.detach().unique().numel() == 2
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


def test_dropout_follows_the_seed_and_rests_in_evaluation() -> None:
    dropout, x = Dropout(0.3), torch.randn(7, 5)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(dropout(x))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert dropout.eval()(x) is x
    assert torch.equal(Dropout(0.0)(x), x)
    assert isinstance(dropout, nn.Dropout)
