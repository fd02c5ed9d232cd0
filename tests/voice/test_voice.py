"""PiperVoice on small real voices, with real espeak-ng and ONNX Runtime."""

from __future__ import annotations

import io
import json
import logging
import shutil
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from piper import AudioChunk, PiperVoice, SynthesisConfig, VoiceConfig
from piper.errors import ConfigError, PhonemizeError, PiperError, VoiceNotFoundError
from piper.text.frontend import TextOptions
from piper.text.lexicon import Lexicon
from piper.voice import session

QUIET = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
TEXT = "Hello there, friend. This is a test!"


def change_config(path: Path, **values: Any) -> None:
    config_path = Path(f"{path}.json")
    data = json.loads(config_path.read_text())
    config_path.write_text(json.dumps({**data, **values}))


def synthesize_floats(voice: PiperVoice, config: SynthesisConfig | None = None) -> np.ndarray:
    return np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(TEXT, config)])


def test_a_chunk_for_each_sentence(voice: PiperVoice) -> None:
    chunks = list(voice.synthesize(TEXT))
    assert len(chunks) == 2
    for chunk, phonemes in zip(chunks, voice.phonemize(TEXT), strict=True):
        assert isinstance(chunk, AudioChunk)
        assert (chunk.sample_rate, chunk.sample_width, chunk.sample_channels) == (16000, 2, 1)
        assert chunk.phonemes == phonemes
        assert chunk.phoneme_ids == voice.phonemes_to_ids(phonemes)
        assert chunk.audio_float_array.dtype == np.float32
        assert len(chunk.audio_float_array) % 256 == 0
        assert np.abs(chunk.audio_float_array).max() == pytest.approx(1.0)
        assert chunk.phoneme_id_samples is None
        assert chunk.phoneme_alignments is None


@pytest.mark.parametrize("text", ["", "  \n", "..."])
def test_a_text_without_words_gives_nothing(voice: PiperVoice, text: str) -> None:
    assert list(voice.synthesize(text)) == []


def test_phonemes_and_ids_keep_piper_s_rule(voice: PiperVoice) -> None:
    [phonemes] = voice.phonemize("Hi.")
    assert phonemes == ["h", "ˈ", "a", "ɪ", "."]
    ids = voice.phonemes_to_ids(phonemes)
    assert (ids[0], ids[1], ids[-1]) == (1, 0, 2)
    assert ids[3:-1:2] == [0] * len(phonemes)


def test_scaling_is_synthesize_s_business(voice: PiperVoice) -> None:
    [chunk] = voice.synthesize("Hello.", QUIET)
    raw = voice.phoneme_ids_to_audio(chunk.phoneme_ids, QUIET)
    peak = np.abs(raw).max()
    assert 0 < peak < 1
    assert chunk.audio_float_array == pytest.approx(raw / peak, abs=1e-6)
    louder = SynthesisConfig(noise_scale=0, noise_w_scale=0, normalize_audio=False, volume=1.5)
    [chunk] = voice.synthesize("Hello.", louder)
    assert chunk.audio_float_array == pytest.approx(np.clip(raw * 1.5, -1, 1), abs=1e-6)


def test_length_scale_slows_down(voice: PiperVoice) -> None:
    slow = SynthesisConfig(noise_scale=0, noise_w_scale=0, length_scale=4.0)
    assert len(synthesize_floats(voice, slow)) > 2 * len(synthesize_floats(voice, QUIET))


def test_defaults_come_from_the_voice_s_json(own_voice: Path, voice: PiperVoice) -> None:
    change_config(own_voice, inference={"noise_scale": 0, "noise_w": 0, "length_scale": 1})
    own = PiperVoice.load(own_voice)
    assert np.array_equal(synthesize_floats(own), synthesize_floats(voice, QUIET))


def test_alignments_add_up_to_the_audio(voice: PiperVoice) -> None:
    for chunk in voice.synthesize(TEXT, include_alignments=True):
        assert chunk.phoneme_id_samples is not None
        assert chunk.phoneme_alignments is not None
        assert len(chunk.phoneme_id_samples) == len(chunk.phoneme_ids)
        assert chunk.phoneme_id_samples.sum() == len(chunk.audio_float_array)
        alignments = chunk.phoneme_alignments
        assert [a.phoneme for a in alignments] == ["^", *chunk.phonemes, "$"]
        assert [i for a in alignments for i in a.phoneme_ids] == chunk.phoneme_ids
        assert alignments[0].phoneme_ids == [1, 0]
        assert alignments[-1].phoneme_ids == [2]
        assert sum(a.num_samples for a in alignments) == len(chunk.audio_float_array)


def test_alignments_leave_out_what_the_id_map_lacks(own_voice: Path) -> None:
    id_map = json.loads(Path(f"{own_voice}.json").read_text())["phoneme_id_map"]
    del id_map["h"]
    change_config(own_voice, phoneme_id_map=id_map)
    [chunk] = PiperVoice.load(own_voice).synthesize("Hi.", include_alignments=True)
    assert chunk.phoneme_alignments is not None
    assert [a.phoneme for a in chunk.phoneme_alignments] == ["^", "ˈ", "a", "ɪ", ".", "$"]


def test_a_voice_without_durations_warns_once_and_gives_none(
    tiny_voice_without_durations: Path, caplog: pytest.LogCaptureFixture
) -> None:
    voice = PiperVoice.load(tiny_voice_without_durations, include_alignments=True, cache_dir=False)
    assert [record.message for record in caplog.records] == [
        f"{tiny_voice_without_durations} gives no durations, so there will be no alignments; "
        "export it again to get them."
    ]
    [chunk] = voice.synthesize("Hi.", include_alignments=True)
    assert chunk.phoneme_id_samples is None
    assert chunk.phoneme_alignments is None
    assert voice.phoneme_ids_to_audio([1, 0, 2], include_alignments=True)[1] is None


def test_the_optimised_model_gives_any_voices_durations(
    tiny_voice_without_durations: Path,
) -> None:
    voice = PiperVoice.load(tiny_voice_without_durations, include_alignments=True)
    [chunk] = voice.synthesize("Hi.", include_alignments=True)
    assert chunk.phoneme_id_samples is not None
    assert chunk.phoneme_id_samples.sum() == len(chunk.audio_float_array)
    assert chunk.phoneme_alignments is not None


def test_one_seed_gives_the_same_samples(tiny_voice: Path) -> None:
    def speak(seed: int | None) -> np.ndarray:
        return synthesize_floats(PiperVoice.load(tiny_voice, seed=seed))

    first = speak(7)
    assert np.array_equal(first, speak(7))
    assert not np.array_equal(first[:1000], speak(8)[:1000])


def test_a_seed_does_not_make_other_voices_repeat_themselves(tiny_voice: Path) -> None:
    # ONNX Runtime's seed is the process's; left set, it would silence all later variation.
    def speak_after_seed() -> np.ndarray:
        PiperVoice.load(tiny_voice, seed=7)
        return synthesize_floats(PiperVoice.load(tiny_voice))[:1000]

    assert not np.array_equal(speak_after_seed(), speak_after_seed())


def read_frames(buffer: io.BytesIO) -> tuple[int, bytes]:
    with wave.open(io.BytesIO(buffer.getvalue())) as wav_file:
        return wav_file.getframerate(), wav_file.readframes(wav_file.getnframes())


def test_synthesize_wav(voice: PiperVoice) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as wav_file:
        assert voice.synthesize_wav(TEXT, wav_file, QUIET) is None
    chunks = list(voice.synthesize(TEXT, QUIET))
    assert read_frames(buffer) == (16000, b"".join(chunk.audio_int16_bytes for chunk in chunks))


def test_synthesize_wav_into_a_file_with_a_format_and_alignments(voice: PiperVoice) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as wav_file:
        wav_file.setparams((1, 2, 16000, 0, "NONE", ""))
        alignments = voice.synthesize_wav(
            TEXT, wav_file, QUIET, set_wav_format=False, include_alignments=True
        )
    assert alignments is not None
    assert sum(a.num_samples for a in alignments) * 2 == len(read_frames(buffer)[1])


def test_synthesize_wav_of_nothing_is_a_valid_file(voice: PiperVoice) -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as wav_file:
        voice.synthesize_wav("", wav_file)
    assert read_frames(buffer) == (16000, b"")


def test_speakers_differ_and_the_json_names_the_default(
    tiny_voice_multi_speaker: Path, tmp_path: Path
) -> None:
    voice = PiperVoice.load(tiny_voice_multi_speaker)

    def speak(speaker_id: int | None) -> np.ndarray:
        config = SynthesisConfig(speaker_id=speaker_id, noise_scale=0, noise_w_scale=0)
        return synthesize_floats(voice, config)

    assert np.array_equal(speak(None), speak(0))
    zero, two = speak(0), speak(2)
    assert len(zero) != len(two) or not np.allclose(zero, two, atol=1e-3)
    voice.config.default_speaker_id = 2
    assert np.array_equal(speak(None), two)


@pytest.mark.parametrize("speaker_id", [-1, 3])
def test_a_speaker_out_of_range(tiny_voice_multi_speaker: Path, speaker_id: int) -> None:
    voice = PiperVoice.load(tiny_voice_multi_speaker)
    with pytest.raises(
        PiperError, match=rf"no speaker {speaker_id}: the voice has speakers 0 to 2"
    ):
        list(voice.synthesize("Hi.", SynthesisConfig(speaker_id=speaker_id)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"length_scale": 0.0}, "length_scale is 0.0, but it must be more than 0"),
        ({"noise_scale": -0.1}, "noise_scale is -0.1, but it must be 0 or more"),
        ({"noise_w_scale": float("nan")}, "noise_w_scale is nan, but it must be 0 or more"),
    ],
)
def test_scales_that_make_no_sense(
    voice: PiperVoice, values: dict[str, float], message: str
) -> None:
    with pytest.raises(PiperError, match=message):
        list(voice.synthesize("Hi.", SynthesisConfig(**values)))  # type: ignore[arg-type]


@pytest.mark.parametrize("ids", [[], [1, -1, 2], [1, 256, 2]])
def test_ids_that_the_network_has_no_row_for(voice: PiperVoice, ids: list[int]) -> None:
    with pytest.raises(PiperError, match="between 0 and 255"):
        voice.phoneme_ids_to_audio(ids)


def test_unknown_phonemes_are_warned_about_once(
    own_voice: Path, caplog: pytest.LogCaptureFixture
) -> None:
    id_map = json.loads(Path(f"{own_voice}.json").read_text())["phoneme_id_map"]
    del id_map["h"]
    change_config(own_voice, phoneme_id_map=id_map)
    voice = PiperVoice.load(own_voice)
    for _ in range(2):
        list(voice.synthesize("Hello, hello. Hello!"))
    messages = [record.message for record in caplog.records]
    assert len(messages) == 1
    assert "'h'" in messages[0]


def test_another_phonemizer_than_in_training_is_said_once(
    own_voice: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change_config(own_voice, phonemizer={"name": "espeak-ng", "version": "1.48"})
    voice = PiperVoice.load(own_voice)
    list(voice.synthesize(TEXT))
    [record] = caplog.records
    assert "trained on phonemes of espeak-ng 1.48, but speaks with those of" in record.message
    caplog.clear()
    present = voice.frontend.phonemizer
    change_config(own_voice, phonemizer={"name": present.name, "version": present.version})
    PiperVoice.load(own_voice)
    assert caplog.records == []


def test_a_given_config_is_read(own_voice: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    data = json.loads(Path(f"{own_voice}.json").read_text())
    other.write_text(json.dumps({**data, "audio": {"sample_rate": 8000}}))
    assert PiperVoice.load(str(own_voice), str(other)).config.sample_rate == 8000
    Path(f"{own_voice}.json").unlink()
    assert PiperVoice.load(own_voice, other).config.sample_rate == 8000


def test_a_voice_of_code_points(own_voice: Path) -> None:
    change_config(own_voice, phoneme_type="text")
    [chunk] = PiperVoice.load(own_voice).synthesize("hi. ho")
    assert chunk.phonemes == list("hi. ho")


def test_an_espeak_data_folder_that_is_none(own_voice: Path, tmp_path: Path) -> None:
    with pytest.raises(PhonemizeError, match="holds no espeak-ng data"):
        PiperVoice.load(own_voice, espeak_data_dir=tmp_path)


def test_an_onnx_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(VoiceNotFoundError, match=r"none\.onnx does not exist.*download_voices"):
        PiperVoice.load(tmp_path / "none.onnx")


def test_an_onnx_without_json_and_with_a_broken_one(own_voice: Path) -> None:
    config_path = Path(f"{own_voice}.json")
    config_path.write_text("{")
    with pytest.raises(ConfigError, match=r"own\.onnx\.json is not valid JSON"):
        PiperVoice.load(own_voice)
    config_path.unlink()
    with pytest.raises(VoiceNotFoundError, match=r"no own\.onnx\.json beside it"):
        PiperVoice.load(own_voice)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_an_onnx_that_is_none(
    own_voice: Path, content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_voice.write_bytes(content)
    caplog.set_level(logging.INFO, "piper")
    with pytest.raises(PiperError, match=r"own\.onnx cannot be loaded .* whole ONNX file"):
        PiperVoice.load(own_voice, cache_dir=tmp_path / "cache")
    assert not caplog.records  # it was said to speak by its own graph


def test_an_onnx_of_something_else(own_voice: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [result])
    opset = helper.make_opsetid("", 15)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(own_voice))
    with pytest.raises(PiperError, match=r'not a Piper voice: .* no input "input" \(it has: x\)'):
        PiperVoice.load(own_voice)


def test_cuda_that_is_not_there_is_said_once_and_the_cpu_speaks(
    tiny_voice: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session._warn_about_cuda.cache_clear()
    for cache_dir in (None, False):
        voice = PiperVoice.load(tiny_voice, use_cuda=True, cache_dir=cache_dir)
        assert list(voice.synthesize("Hi."))
    if has_gpu := "CUDAExecutionProvider" in voice.session.get_providers():
        assert not caplog.messages
    else:
        [line] = [line for line in caplog.messages if "CUDA" in line]
        assert line.startswith("CUDA was asked for, but ")
    try:
        voice = PiperVoice.load(tiny_voice, use_cuda="strict")
    except PiperError as error:
        assert not has_gpu
        assert str(error).startswith("CUDA was asked for (--strict-cuda), but ")
    else:
        assert has_gpu


def test_a_session_of_onnx_runtime_makes_a_voice(tiny_voice: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tiny_voice), providers=["CPUExecutionProvider"])
    config = VoiceConfig.from_dict(json.loads(Path(f"{tiny_voice}.json").read_text("utf-8")))
    voice = PiperVoice(session=session, config=config, download_dir=Path("voices"))
    assert voice.session is session
    assert voice.download_dir == Path("voices")
    assert (voice.espeak_data_dir / "phontab").is_file()
    [chunk] = voice.synthesize("Hi.", QUIET)
    assert chunk.audio_float_array.any()
    other = onnxruntime.InferenceSession(str(tiny_voice), providers=["CPUExecutionProvider"])
    assert PiperVoice(other, config).phoneme_ids_to_audio([1, 0, 5, 0, 2], QUIET).any()


def test_programs_run_a_voice_s_own_graph_beside_it(tiny_voice: Path) -> None:
    voice = PiperVoice.load(tiny_voice, download_dir="elsewhere")
    ids = voice.phonemes_to_ids(voice.phonemize("Hi.")[0])
    feeds = {
        "input": np.array([ids], np.int64),
        "input_lengths": np.array([len(ids)], np.int64),
        "scales": np.array([0.0, 1.0, 0.0], np.float32),
    }
    assert [item.name for item in voice.session.get_inputs()] == list(feeds)
    assert voice.session.get_outputs()[0].name == "output"
    assert voice.session.get_providers() == ["CPUExecutionProvider"]
    assert voice.session.get_modelmeta().custom_metadata_map
    audio = voice.session.run(None, feeds)[0].reshape(-1)
    assert np.abs(audio - voice.phoneme_ids_to_audio(ids, QUIET)).max() < 1e-4


def test_calls_of_piper_1_2_are_understood_with_a_warning(voice: PiperVoice) -> None:
    quiet = {"noise_scale": 0.0, "noise_w": 0.0}
    config = replace(QUIET, length_scale=1.5, sentence_silence_seconds=0.2)
    expected = b"".join(chunk.audio_int16_bytes for chunk in voice.synthesize(TEXT, config))
    for keyword in (False, True):
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file, pytest.warns(DeprecationWarning, match="_wav"):
            given = (TEXT,) if keyword else (TEXT, file)
            named = {"wav_file": file} if keyword else {}
            voice.synthesize(*given, **named, length_scale=1.5, sentence_silence=0.2, **quiet)
        buffer.seek(0)
        with wave.open(buffer) as file:
            assert file.readframes(file.getnframes()) == expected
    with pytest.warns(DeprecationWarning, match="synthesize"):
        raw = voice.synthesize_stream_raw(TEXT, length_scale=1.5, sentence_silence=0.2, **quiet)
    assert b"".join(raw) == expected
    with pytest.warns(DeprecationWarning, match="SynthesisConfig"):
        chunks = list(voice.synthesize(TEXT, length_scale=1.5, sentence_silence=0.2, **quiet))
    assert b"".join(chunk.audio_int16_bytes for chunk in chunks) == expected
    with pytest.warns(DeprecationWarning, match="phoneme_ids_to_audio"):
        assert voice.synthesize_ids_to_raw(chunks[0].phoneme_ids, length_scale=1.5, **quiet)
    with pytest.raises(TypeError, match="There is no argument speed; say how to speak"):
        voice.synthesize(TEXT, speed=2)


def test_logging_is_left_to_the_program(voice: PiperVoice) -> None:
    assert logging.getLogger("piper").handlers == []


def test_a_lexicon_of_the_voice_and_of_a_call(tiny_voice: Path, tmp_path: Path) -> None:
    for suffix in ("", ".json"):
        shutil.copy(f"{tiny_voice}{suffix}", tmp_path / f"voice.onnx{suffix}")
    plain = PiperVoice.load(tmp_path / "voice.onnx")
    (tmp_path / "voice.onnx.lexicon").write_text("cat\tdog\n")
    voice = PiperVoice.load(tmp_path / "voice.onnx")
    assert voice.phonemize("My cat.") == plain.phonemize("My dog.")
    own = TextOptions(lexicon=Lexicon(texts={"cat": "cow"}))
    assert PiperVoice.load(tmp_path / "voice.onnx", text_options=own).phonemize(
        "My cat."
    ) == plain.phonemize("My cow.")
    [chunk] = voice.synthesize("My cat.", text_options=own)
    assert [chunk.phonemes] == plain.phonemize("My cow.")
    [chunk] = voice.synthesize("My cat.", text_options=TextOptions(stress="off"))
    assert [chunk.phonemes] == plain.phonemize("My dog.")
    [chunk] = voice.synthesize("My cat.")
    assert [chunk.phonemes] == plain.phonemize("My dog.")
