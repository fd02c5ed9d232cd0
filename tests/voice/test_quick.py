"""What quick voices do that others cannot, and what their scales do, measured in their sound."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from piper import PiperVoice, SynthesisConfig
from piper.audio.chunk import WordTiming
from piper.cli import main
from piper.errors import CheckpointError, PiperError
from piper.patch_voice_with_alignment import main as patch
from piper.text.markup import parse_markup
from piper.text.pieces import Piece
from piper.voice.graph_quick import QuickGraphConfig
from piper.voice.graph_writer import set_metadata
from piper.voice.weights import load_voice_weights

RATE = 16000
TEXT = "One, two, three; four: five and six were walking along the river when it began to rain."
QUIET = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0, normalize="off")


@pytest.fixture(scope="module", params=["parts", "own"])
def voice(request: pytest.FixtureRequest, quick_voice: Path) -> PiperVoice:
    """The voice, once by its parts and once by its own graph."""
    cache_dir = None if request.param == "parts" else False
    return PiperVoice.load(quick_voice, cache_dir=cache_dir, seed=3)


@pytest.fixture(scope="module")
def parts(quick_voice: Path) -> PiperVoice:
    return PiperVoice.load(quick_voice)


def speak(
    voice: PiperVoice, text: str | Sequence[Piece], config: SynthesisConfig = QUIET
) -> np.ndarray:
    return np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text, config)])


def measure_pitch(audio: np.ndarray) -> np.ndarray:
    """Return hertz of frames, by the highest peak of the autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(audio, 1024)[::512]
    spectra = np.fft.rfft(frames * np.hanning(1024), 4096)
    correlation = np.fft.irfft(np.abs(spectra) ** 2)
    low, high = RATE // 400, RATE // 60
    # The window's own share falls with the lag; without it the double period would win.
    window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(1024), 4096)) ** 2)
    lags = (correlation[:, low:high] / window[low:high]).argmax(axis=1) + low
    return np.asarray(RATE / lags)


def find_semitones(audio: np.ndarray, other: np.ndarray) -> float:
    """Return how much higher the one sound is than the other."""
    one, two = (np.median(np.log2(measure_pitch(sound))) for sound in (audio, other))
    return float(12 * (one - two))


@pytest.mark.parametrize("semitones", [-7.0, 3.0, 12.0])
def test_pitch_is_set_in_semitones(voice: PiperVoice, semitones: float) -> None:
    usual = speak(voice, TEXT)
    changed = speak(voice, TEXT, replace(QUIET, pitch=semitones))
    assert len(changed) == len(usual)
    assert find_semitones(changed, usual) == pytest.approx(semitones, abs=0.4)


def test_a_scale_of_0_always_gives_the_same_and_length_stretches(voice: PiperVoice) -> None:
    usual = speak(voice, TEXT)
    assert np.array_equal(usual, speak(voice, TEXT))
    slow = speak(voice, TEXT, replace(QUIET, length_scale=2.0))
    assert len(slow) / len(usual) == pytest.approx(2.0, rel=0.05)
    assert abs(find_semitones(slow, usual)) < 0.5


def test_noise_scales_vary_pitch_and_rhythm_around_the_mean(voice: PiperVoice) -> None:
    spreads, lengths = [], []
    usual = np.log2(measure_pitch(speak(voice, TEXT)))
    for scale in (0.5, 1.0):
        spoken = [speak(voice, TEXT, replace(QUIET, noise_scale=scale)) for _ in range(6)]
        assert {len(audio) for audio in spoken} == {len(speak(voice, TEXT))}
        changes = 12 * np.stack([np.log2(measure_pitch(audio)) - usual for audio in spoken])
        assert abs(np.median(changes)) < 0.5
        low, high = np.quantile(changes, (0.2, 0.8))
        spreads.append(high - low)
        config = replace(QUIET, noise_w_scale=scale)
        lengths.append([len(speak(voice, TEXT, config)) for _ in range(12)])
    assert spreads[1] > 1.4 * spreads[0] > 0.5
    assert np.std(lengths[1]) > np.std(lengths[0]) > 0
    assert np.mean(lengths[0]) == pytest.approx(len(speak(voice, TEXT)), rel=0.1)


def test_ssml_says_how_high_a_piece_is(parts: PiperVoice) -> None:
    mean = parts.network.mean_hertz
    assert mean == pytest.approx(120.0, abs=0.01)
    for ssml, semitones in [
        ('<prosody pitch="x-high">Hello there.</prosody>', 4.0),
        ('<prosody pitch="+12.2462%">Hello there.</prosody>', 2.0),
        ('<prosody pitch="240.0Hz">Hello there.</prosody>', 12.0),
        ('<prosody pitch="+120.0Hz">Hello there.</prosody>', 12.0),
        ('<prosody pitch="240.0Hz"><prosody pitch="-2st">Hello there.</prosody></prosody>', 10.0),
    ]:
        found = speak(parts, parse_markup(ssml, "ssml"))
        expected = speak(parts, "Hello there.", replace(QUIET, pitch=semitones))
        np.testing.assert_allclose(found, expected, atol=1e-3)
    # Hertz are what they are, whatever is added to the whole text; words and steps go with it.
    higher = replace(QUIET, pitch=3.0)
    found = speak(parts, parse_markup('<prosody pitch="240Hz">Hi there.</prosody>', "ssml"), higher)
    expected = speak(parts, "Hi there.", replace(QUIET, pitch=12.0))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    found = speak(parts, parse_markup('<prosody pitch="low">Hi there.</prosody>', "ssml"), higher)
    expected = speak(parts, "Hi there.", replace(QUIET, pitch=1.0))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def find_words(
    voice: PiperVoice, text: str | Sequence[Piece]
) -> tuple[np.ndarray, list[WordTiming]]:
    [chunk] = voice.synthesize(text, QUIET, include_alignments=True)
    assert chunk.word_timings is not None
    return chunk.audio_float_array, chunk.word_timings


def test_a_pitch_is_set_within_a_sentence(
    parts: PiperVoice, quick_voice: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usual, words = find_words(parts, "I am walking along the river when it rains.")
    ssml = 'I am <prosody pitch="+5st">walking along</prosody> the river when it rains.'
    changed, others = find_words(parts, parse_markup(ssml, "ssml"))
    assert words == others
    for word in words:
        start, end = (round(seconds * RATE) for seconds in (word.start_seconds, word.end_seconds))
        wanted = 5.0 if word.text in ("walking", "along") else 0.0
        if end - start > 4096:  # long enough to be measured
            found = find_semitones(changed[start:end], usual[start:end])
            assert found == pytest.approx(wanted, abs=0.8)
    own = PiperVoice.load(quick_voice, cache_dir=False)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(
            speak(own, parse_markup(ssml, "ssml")),
            speak(own, "I am walking along the river when it rains."),
        )
    assert "the pitch of single words" in caplog.text


EMPHASISED = 'I am <emphasis level="strong">walking</emphasis> along the river when it rains.'


def test_emphasis_makes_words_slower_and_higher_within_their_sentence(parts: PiperVoice) -> None:
    usual, words = find_words(parts, "I am walking along the river when it rains.")
    weighed, others = find_words(parts, parse_markup(EMPHASISED, "ssml"))
    assert [word.text for word in words] == [word.text for word in others]
    for word, other in zip(words, others, strict=True):
        times = (word.start_seconds, word.end_seconds, other.start_seconds, other.end_seconds)
        start, end, first, last = (round(seconds * RATE) for seconds in times)
        if word.text != "walking":
            assert last - first == end - start
            continue
        assert 1.1 < (last - first) / (end - start) < 1.4
        assert find_semitones(weighed[first:last], usual[start:end]) == pytest.approx(3.0, abs=0.7)


def test_other_voices_speak_emphasised_words_slower(tiny_voice: Path) -> None:
    voice = PiperVoice.load(tiny_voice)
    _, words = find_words(voice, "I am walking along the river when it rains.")
    _, others = find_words(voice, parse_markup(EMPHASISED, "ssml"))
    longer = [
        (other.end_seconds - other.start_seconds) / (word.end_seconds - word.start_seconds)
        for word, other in zip(words, others, strict=True)
    ]
    assert longer[2] > 1.1
    assert longer[:2] + longer[3:] == pytest.approx([1.0] * (len(words) - 1))


@pytest.mark.parametrize("cache_dir", [None, False])
def test_other_voices_say_once_that_their_pitch_stays(
    tiny_voice: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, cache_dir: bool | None
) -> None:
    own_json = tmp_path / "voice.onnx.json"  # another name, which was not warned about yet
    own_json.write_bytes(tiny_voice.with_name(f"{tiny_voice.name}.json").read_bytes())
    voice = PiperVoice.load(tiny_voice, own_json, cache_dir=cache_dir)
    pieces = parse_markup('Hello. <prosody pitch="high">Hi there.</prosody> Bye.', "ssml")
    with caplog.at_level(logging.WARNING):
        found = speak(voice, pieces, replace(QUIET, pitch=2.0))
        speak(voice, "Hello.", replace(QUIET, pitch=-2.0))
    [message] = [record.getMessage() for record in caplog.records]
    assert message == (
        f"The pitch of {tmp_path / 'voice.onnx'} cannot be set, and stays as it is; only that of "
        "quick voices can."
    )
    np.testing.assert_array_equal(found, speak(voice, [replace(p, spans=()) for p in pieces]))


@pytest.mark.parametrize("ids", [[0], [0, 0, 0], [1], [1, 2], [1, 0, 14, 0, 2], [255] * 3])
@pytest.mark.parametrize("length_scale", [0.01, 1.0])
def test_any_ids_are_spoken(voice: PiperVoice, ids: list[int], length_scale: float) -> None:
    config = replace(QUIET, length_scale=length_scale)
    audio, samples = voice.phoneme_ids_to_audio(ids, config, include_alignments=True)
    assert samples is not None
    assert np.isfinite(audio).all()
    # Without any frame there is one, as with other voices.
    assert len(audio) == max(256, samples.sum())


@pytest.mark.parametrize("semitones", [12.5, -13.0, float("nan"), float("inf")])
def test_a_pitch_out_of_bounds_is_refused(parts: PiperVoice, semitones: float) -> None:
    with pytest.raises(PiperError, match=r"^pitch is .*, but it must be from -12 to 12 semitones"):
        speak(parts, "Hi.", replace(QUIET, pitch=semitones))


def test_lines_of_json_have_a_pitch_of_their_own(
    quick_voice: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "lines.json"
    files = [tmp_path / name for name in ("usual.raw", "high.raw", "low.raw")]
    said: list[dict[str, object]] = [
        {"text": TEXT, "output_file": str(path), "pitch": pitch}
        for path, pitch in zip(files, (0, 4.5, None), strict=True)
    ]
    lines.write_text("\n".join(map(json.dumps, said)))
    command = ["-m", str(quick_voice), "--input-format", "json", "-i", str(lines)]
    command += ["--noise-scale", "0", "--noise-w-scale", "0"]
    assert main([*command, "--pitch", "-3"]) == 0
    usual, high, low = (np.fromfile(path, "<i2").astype(np.float32) for path in files)
    assert find_semitones(high, usual) == pytest.approx(4.5, abs=0.4)
    assert find_semitones(low, usual) == pytest.approx(-3.0, abs=0.4)
    for wrong in ("high", True, 13, [1]):
        lines.write_text(json.dumps({"text": "Hi.", "pitch": wrong}))
        assert main(command) == 1
        assert "semitones from -12 to 12 is wanted" in capfd.readouterr().err


def test_a_quick_voice_is_not_taken_for_another_network(quick_voice: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a quick voice"):
        load_voice_weights(quick_voice)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(quick_voice.read_bytes())
    assert patch([str(copy)]) == 0
    assert copy.read_bytes() == quick_voice.read_bytes()


def load_with_metadata(path: Path, text: str, folder: Path) -> PiperVoice:
    model = onnx.load(path)
    set_metadata(model, {"piper_quick": text})
    onnx.save(model, folder / "odd.onnx")
    return PiperVoice.load(folder / "odd.onnx", f"{path}.json", cache_dir=folder / "cache")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "no JSON",
        json.dumps({"sample_rate": 16000}),
        *(
            json.dumps({**vars(QuickGraphConfig(16000, 1024, 256, mean_hertz=120.0)), key: value})
            for key, value in [
                ("hop_length", 0),
                ("filter_length", 1e99),
                ("num_speakers", True),
                ("pad_id", -1),
                ("mean_hertz", 0.0),
                ("mean_hertz", "high"),
            ]
        ),
    ],
)
def test_metadata_that_say_nonsense_make_no_quick_voice(
    quick_voice: Path, tmp_path: Path, text: str
) -> None:
    """It speaks, but nothing is believed of it."""
    with pytest.raises(ValueError, match="configuration"):
        QuickGraphConfig.from_json(text)
    voice = load_with_metadata(quick_voice, text, tmp_path)
    assert voice.network.mean_hertz is None
    assert len(speak(voice, "Hi.")) > 1000


def test_a_quick_voice_s_metadata_in_another_graph_are_not_believed(
    tiny_voice: Path, quick_voice: Path, tmp_path: Path
) -> None:
    [said] = (e.value for e in onnx.load(quick_voice).metadata_props if e.key == "piper_quick")
    voice = load_with_metadata(tiny_voice, said, tmp_path)
    assert voice.network.mean_hertz is None
    np.testing.assert_allclose(
        speak(voice, "Hi."), speak(PiperVoice.load(tiny_voice), "Hi."), atol=1e-4
    )


def test_a_quick_voice_that_cannot_be_cut_speaks_by_its_own_graph(
    quick_voice: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = onnx.load(quick_voice)
    for node in model.graph.node:  # as after a program that renames values
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name in ("encoded", "wander"):
                    names[place] = f"{name}_1"
    path = tmp_path / "renamed.onnx"
    onnx.save(model, path)
    own_json = quick_voice.with_name(f"{quick_voice.name}.json")
    with caplog.at_level(logging.INFO):
        voice = PiperVoice.load(path, own_json, cache_dir=tmp_path / "cache")
    assert "speaks by its own graph" in caplog.text
    high = replace(QUIET, pitch=5.0)
    assert find_semitones(speak(voice, TEXT, high), speak(voice, TEXT)) == pytest.approx(5, abs=0.4)
