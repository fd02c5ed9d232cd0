"""The losses, and one pass for both networks: the plain way's gradients, in any number of parts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from piper.errors import ConfigError, TrainingError
from piper.train.data.batches import Batch, UtteranceItem, collate
from piper.train.steps import compilation, gan
from piper.train.steps.gan import GanStep, MicroBatches, Normalisers, is_out_of_memory
from piper.train.steps.update import seed_update
from piper.train.vits import mel
from piper.train.vits.config import NetworkConfig
from piper.train.vits.discriminators import Discriminator, MultiResolutionDiscriminator
from piper.train.vits.mel import spectrogram
from piper.train.vits.network import VitsSynthesizer


def create_config(num_speakers: int = 1) -> NetworkConfig:
    return NetworkConfig(
        num_symbols=20,
        num_speakers=num_speakers,
        gin_channels=8 if num_speakers > 1 else 0,
        hidden_channels=16,
        inter_channels=16,
        filter_channels=16,
        n_layers=1,
        p_dropout=0.0,
        upsample_initial_channel=32,
        segment_size=2304,
        discriminator_channels=16,
    )


def create_step(num_speakers: int = 1, *, use_mrd: bool = False) -> GanStep:
    torch.manual_seed(0)
    config = create_config(num_speakers)
    judges = [*Discriminator(16).discriminators]
    if use_mrd:
        judges += MultiResolutionDiscriminator.for_network(config).discriminators
    # Dropout's masks depend on the shape of a batch; without it all else must be equal.
    generator = VitsSynthesizer(config).train()
    for module in generator.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if ".post." in name or "proj" in name:  # zero at first, which would hide mistakes
                parameter.add_(0.05 * torch.randn_like(parameter))
    return GanStep(generator, judges, config, gan.USUAL_WEIGHTS)


def create_batch(has_speakers: bool = False) -> Batch:
    random = torch.Generator().manual_seed(7)
    items = []
    for index, frames in enumerate((24, 17, 12, 9, 5)):
        audio = 0.3 * torch.randn(frames * 256, generator=random)
        ids = torch.randint(0, 20, (frames // 3 + 1,), generator=random)
        linear = spectrogram(audio[None], 1024, 256, 1024)[0, :, :frames]
        items.append(UtteranceItem(ids, linear, audio, index % 3, f"{index}.wav"))
    return collate(items, segment_frames=9, hop_length=256, has_speakers=has_speakers)


def parameters_of(step: GanStep) -> list[nn.Parameter]:
    networks = [step.generator, *step.discriminators]
    return [parameter for network in networks for parameter in network.parameters()]


def gradients_of(step: GanStep) -> list[Tensor]:
    result = []
    for parameter in parameters_of(step):
        result.append(
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        )
        parameter.grad = None
    return result


def assert_equal(some: list[Tensor], other: list[Tensor]) -> None:
    """Let each tensor differ by 1e-5 of its norm; those near 0 by 1e-9 of the largest's."""
    largest = max(float(gradient.norm()) for gradient in other)
    assert largest > 0
    for one, two in zip(some, other, strict=True):
        assert float((one - two).norm()) <= 1e-5 * max(float(two.norm()), 1e-4 * largest)


@pytest.mark.parametrize(("num_speakers", "use_mrd"), [(1, False), (3, False), (1, True)], ids=str)
def test_one_pass_gives_the_gradients_of_the_plain_way(num_speakers: int, use_mrd: bool) -> None:
    """The plain way: the whole generator, each judge twice on the same audio, two backwards."""
    step = create_step(num_speakers, use_mrd=use_mrd)
    batch = create_batch(num_speakers > 1)
    noise = step.generator.draw_noise(
        batch.ids, batch.spectrograms, torch.Generator().manual_seed(1)
    )
    named = step.backward(batch, noise)
    pieces = gradients_of(step)

    generated = step.generate(batch, torch.Generator().manual_seed(1))
    plain = step.spectral_losses(generated)
    made = generated.output.audio
    real = [judge(generated.real_audio) for judge in step.discriminators]
    plain["adversarial"] = gan.generator_loss([judge(made) for judge in step.discriminators])
    plain["feature"] = gan.feature_loss(real, [judge(made) for judge in step.discriminators])
    weights = [p for judge in step.discriminators for p in judge.parameters()]
    step.total(plain).backward(inputs=list(step.generator.parameters()))
    fake = [judge(made.detach()) for judge in step.discriminators]
    plain["discriminator"] = gan.discriminator_loss(real, fake)
    plain["discriminator"].backward(inputs=weights)

    assert set(named) == set(plain)
    for name, loss in plain.items():
        torch.testing.assert_close(named[name], loss.detach(), rtol=1e-5, atol=1e-6)
    assert_equal(pieces, gradients_of(step))


@pytest.fixture
def double_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Float64 throughout, the places that ask for float32 included.

    In float32 the same sums in another order differ by 2e-5 in some layers of the decoder.
    """
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    for cache in (mel._hann_window, mel._filterbank):
        cache.cache_clear()
    yield
    torch.set_default_dtype(torch.float32)
    for cache in (mel._hann_window, mel._filterbank):
        cache.cache_clear()


@pytest.mark.parametrize("num_speakers", [1, 3])
@pytest.mark.usefixtures("double_precision")
def test_parts_of_a_batch_give_the_gradients_of_the_whole(num_speakers: int) -> None:
    """Utterances of 24 to 5 frames: means of parts' means would weigh the short ones more."""
    step = create_step(num_speakers)
    batch = create_batch(num_speakers > 1)
    micro_batches = MicroBatches(step, step.generator, *step.discriminators)
    seed = partial(seed_update, 1234, 0, 5)
    whole = micro_batches.backward(batch, 1, Normalisers.of(batch), None, seed)
    expected = gradients_of(step)
    for parts in (2, 3, 5):
        named = micro_batches.backward(batch, parts, Normalisers.of(batch), None, seed)
        for name, loss in whole.items():
            torch.testing.assert_close(named[name], loss, rtol=1e-5, atol=1e-6)
        assert_equal(gradients_of(step), expected)


@pytest.mark.parametrize("num_speakers", [1, 3])
@pytest.mark.usefixtures("double_precision")
def test_texts_in_parts_give_the_gradients_of_the_whole(
    num_speakers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = create_step(num_speakers)
    batch = create_batch(num_speakers > 1)
    noise = step.generator.draw_noise(batch.ids, batch.spectrograms)
    whole = step.backward(batch, noise)
    expected = gradients_of(step)
    for frames, parts in ((60, 2), (40, 3), (1, 5)):
        monkeypatch.setattr(gan, "TEXT_FRAMES", frames)
        assert step._text_parts(batch) == parts
        named = step.backward(batch, noise)
        for name, loss in whole.items():
            torch.testing.assert_close(named[name], loss, rtol=1e-5, atol=1e-6)
        assert_equal(gradients_of(step), expected)


def test_a_scale_scales_all_gradients_and_no_loss() -> None:
    step, batch = create_step(3), create_batch(True)
    seed_update(1, 0, 0)
    plain = step.backward(batch)
    expected = [64.0 * gradient for gradient in gradients_of(step)]
    seed_update(1, 0, 0)
    scaled = step.backward(batch, scale=torch.tensor(64.0))
    assert {name: float(loss) for name, loss in plain.items()} == pytest.approx(
        {name: float(loss) for name, loss in scaled.items()}
    )
    assert_equal(gradients_of(step), expected)


class Greedy(nn.Module):
    """A judge that wants more memory than there is for more than so many utterances."""

    def __init__(self, judge: nn.Module, most: int) -> None:
        super().__init__()
        self.judge, self.most, self.heard = judge, most, []

    def forward(self, audio: Tensor) -> list[Tensor]:
        self.heard.append(len(audio))
        if len(audio) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.judge(audio)


@pytest.mark.usefixtures("double_precision")
def test_out_of_memory_splits_the_batch_and_changes_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    step, batch = create_step(), create_batch()
    seed = partial(seed_update, 1234, 0, 5)
    seed()
    noise = step.generator.draw_noise(batch.ids, batch.spectrograms)
    whole = step.backward(batch, noise)
    expected = gradients_of(step)
    # The last judge: gradients of all others are there already when it fails.
    greedy = Greedy(step.discriminators[-1], 3)
    step.discriminators[-1] = greedy
    micro_batches = MicroBatches(step, step.generator, *step.discriminators)
    with caplog.at_level(logging.WARNING, "piper"):
        named = micro_batches.backward(batch, 1, Normalisers.of(batch), None, seed)
        assert_equal(gradients_of(step), expected)
        assert float(named["mel"]) == pytest.approx(float(whole["mel"]), rel=1e-5)
        greedy.heard.clear()
        micro_batches.backward(batch, 1, Normalisers.of(batch), None, seed)
    # The second batch of that size is split before it fails.
    assert max(greedy.heard) <= 3
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "Out of memory with 5 utterances" in said[0]
    assert "--data.max_batch_frames=" in said[0]


def test_an_utterance_that_does_not_fit_alone_ends_with_a_sentence() -> None:
    step, batch = create_step(), create_batch()
    step.discriminators[0] = Greedy(step.discriminators[0], 0)
    micro_batches = MicroBatches(step, step.generator, *step.discriminators)
    with pytest.raises(TrainingError, match=r"of 24 frames .*, 0\.wav: .*--data\.max_seconds"):
        micro_batches.backward(batch, 1, Normalisers.of(batch), None, partial(seed_update, 1, 0, 0))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))


def take_gradients(step: GanStep, seed: int) -> tuple[list[Tensor], list[float]]:
    """Return the gradients and losses of an update in two parts, as memory may ask for."""
    batch = create_batch(has_speakers=True)
    torch.manual_seed(seed)
    named = MicroBatches(step, step.generator, *step.discriminators).backward(
        batch, 2, Normalisers.of(batch), None, lambda: None
    )
    return gradients_of(step), [float(named[name]) for name in sorted(named)]


def test_recorded_work_gives_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in for a graph, where no GPU is: the work once more, into the same memory."""
    recordings = []

    def record(work: Callable[[], list[Tensor]]) -> tuple[Callable[[], None], list[Tensor]]:
        results = work()
        recordings.append(results)

        def replay() -> None:
            with torch.enable_grad():  # which a graph does not ask for
                found = work()
            for result, again in zip(results, found, strict=True):
                result.copy_(again)

        return replay, results

    monkeypatch.setattr(compilation, "record_graph", record)
    plain, recorded = create_step(3), create_step(3)
    compilation.record_step(recorded)
    for update in range(5):
        if update == 4:  # as when a decoder is held: another graph, after some calls
            for step in (plain, recorded):
                step.generator.dec.requires_grad_(False)
        wanted, losses = take_gradients(plain, update)
        got, own_losses = take_gradients(recorded, update)
        assert_equal(got, wanted)
        assert own_losses == pytest.approx(losses, rel=1e-5)
    # Parts of three and of two utterances, with a decoder that learns.
    assert len(recordings) == 2


def test_where_no_graph_can_be_recorded_the_work_is_done_as_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain, recorded = create_step(3), create_step(3)
    compilation.record_step(recorded)
    for update in range(4):
        assert_equal(take_gradients(recorded, update)[0], take_gradients(plain, update)[0])
    assert caplog.text.count("No CUDA graph could be recorded") == 1


def test_kl_is_that_of_two_normal_distributions() -> None:
    torch.manual_seed(0)
    shape = (1, 3, 20000)
    m_q, logs_q, m_p, logs_p = (torch.full(shape, value) for value in (0.3, -0.4, -0.2, 0.1))
    z = m_q + torch.randn(shape) * logs_q.exp()
    estimate = gan.kl_loss(z, logs_q, m_p, logs_p, torch.ones(1, 1, shape[2]))
    posterior = torch.distributions.Normal(m_q[0, :, 0], logs_q[0, :, 0].exp())
    prior = torch.distributions.Normal(m_p[0, :, 0], logs_p[0, :, 0].exp())
    # The estimate takes E[(z - m_q)² / 2σ_q²] as its expectation, one half a channel.
    exact = torch.distributions.kl_divergence(posterior, prior).sum()
    assert float(estimate) == pytest.approx(float(exact), abs=0.05)


def test_frames_outside_the_utterance_do_not_count_in_kl() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(2, 4, 10) for _ in range(4)]
    mask = torch.zeros(2, 1, 10)
    mask[:, :, :6] = 1
    before = gan.kl_loss(*tensors, mask)
    for tensor in tensors:
        tensor[:, :, 6:] = 7.0
    assert torch.equal(before, gan.kl_loss(*tensors, mask))


def test_feature_loss_is_zero_for_equal_audio_and_counts_the_scores() -> None:
    maps = [[torch.randn(2, 3, 5), torch.randn(2, 3, 4), torch.randn(2, 7)]]
    other_scores = [[*maps[0][:-1], torch.randn(2, 7)]]
    assert float(gan.feature_loss(maps, maps)) == 0.0
    # Twice the mean difference of the last layer, as Piper's trainer has it.
    expected = 2.0 * (maps[0][-1] - other_scores[0][-1]).abs().mean()
    torch.testing.assert_close(gan.feature_loss(maps, other_scores), expected)


def test_discriminator_is_content_when_it_tells_both_apart() -> None:
    real, fake = [[torch.ones(2, 5)]], [[torch.zeros(2, 5)]]
    assert float(gan.discriminator_loss(real, fake)) == 0.0
    assert float(gan.generator_loss(fake)) == 1.0


def test_a_misspelt_weight_is_an_error() -> None:
    named = {"mel": torch.tensor(1.0), "kl": torch.tensor(2.0)}
    assert float(gan.weighted_sum(named, {"mel": 45.0, "kl": 1.0})) == 47.0
    with pytest.raises(ConfigError, match="kI, kl"):
        gan.weighted_sum(named, {"mel": 45.0, "kI": 1.0})
