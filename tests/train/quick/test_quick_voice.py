"""A quick voice of toy size: features of real speech, learning, and the graph that speaks it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from piper.config import VoiceConfig
from piper.errors import ConfigError, DatasetError
from piper.phoneme_ids import BOS, EOS, PAD
from piper.text.frontend import create_frontend
from piper.train.aligner.aligner import Alignment, load_aligner, phonemes_to_groups
from piper.train.aligner.features import FRAME_SECONDS, resample
from piper.train.callbacks.batches import StepTrial
from piper.train.data.batches import Batch, UtteranceItem, collate
from piper.train.data.cache import EntryDamagedError, PackWriter, UtteranceCache
from piper.train.data.prepare import PreparedDataset, prepare_dataset
from piper.train.data.settings import DataSettings, resolve_settings
from piper.train.families import build_voice_graph
from piper.train.quick.config import DECODED_FRAMES, QuickConfig
from piper.train.quick.features import (
    EDGE_FRAMES,
    FeatureCache,
    Features,
    alignment_to_durations,
    find_aligner_path,
    given_to_durations,
    ids_to_phonemes,
    prepare_features,
    trim_silence,
)
from piper.train.quick.network import (
    NO_PAD,
    QuickSynthesizer,
    SpectralLoss,
    SpectrumDiscriminator,
)
from piper.train.quick.step import LatentExtractor, Phase, Pieces, QuickStep, cut_pieces
from piper.train.quick_module import QuickModel, standardise_latents
from piper.voice.graph_quick import (
    NOISE_FRAMES,
    QuickGraphConfig,
    build_quick_graph,
    cut_quick_parts,
    excitation_noise,
    unfold_quick_weights,
)
from piper.voice.weights import load_quick_weights

RATE, HOP = 22050, 256
APART = Phase(False, 0.0, 0.0, 24)
TOGETHER = Phase(True, 1.0, 0.7, 24)


def toy_config(**changes: int) -> QuickConfig:
    sizes = {"channels": 32, "text_blocks": 2, "frame_blocks": 2, "decoder_blocks": 2}
    return QuickConfig(sample_rate=RATE, **(sizes | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def settings(aligned_dataset: Path) -> DataSettings:
    return resolve_settings(dataset_dir=aligned_dataset)


@pytest.fixture(scope="module")
def prepared(settings: DataSettings) -> PreparedDataset:
    return prepare_dataset(settings, num_processes=1)


@pytest.fixture(scope="module")
def features(settings: DataSettings, prepared: PreparedDataset) -> list[Features]:
    entries = prepare_features(settings, prepared.voice, prepared.utterances)
    cache = FeatureCache(settings.cache_dir)
    return [cache.load(entries[u.key]) for u in prepared.utterances if u.key in entries]


@pytest.fixture(scope="module")
def batch(settings: DataSettings, prepared: PreparedDataset, features: Sequence[Features]) -> Batch:
    cache = UtteranceCache(settings.cache_dir)
    items = []
    for utterance, known in zip(prepared.utterances[:8], features, strict=False):
        cached = cache.load(utterance.key, utterance.entry)
        frames = int(known.durations.sum())
        first = known.start_frame * HOP
        items.append(
            UtteranceItem(
                torch.from_numpy(cached.ids),
                torch.zeros(0, frames),
                torch.from_numpy(cached.samples[first : first + frames * HOP]),
                0,
                durations=torch.from_numpy(known.durations),
                f0=torch.from_numpy(known.f0),
            )
        )
    return collate(items, segment_frames=1, hop_length=HOP, has_speakers=False)


def pad_id(voice: VoiceConfig) -> int:
    return voice.phoneme_id_map[PAD][0]


@pytest.fixture(scope="module")
def pieces(batch: Batch, prepared: PreparedDataset) -> Pieces:
    """Pieces of 60 frames."""
    return cut(batch, prepared, np.random.default_rng(3))


def cut(
    batch: Batch, prepared: PreparedDataset, rng: np.random.Generator, frames: int = 60
) -> Pieces:
    symbol = pad_id(prepared.voice)
    return cut_pieces(batch, toy_config(), frames=frames, decoded_frames=24, pad_id=symbol, rng=rng)


def create_network(config: QuickConfig, deviation: float = 0.0) -> QuickSynthesizer:
    """A network that speaks some frames a phoneme, all its weights moved a little."""
    torch.manual_seed(1)
    network = QuickSynthesizer(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # norms and scales, too
            parameter.add_(deviation * torch.randn_like(parameter))
        network.text.duration_exit.bias[0] = 1.6
    return network


def find_graph_durations(network: QuickSynthesizer, ids: torch.Tensor) -> list[int]:
    session = onnxruntime.InferenceSession(
        build_voice_graph(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    scales = np.array([0.0, 1.0, 0.0], np.float32)
    lengths = np.array([ids.shape[1]])
    feeds = {"input": ids.numpy(), "input_lengths": lengths, "scales": scales}
    return session.run(["durations"], feeds)[0].ravel().tolist()


def test_features_lay_every_phoneme_over_its_recording(
    settings: DataSettings, prepared: PreparedDataset, features: Sequence[Features]
) -> None:
    assert len(features) == len(prepared.utterances)
    cache = UtteranceCache(settings.cache_dir)
    for utterance, known in zip(prepared.utterances, features, strict=True):
        cached = cache.load(utterance.key, utterance.entry)
        assert len(known.durations) == len(cached.ids)
        assert known.durations[cached.ids == pad_id(prepared.voice)].sum() == 0
        assert known.durations.min() >= 0
        assert int(known.durations.sum()) == len(known.f0)
        assert (known.start_frame + len(known.f0)) * HOP <= len(cached.samples)
    # espeak-ng's male voice; half of what it says is voiced.
    voiced = np.concatenate([known.f0 for known in features])
    assert 0.3 < np.mean(voiced > 0) < 0.9
    assert 70 < np.median(voiced[voiced > 0]) < 160


def test_features_are_found_again(settings: DataSettings, prepared: PreparedDataset) -> None:
    first = prepare_features(settings, prepared.voice, prepared.utterances)
    packs = {path: path.stat().st_mtime_ns for path in (settings.cache_dir / "quick").iterdir()}
    assert prepare_features(settings, prepared.voice, prepared.utterances) == first
    assert packs == {p: p.stat().st_mtime_ns for p in (settings.cache_dir / "quick").iterdir()}


def test_a_piece_holds_the_frames_that_it_was_cut_from(
    batch: Batch, pieces: Pieces, prepared: PreparedDataset
) -> None:
    margin = (toy_config().filter_length - HOP) // 2
    assert pieces.audio.shape == (len(batch), 60 * HOP + 2 * margin)
    assert (pieces.ids != pad_id(prepared.voice)).logical_or(pieces.id_mask[..., 0] == 0).all()
    for number in range(len(batch)):
        inner = pieces.audio[number, margin : margin + 60 * HOP]
        whole = batch.audio[number, 0].unfold(0, 60 * HOP, HOP)
        found = (whole == inner).all(dim=1).nonzero()
        assert len(found) == 1
        start = int(found)
        f0 = batch.f0[number, start : start + 60]  # type: ignore[index]
        assert torch.equal(f0 > 0, pieces.voiced[number] > 0)
        assert torch.allclose(pieces.log_f0[number][f0 > 0].exp(), f0[f0 > 0])


@pytest.mark.parametrize("phase", [APART, TOGETHER])
def test_threads_change_nothing_in_the_gradients(pieces: Pieces, phase: Phase) -> None:
    config = toy_config()
    torch.manual_seed(1)
    network = QuickSynthesizer(config)
    step = QuickStep(network, [SpectrumDiscriminator(512, 4)], config)
    step.dropout = 0.2
    found = []
    for threads in (1, 3):
        torch.manual_seed(2)
        losses = step.backward(pieces, phase, threads=threads)
        found.append((losses, [p.grad.clone() for p in step.parameters(phase)]))
    (alone, gradients), (shared, others) = found
    assert alone.keys() == shared.keys()
    for name in set(alone) - {"feature"}:  # relative to the size of a part's features
        assert torch.allclose(alone[name], shared[name], rtol=1e-4), name
    if phase is APART:
        for gradient, other in zip(gradients, others, strict=True):
            assert torch.allclose(gradient, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("phase", [APART, TOGETHER])
def test_gradients_are_taken_outside_of_autocast(pieces: Pieces, phase: Phase) -> None:
    """Products on the way back would be rounded, also where the way there was in float32."""
    config = toy_config()
    network = QuickSynthesizer(config)
    step = QuickStep(network, [SpectrumDiscriminator(512, 4)], config)
    seen: list[bool] = []
    for parameter in step.parameters(phase):
        parameter.register_hook(lambda _: seen.append(torch.is_autocast_enabled("cpu")))
    with torch.autocast("cpu", torch.bfloat16):
        losses = step.backward(pieces, phase)
        assert torch.is_autocast_enabled("cpu")
    assert all(loss.isfinite() for loss in losses.values())
    assert len(seen) == len(step.parameters(phase))
    assert not any(seen)


def test_channels_are_left_out_of_whole_pieces_in_training_alone(pieces: Pieces) -> None:
    """Ten minutes of recordings would be learnt by heart; what is spoken lacks no channel."""
    config = toy_config()
    network = QuickSynthesizer(config)
    dropout = network.text.draw_dropout(50, 0.2)
    for factors in (*dropout.text, dropout.durations, *dropout.frames):
        assert factors.shape[:2] == (50, 1)
        assert set(factors.unique().tolist()) == {0.0, 1.25}
        assert float((factors == 0).float().mean()) == pytest.approx(0.2, abs=0.05)
    step = QuickStep(network, [], config)
    step.dropout = 0.2
    noise = torch.zeros(len(pieces), 24 * HOP)
    validated = [float(step.losses(pieces, noise)["mel"]) for _ in range(2)]
    trained = [float(step.backward(pieces, APART)["mel"]) for _ in range(2)]
    assert validated[0] == validated[1]
    assert len({*validated, *trained}) == 3


def test_it_learns(batch: Batch, prepared: PreparedDataset) -> None:
    config = toy_config()
    torch.manual_seed(1)
    network = QuickSynthesizer(config)
    step = QuickStep(network, [], config)
    optimizer = torch.optim.AdamW(step.parameters(APART), lr=4e-3)
    rng = np.random.default_rng(3)
    history = []
    for _ in range(40):
        history.append(step.backward(cut(batch, prepared, rng), APART, threads=1))
        optimizer.step()
    for name in ("mel", "duration", "spectrum"):
        before, after = (
            np.mean([float(h[name]) for h in part]) for part in (history[:5], history[-5:])
        )
        assert after < 0.8 * before, name


@pytest.mark.parametrize("speakers", [1, 3])
def test_the_graph_speaks_as_the_network(
    tmp_path: Path, prepared: PreparedDataset, speakers: int
) -> None:
    config = toy_config(num_speakers=speakers)
    network = create_network(config, 0.02)
    place = config.mel_channels
    with torch.no_grad():
        network.latent_mean[place], network.latent_deviation[place] = 4.8, 0.2
        network.spread.uniform_(1.0, 1.3)
        network.predicted_mean.normal_()
        network.duration_scale.fill_(1.1)
        # Pulses alone: the noise of the two has not the same numbers.
        of_filters = (config.filters_per_frame, 2, config.bins)
        network.decoder.exit.weight.unflatten(0, of_filters)[:, 1] = 0.0
        network.decoder.exit.bias.unflatten(0, of_filters)[:, 1] = -14.0
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    shape = QuickGraphConfig(
        RATE, config.decoder_filter_length, HOP, pad_id(prepared.voice), num_speakers=speakers
    )
    path = tmp_path / "quick.onnx"
    model = build_quick_graph(weights, shape)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    sentence = create_frontend(prepared.voice).text_to_sentences("Привет, это тест.")[0]
    ids = torch.tensor(sentence.ids)
    kept = ids[ids != pad_id(prepared.voice)][None]
    speaker = torch.tensor([speakers - 1])
    for semitones in (0.0, 3.0):
        feeds = {
            "input": ids[None].numpy(),
            "input_lengths": np.array([len(ids)]),
            "scales": np.array([0.0, 1.2, 0.0, semitones], np.float32),
        }
        if semitones == 0.0:  # as clients that know nothing of pitch
            feeds["scales"] = feeds["scales"][:3]
        if speakers > 1:
            feeds["sid"] = speaker.numpy()
        audio, durations = session.run(["output", "durations"], feeds)
        own, frames, _ = network.infer(
            kept,
            speaker if speakers > 1 else None,
            noise_scale=0.0,
            length_scale=1.2,
            noise_w_scale=0.0,
            pitch_semitones=semitones,
        )
        assert audio.shape == (1, 1, 1, len(own))
        assert durations.shape == (1, 1, len(ids))
        assert np.array_equal(durations[0, 0][ids.numpy() != pad_id(prepared.voice)], frames)
        assert durations.sum() * HOP == len(own)
        assert np.abs(own.numpy()).max() > 0.01
        # A millionth more of pitch is a tenth of a turn more of the highest harmonic after seconds.
        difference = audio.reshape(-1) - own.numpy()
        assert np.square(difference).mean() < 1e-4 * np.square(own.numpy()).mean()
    # A training can start from the file: the weights are those of the same network.
    found = load_quick_weights(path)
    assert found is not None
    assert found[0].keys() == weights.keys()
    again = QuickSynthesizer(config)
    again.load_state_dict({name: torch.from_numpy(value) for name, value in found[0].items()})
    for name, value in found[0].items():
        if not name.endswith(("scale", "reduce.weight", "reduce.bias")):
            np.testing.assert_allclose(value, weights[name], atol=1e-5, err_msg=name)
    block, same = network.text.frame_blocks[0], again.text.frame_blocks[0]
    x = torch.randn(1, 9, config.channels)
    assert torch.allclose(block(x), same(x), atol=1e-5)


@pytest.mark.parametrize(
    ("filter_length", "hop", "filters"), [(1024, 256, 2), (900, 250, 1), (512, 256, 4)]
)
def test_the_graph_s_decoder_shapes_pulses_and_noise_as_the_network(
    filter_length: int, hop: int, filters: int
) -> None:
    """Voices of earlier versions have one filter a frame."""
    sizes = {"filter_length": filter_length, "hop_length": hop, "filters_per_frame": filters}
    config = toy_config(**sizes)
    network = create_network(config, 0.02)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    shape = QuickGraphConfig(RATE, config.decoder_filter_length, hop)
    parts = cut_quick_parts(build_quick_graph(weights, shape), shape)
    decoder = onnxruntime.InferenceSession(parts.decoder.SerializeToString())
    frames = NOISE_FRAMES + 40  # the noise begins anew on the way
    z = torch.randn(1, config.latents + 1, frames)
    z[:, -1] = 150 + 40 * torch.sin(torch.arange(frames) / 9)
    noise = torch.from_numpy(np.tile(excitation_noise(shape), 2)[None, : frames * hop])
    with torch.no_grad():
        wanted = network.decoder(z[:, :-1].transpose(1, 2), z[:, -1], noise)[0].clamp(-1, 1)
    hertz = F.interpolate(z[:, -1:].double(), scale_factor=hop, mode="linear")[0, 0]
    turns = (hertz / RATE).cumsum(0)[hop - 1 :: hop].roll(1)
    turns[0] = 0.0
    feeds = {
        "z": z.numpy(),
        "turns": (turns - turns.round()).float().numpy()[:, None],
        "rows": np.arange(frames) % NOISE_FRAMES,
    }
    [found] = decoder.run(None, feeds)
    # At the ends the network's noise is cut off, and the graph's goes on.
    inner = slice(filter_length, -filter_length)
    difference = found.reshape(-1)[inner] - wanted.numpy()[inner]
    assert np.square(wanted.numpy()).mean() > 1e-4
    assert np.square(difference).mean() < 1e-6 * np.square(wanted.numpy()).mean()


def test_a_trial_of_the_batch_size_cuts_pieces_before_they_go_to_a_gpu(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = QuickModel(channels=32, text_blocks=1, frame_blocks=1, decoder_blocks=1)
    moved: list[torch.device] = []
    monkeypatch.setattr(model.step, "to", moved.append)
    model.try_update(batch)
    assert moved == [model.device]
    assert all(parameter.grad is not None for parameter in model.model_g.parameters())
    found: list[Batch] = []
    on_gpu = SimpleNamespace(
        device=torch.device("meta"), try_update=found.append, zero_grad=lambda **_: None
    )
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(train_step_context=nullcontext))
    data = SimpleNamespace(
        train_lengths=[10],
        settings=SimpleNamespace(max_batch_frames=None),
        load_batch=lambda _: batch,
    )
    StepTrial(trainer, on_gpu, data)(1)  # type: ignore[arg-type]
    assert {str(one.ids.device) for one in found} == {"cpu"}


def test_ids_without_a_padding_symbol_are_all_spoken() -> None:
    """Of somebody's own a map may have a phoneme where others have the padding."""
    network = create_network(toy_config())
    network.pad_id.fill_(NO_PAD)
    ids = torch.tensor([[3, 0, 4, 0]])
    durations = network.infer(ids, noise_w_scale=0.0).durations
    assert (durations > 0).all()
    assert find_graph_durations(network, ids) == durations.tolist()


def test_of_padding_alone_the_first_is_spoken_by_network_and_graph() -> None:
    network = create_network(toy_config())
    ids = torch.zeros(1, 3, dtype=torch.long)
    spoken = network.infer(ids, noise_w_scale=0.0).durations.tolist()
    assert find_graph_durations(network, ids) == spoken
    assert spoken[0] > 0 == spoken[1] == spoken[2]


def test_pauses_of_ids_of_somebody_s_own_are_no_padding_s() -> None:
    """What padding has of a recording nobody learns, and all that follows would be shifted."""
    phonemes = [PAD, "a", PAD, "t", PAD]
    states = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    units = np.array([0, 0, 1, 1, 2, 2, 0, 0])
    alignment = Alignment(units, units, np.zeros(8), 1, states)
    rate = 1 / FRAME_SECONDS
    durations = alignment_to_durations(alignment, phonemes, {"a", "t"}, 8, rate)
    assert durations.tolist() == [0, 4, 0, 4, 0]


def test_silence_is_trimmed_and_no_letter_where_ids_neither_begin_nor_end(
    settings: DataSettings, prepared: PreparedDataset
) -> None:
    """Real speech with a second of silence around it, by ids without BOS, EOS and final stop."""
    aligner, rate = load_aligner(find_aligner_path(settings)), RATE / HOP
    utterance = prepared.utterances[0]
    cached = UtteranceCache(settings.cache_dir).load(utterance.key, utterance.entry)
    samples = np.pad(cached.samples, RATE)
    phonemes = ids_to_phonemes(cached.ids.tolist(), prepared.voice)
    bare = [p for p in phonemes if p not in (BOS, EOS, PAD, ".")]
    groups = phonemes_to_groups([p for p in phonemes if p != PAD])
    alignment = aligner.align(aligner.score_frames(resample(samples, RATE)), groups)
    found, starts = [], []
    for ids in (phonemes, bare):
        frames, units = len(samples) // HOP, set(aligner.inventory)
        durations = alignment_to_durations(alignment, ids, units, frames, rate)
        assert durations.sum() == frames
        starts.append(trim_silence(durations, alignment, ids, rate))
        found.append(durations[durations > 0].tolist())
    usual, own = found
    assert usual[0] == EDGE_FRAMES
    assert own == usual[1:-1]  # letters and pauses between words
    assert starts[1] == starts[0] + EDGE_FRAMES > 0.9 * rate


def test_what_cannot_be_aligned_is_said_by_its_cause() -> None:
    states = np.array([0, 1, 1, 2])
    units = np.array([0, 1, 1, 0])
    alignment = Alignment(units, units, np.zeros(4), 1, states)
    rate = 1 / FRAME_SECONDS
    with pytest.raises(DatasetError, match="has 2 letters, of which the aligner places 1"):
        alignment_to_durations(alignment, ["a", "t"], {"a", "t"}, 4, rate)
    with pytest.raises(DatasetError, match="too short for its text"):
        alignment_to_durations(alignment, [BOS, "a", EOS], {"a", "t"}, 2, rate)


def test_a_frame_lies_about_the_middle_of_its_hop() -> None:
    """Of an odd number of samples there is none, and a frame would be missing."""
    with pytest.raises(ConfigError, match="hop_length=275 must be even"):
        toy_config(hop_length=275)
    with pytest.raises(ConfigError, match="=250 must be a multiple of twice"):
        toy_config(hop_length=250)


@pytest.mark.parametrize(("filter_length", "least"), [(1024, 50), (2048, 66), (72, 36)])
def test_the_shortest_hop_leaves_enough_sound_to_compare(filter_length: int, least: int) -> None:
    with pytest.raises(ConfigError, match=f"hop_length={least - 2} leaves .* give {least} or more"):
        toy_config(filter_length=filter_length, hop_length=least - 2)
    config = toy_config(filter_length=filter_length, hop_length=least, filters_per_frame=1)
    sound = torch.randn(2, DECODED_FRAMES * least - config.decoder_filter_length)
    assert SpectralLoss(config)(sound[:1], sound[1:]) > 0


def test_the_least_phase_is_computed_in_float32_under_autocast() -> None:
    """Sums over hundreds of logarithms, of which bfloat16 has but two digits."""
    decoder = QuickSynthesizer(toy_config()).decoder
    with torch.no_grad():
        decoder.exit.weight.zero_()
        decoder.exit.bias.copy_((4 * torch.randn(decoder.exit.bias.shape)).bfloat16())
    latents, f0 = torch.randn(1, 8, 82), torch.full((1, 8), 120.0)
    noise = torch.randn(1, 8 * HOP)
    wanted = decoder(latents, f0, noise).detach()
    with torch.autocast("cpu", torch.bfloat16):
        found = decoder(latents, f0, noise)
    assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_the_mean_pitch_of_a_voice_is_that_of_its_voiced_frames(
    batch: Batch, prepared: PreparedDataset
) -> None:
    """Between them it is interpolated, from ends that are mostly higher: hertz would be off."""
    config, f0 = toy_config(), batch.f0
    assert f0 is not None
    network = QuickSynthesizer(config)
    pieces = cut(batch, prepared, np.random.default_rng(0), f0.shape[1])
    standardise_latents(network, LatentExtractor(config), pieces.chunk(1))
    voiced = f0[0][f0[0] > 0]
    assert network.latent_mean[-2].exp() == pytest.approx(
        float(voiced.log().mean().exp()), rel=1e-4
    )


def test_features_of_another_size_than_they_say_are_damaged(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.folder.mkdir()
    writer = PackWriter(cache.folder)
    for key, description in (("long", [1, 9, 0]), ("negative", [3, -1, 0])):
        writer.append(key, description, b"abcd")
    writer.close()
    for place in cache.find().values():
        with pytest.raises(EntryDamagedError, match="size"):
            cache.load(place)


def test_a_file_that_says_another_filter_length_is_refused() -> None:
    """Before a table for that length is made, which a hostile number could fill the memory with."""
    network = QuickSynthesizer(toy_config())
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    shape = QuickGraphConfig(RATE, 900_000, HOP)
    with pytest.raises(ValueError, match="900000 samples"):
        unfold_quick_weights({"decoder.exit.weight": weights["decoder.exit.weight"].T}, shape, "{}")


def test_given_durations_leave_nothing_to_padding() -> None:
    phonemes = ["^", "_", "a", "_", "_", "$"]
    given = given_to_durations([3, 1, 7, 2, 0, 4], phonemes, 17)
    assert given.tolist() == [4, 0, 9, 0, 0, 4]
    with pytest.raises(DatasetError, match="last 17 frames, but the recording has 20"):
        given_to_durations([3, 1, 7, 2, 0, 4], phonemes, 20)
