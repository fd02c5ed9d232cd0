"""Any checkpoint or voice starts a training: what is taken over, and how it sounds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from piper.config import VoiceConfig, load_voice_config
from piper.errors import CheckpointError
from piper.train.lightning import VitsModel
from piper.train.vits.network import VitsSynthesizer
from piper.train.warm_start import VOCODER_PREFIXES, WarmReport, take_apart, warm_start
from piper.voice.session import SpeechSettings, VoiceSession

SMALL: dict[str, Any] = {
    "quality": "tiny",
    "sample_rate": 16000,
    "discriminator_channels": 16,
    "hidden_channels": 16,
    "inter_channels": 16,
    "filter_channels": 16,
    "n_layers": 1,
    "upsample_initial_channel": 16,
}
"""The shape of the fixtures' tiny voices."""
EMBEDDING = "model_g.enc_p.emb.weight"
TABLE = "model_g.emb_g.weight"
IDS = [1, 20, 0, 35, 0, 14, 0, 27, 0, 2]


def create_model(seed: int = 0, **changes: Any) -> VitsModel:
    """A small model that no weight of is zero, so that a wrong one is heard."""
    torch.manual_seed(seed)
    model = VitsModel(**{**SMALL, **changes}).eval()
    with torch.no_grad():
        for parameter in model.model_g.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def create_voice(symbols: str = "", speakers: Mapping[str, int] | None = None) -> VoiceConfig:
    speaker_ids = dict(speakers or {})
    return VoiceConfig(
        num_symbols=256,
        num_speakers=max(len(speaker_ids), 1),
        sample_rate=16000,
        espeak_voice="ru",
        phoneme_id_map={symbol: [index] for index, symbol in enumerate(symbols)},
        speaker_id_map=speaker_ids,
    )


def save(model: VitsModel, path: Path, voice: VoiceConfig | None = None, **more: Any) -> Path:
    data: dict[str, Any] = {"state_dict": model.state_dict(), **more}
    data["hyper_parameters"] = dict(model.hparams)
    if voice is not None:
        data["voice_config"] = voice.to_dict()
    torch.save(data, path)
    return path


def start(
    folder: Path,
    source: VitsModel,
    model: VitsModel,
    voice: VoiceConfig | None = None,
    theirs: VoiceConfig | None = None,
    **options: Any,
) -> WarmReport:
    """Save a model, and start another from it."""
    return warm_start(model, save(source, folder / "c.ckpt", theirs), voice, **options)


def speak(network: VitsSynthesizer, speaker: int | None = None) -> np.ndarray:
    """Speak without noise."""
    ids, lengths = torch.tensor([IDS]), torch.tensor([len(IDS)])
    speakers = None if speaker is None else torch.tensor([speaker])
    output = network.infer(ids, lengths, speakers, noise_scale=0.0, noise_w_scale=0.0)
    return output.audio.reshape(-1).numpy()


def posterior(network: VitsSynthesizer, speaker: int | None = None) -> Tensor:
    """What the posterior encoder makes of a fixed spectrogram."""
    spectrogram = torch.rand(1, 513, 12, generator=torch.Generator().manual_seed(3))
    g = network.embed_speakers(None if speaker is None else torch.tensor([speaker]))
    with torch.no_grad():
        return network.enc_q(spectrogram, torch.ones(1, 1, 12), g)[0]


# -- voices


def test_a_voice_without_a_checkpoint_gives_the_network_that_speaks(tiny_voice: Path) -> None:
    model = create_model()
    report = warm_start(model, tiny_voice, load_voice_config(f"{tiny_voice}.json"))
    for part in ("phoneme embeddings", "text encoder", "flow", "decoder"):
        taken, fresh = report.count(part)
        assert taken > 0
        assert fresh == 0, part
    assert report.count("posterior encoder")[0] == 0
    assert report.count("discriminators")[0] == 0
    session = VoiceSession(tiny_voice)
    expected = session.run(IDS, SpeechSettings())
    np.testing.assert_allclose(speak(model.model_g), expected.audio, atol=1e-4)


@pytest.mark.parametrize(("speaker", "row"), [(None, 0), ("boris", 1), ("2", 2)])
def test_one_speaker_of_a_voice_becomes_the_whole(
    tiny_voice_multi_speaker: Path, speaker: str | None, row: int
) -> None:
    """The speaker's vectors are constants, so that they fit into biases without loss."""
    model = create_model()
    report = warm_start(model, tiny_voice_multi_speaker, speaker=speaker)
    assert report.count("decoder")[1] == 0
    assert f"Of its 3 speakers, the file's speaker {['anna', 'boris', 'vera'][row]}" in str(report)
    session = VoiceSession(tiny_voice_multi_speaker)
    expected = session.run(IDS, SpeechSettings(speakers={row: 1.0}))
    np.testing.assert_allclose(speak(model.model_g), expected.audio, atol=1e-4)


# -- speakers


def test_the_posterior_encoder_s_speaker_is_folded_too(tmp_path: Path) -> None:
    source = create_model(num_speakers=3, gin_channels=8)
    model = create_model(1)
    start(tmp_path, source, model, speaker="2")
    torch.testing.assert_close(
        posterior(model.model_g), posterior(source.model_g, 2), atol=1e-5, rtol=1e-4
    )
    np.testing.assert_allclose(speak(model.model_g), speak(source.model_g, 2), atol=1e-4)


def test_several_speakers_begin_as_the_one_of_the_file(tmp_path: Path) -> None:
    source = create_model()
    model = create_model(1, num_speakers=2, gin_channels=8)
    report = start(tmp_path, source, model)
    for speaker in range(2):
        np.testing.assert_allclose(speak(model.model_g, speaker), speak(source.model_g), atol=1e-6)
        mine, theirs = posterior(model.model_g, speaker), posterior(source.model_g)
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    assert "at zero, so that every speaker starts as the file's voice" in str(report)
    # What begins at zero still learns.
    g = model.model_g.embed_speakers(torch.tensor([1]))
    audio = model.model_g.dec(torch.randn(1, 16, 4), g)
    audio.square().mean().backward()
    assert model.model_g.dec.cond is not None
    assert float(model.model_g.dec.cond.weight.grad.abs().max()) > 0


def test_a_table_of_another_width_is_folded_and_begun_at_zero(tmp_path: Path) -> None:
    source = create_model(num_speakers=3, gin_channels=8)
    model = create_model(1, num_speakers=2, gin_channels=4)
    start(tmp_path, source, model, speaker="1")
    for speaker in range(2):
        np.testing.assert_allclose(
            speak(model.model_g, speaker), speak(source.model_g, 1), atol=1e-4
        )


def test_speakers_keep_their_names_when_the_table_grows(tmp_path: Path) -> None:
    source = create_model(num_speakers=2, gin_channels=8)
    voices = [
        create_voice("ab", {"vera": 0, "boris": 1, "anna": 2}),
        create_voice("ab", {"anna": 0, "boris": 1}),
    ]
    old = source.state_dict()[TABLE]

    model = create_model(1, num_speakers=3, gin_channels=8)
    report = start(tmp_path, source, model, *voices)
    expected = torch.stack([old.mean(0), old[1], old[0]])
    torch.testing.assert_close(model.state_dict()[TABLE], expected)
    assert "2 of 3 speakers by name, 1 from the mean of the file's" in str(report)
    np.testing.assert_allclose(speak(model.model_g, 2), speak(source.model_g, 0), atol=1e-6)

    start(tmp_path, source, model, *voices, speaker="boris")
    torch.testing.assert_close(model.state_dict()[TABLE], torch.stack([old[1], old[1], old[0]]))


def test_a_table_without_names_is_taken_by_rows(tmp_path: Path) -> None:
    source = create_model(num_speakers=4, gin_channels=8)
    old = source.state_dict()[TABLE]
    model = create_model(1, num_speakers=2, gin_channels=8)
    report = start(tmp_path, source, model, create_voice("ab", {"anna": 0, "boris": 1}))
    assert torch.equal(model.state_dict()[TABLE], old[:2])
    assert "2 of 2 speakers the first rows, as names are unknown" in str(report)


def test_the_plain_duration_predictor_is_folded_but_for_the_ends(tmp_path: Path) -> None:
    source = create_model(num_speakers=2, gin_channels=8, use_sdp=False)
    model = create_model(1, use_sdp=False)
    start(tmp_path, source, model)
    x, mask = torch.randn(1, 16, 9), torch.ones(1, 1, 9)
    g = source.model_g.embed_speakers(torch.tensor([0]))
    with torch.no_grad():
        expected = source.model_g.dp.infer(x, mask, g)
        actual = model.model_g.dp.infer(x, mask)
    # Two layers of kernel 3 see the padding from two phonemes away.
    torch.testing.assert_close(actual[..., 2:-2], expected[..., 2:-2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("speakers", "wanted", "message"),
    [
        (2, "olga", r"no speaker 'olga'; --model\.warmstart_speaker takes anna, boris\."),
        (2, "7", r"no speaker '7'"),
        (1, "anna", r"has one speaker; leave out --model\.warmstart_speaker"),
    ],
)
def test_a_speaker_that_is_not_there(
    speakers: int, wanted: str, message: str, tmp_path: Path
) -> None:
    names = {"anna": 0, "boris": 1} if speakers == 2 else {}
    source = create_model(num_speakers=speakers)
    path = save(source, tmp_path / "c.ckpt", create_voice("ab", names))
    with pytest.raises(CheckpointError, match=message):
        VitsModel(**SMALL, warmstart=str(path), warmstart_speaker=wanted)


# -- symbols


def test_symbols_keep_their_meaning_when_their_ids_change(tmp_path: Path) -> None:
    source = create_model()
    model = create_model(1, num_symbols=100)
    before = model.state_dict()[EMBEDDING].clone()
    report = start(tmp_path, source, model, create_voice("cba ̃_^$ж"), create_voice("_^$ abc"))
    old, new = source.state_dict()[EMBEDDING], model.state_dict()[EMBEDDING]
    for own_row, file_row in ((0, 6), (1, 5), (2, 4), (3, 3), (5, 0), (6, 1), (7, 2)):
        assert torch.equal(new[own_row], old[file_row])
    for row in (4, 8, 99):
        assert torch.equal(new[row], before[row])
    assert "7 symbols by name, 2 fresh: U+0303, ж" in str(report)


def test_equal_maps_take_the_whole_table(tmp_path: Path) -> None:
    source, model, voice = create_model(), create_model(1), create_voice("_^$ abc")
    start(tmp_path, source, model, voice, voice)
    assert torch.equal(model.state_dict()[EMBEDDING], source.state_dict()[EMBEDDING])


def test_symbols_of_which_nothing_is_known_are_taken_by_position(tmp_path: Path) -> None:
    source = create_model()
    model = create_model(1, num_symbols=300)
    before = model.state_dict()[EMBEDDING].clone()
    report = start(tmp_path, source, model, create_voice("_^$ abc"))
    new = model.state_dict()[EMBEDDING]
    assert torch.equal(new[:256], source.state_dict()[EMBEDDING])
    assert torch.equal(new[256:], before[256:])
    assert "256 rows by position (the file's are unknown)" in str(report)


@pytest.mark.parametrize(
    "place",
    ["config.json", "c.ckpt.json", "../../../config.json"],
    ids=["beside", "own", "trained"],
)
def test_the_json_of_an_old_checkpoint_is_found(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    path = save(create_model(), folder / "c.ckpt")
    text = json.dumps(create_voice("_^$ abc").to_dict())
    (folder / place).resolve().write_text(text, encoding="utf-8")
    report = warm_start(create_model(1), path, create_voice("cba"))
    assert "3 symbols by name" in str(report)


def test_a_broken_json_beside_a_checkpoint_is_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    report = start(tmp_path, create_model(), create_model(1), create_voice("cba"))
    assert "by position" in str(report)
    assert "config.json is not valid JSON" in caplog.text


# -- what else


def test_moving_averages_are_preferred(tmp_path: Path) -> None:
    """They are what is validated and exported."""
    source = create_model()
    averages = {name: value + 1 for name, value in source.model_g.state_dict().items()}
    more = {"averages": {"decay": 0.999, "updates": 5, "weights": averages}}
    path = save(source, tmp_path / "c.ckpt", **more)
    model = create_model(1)
    report = warm_start(model, path)
    assert torch.equal(model.model_g.enc_p.proj.weight, averages["enc_p.proj.weight"])
    assert "its EMA weights" in str(report)
    own, old = model.model_d.state_dict(), source.model_d.state_dict()
    assert all(torch.equal(own[name], old[name]) for name in old)


def test_the_vocoder_alone_leaves_the_text_encoder(tmp_path: Path) -> None:
    source = create_model(num_speakers=2, gin_channels=8)
    model = create_model(1)
    before = model.state_dict()[EMBEDDING].clone()
    start(tmp_path, source, model, prefixes=VOCODER_PREFIXES, speaker="1")
    assert torch.equal(model.state_dict()[EMBEDDING], before)
    z = torch.randn(1, 16, 4)
    g = source.model_g.embed_speakers(torch.tensor([1]))
    with torch.no_grad():
        torch.testing.assert_close(
            model.model_g.dec(z), source.model_g.dec(z, g), atol=1e-5, rtol=1e-4
        )


def test_another_quality_gives_what_fits_by_shape(tmp_path: Path) -> None:
    source = create_model(hidden_channels=32, sample_rate=22050)
    report = start(tmp_path, source, create_model(1))
    assert report.count("decoder")[1] == 0
    assert report.count("text encoder")[1] > 0
    text = str(report)
    assert "of another quality: what fits by shape was taken" in text
    assert "trained at 22050 Hz, here it is 16000 Hz" in text


def test_nothing_that_fits_is_an_error(tmp_path: Path) -> None:
    torch.save({"state_dict": {"encoder.weight": torch.zeros(3)}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"No weight of .*other\.ckpt fits this network"):
        warm_start(create_model(), tmp_path / "other.ckpt")


def test_a_row_of_zeros_can_be_taken_apart() -> None:
    weight = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]])
    parts = take_apart({"a.weight": weight}, ["a.weight_g", "a.weight_v"])
    back = torch._weight_norm(parts["a.weight_v"], parts["a.weight_g"], 0)
    torch.testing.assert_close(back, weight)


def test_a_model_of_its_own_starts_when_it_is_set_up(tmp_path: Path) -> None:
    """Without a Trainer there are no symbols to ask for; a missing file is named at once."""
    source = create_model()
    path = save(source, tmp_path / "c.ckpt")
    model = VitsModel(**SMALL, warmstart=str(path))
    model.setup("fit")
    assert torch.equal(model.state_dict()[EMBEDDING], source.state_dict()[EMBEDDING])
    with pytest.raises(CheckpointError, match=r"gone\.ckpt does not exist"):
        VitsModel(**SMALL, warmstart="gone.ckpt")
