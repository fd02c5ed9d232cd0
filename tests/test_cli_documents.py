"""`python -m piper` with documents, paragraphs, one loudness for all, and progress."""

from __future__ import annotations

import io
import json
import re
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from piper import PiperVoice, SynthesisConfig, cli
from piper.audio.output import RawSink
from piper.cli import SpeechProgress, main, speak_utterances
from piper.text.markup import Utterance, parse_markup
from piper.text.pieces import Piece

pytestmark = pytest.mark.usefixtures("own_folder")

NO_NOISE = ["--noise-scale", "0", "--noise-w-scale", "0"]
RATE = 16000
SSML = (
    '<speak>Hello.<break time="500ms"/><prosody rate="slow">This is slow.</prosody>'
    "<p>New <voice>one</voice>.</p></speak>"
)
MARKDOWN = "# Head\n\nOne. Two.\n\n- item\n"


def read_wav(path: str | Path) -> np.ndarray:
    with wave.open(str(path)) as wav_file:
        return np.frombuffer(wav_file.readframes(wav_file.getnframes()), dtype="<i2")


def speak(model: Path, text: str, kind: str = "plain", **values: object) -> np.ndarray:
    config = SynthesisConfig(noise_scale=0, noise_w_scale=0, **values)  # type: ignore[arg-type]
    chunks = PiperVoice.load(model).synthesize(parse_markup(text, kind), config)
    return np.concatenate([chunk.audio_int16_array for chunk in chunks])


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def test_a_document_by_its_ending(tiny_voice: Path) -> None:
    Path("a.md").write_text(MARKDOWN)
    pauses = ["--sentence-silence", "0.1", "--paragraph_silence", "0.4"]
    assert main(["-m", str(tiny_voice), *NO_NOISE, *pauses, "-i", "a.md", "-f", "a.wav"]) == 0
    head, one, two, item = (speak(tiny_voice, text) for text in ("Head", "One.", "Two.", "item"))
    parts = [head, silence(0.4), one, silence(0.1), two, silence(0.4), item]
    assert np.array_equal(read_wav("a.wav"), np.concatenate(parts))


def test_ssml_on_standard_input_and_the_command_line(
    tiny_voice: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SSML.encode())))
    options = ["-m", str(tiny_voice), *NO_NOISE, "--input-format", "ssml"]
    assert main([*options, "-f", "a.wav"]) == 0
    assert main([*options, "-f", "b.wav", "--", *SSML.split(" ")]) == 0
    expected = speak(tiny_voice, SSML, "ssml")
    assert np.array_equal(read_wav("a.wav"), expected)
    assert np.array_equal(read_wav("b.wav"), expected)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [text.partition(";")[0] for text in warnings] == [
        "This SSML is not known and has no effect: tag <voice>"
    ] * 3


def test_subtitles_leave_the_pauses_out(tiny_voice: Path) -> None:
    Path("a.ssml").write_text(SSML)
    files = ["-i", "a.ssml", "-f", "a.wav", "--subtitles", "a.json"]
    options = ["--paragraph-silence", "0.3", "--sentence-silence", "0.2"]
    assert main(["-m", str(tiny_voice), *NO_NOISE, *options, *files]) == 0
    sentences = json.loads(Path("a.json").read_text())["sentences"]
    assert [sentence["text"] for sentence in sentences] == ["Hello.", "This is slow.", "New one."]
    times = [(s["start_seconds"], s["end_seconds"]) for s in sentences]
    assert times[1][0] - times[0][1] == pytest.approx(0.7, abs=2e-3)
    assert times[2][0] - times[1][1] == pytest.approx(0.3, abs=2e-3)
    assert times[2][1] == pytest.approx(len(read_wav("a.wav")) / RATE, abs=2e-3)
    for sentence in sentences:
        for timing in (*sentence["words"], *sentence["phonemes"]):
            assert sentence["start_seconds"] <= timing["start_seconds"] <= timing["end_seconds"]
            assert timing["end_seconds"] <= sentence["end_seconds"]


def test_a_document_streams(tiny_voice: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Path("a.md").write_text(MARKDOWN)
    common = ["-m", str(tiny_voice), *NO_NOISE, "-i", "a.md", "--paragraph-silence", "0.2"]
    assert main([*common, "--output-raw", "--stream"]) == 0
    samples = np.frombuffer(capfdbinary.readouterr().out, "<i2").astype(int)
    expected = speak(
        tiny_voice, MARKDOWN, "markdown", normalize="off", paragraph_silence_seconds=0.2
    )
    assert len(samples) == len(expected)
    assert np.abs(samples - expected).max() <= 4


def test_each_document_is_a_file_of_its_name(tiny_voice: Path) -> None:
    Path("part 1.md").write_text(MARKDOWN)
    Path("part2.ssml").write_text(SSML)
    files = ["-i", "part 1.md", "-i", "part2.ssml"]
    for folder, options in (("one", []), ("many", ["--jobs", "1"])):
        command = ["-m", str(tiny_voice), *NO_NOISE, *files, "-d", folder, *options]
        assert main(command) == 0
        assert sorted(path.name for path in Path(folder).glob("*.wav")) == [
            "part 1.wav",
            "part2.wav",
        ]
        expected = speak(tiny_voice, MARKDOWN, "markdown")
        assert np.array_equal(read_wav(f"{folder}/part 1.wav"), expected)


def test_the_format_may_say_that_a_document_is_lines(tiny_voice: Path) -> None:
    Path("a.md").write_text("# Head\n# Head\n")
    options = ["--input_format", "plain", "-i", "a.md", "-d", "out"]
    assert main(["-m", str(tiny_voice), *NO_NOISE, *options]) == 0
    assert len(list(Path("out").iterdir())) == 2


def test_a_blank_line_is_a_paragraph_s_end(tiny_voice: Path) -> None:
    Path("a.txt").write_text("\nOne. Two.\nThree.\n\n\nFour.\n")
    Path("b.txt").write_text("Five.\n")
    common = ["-m", str(tiny_voice), *NO_NOISE, "-i", "a.txt", "-i", "b.txt"]
    one, two, three, four, five = (
        speak(tiny_voice, text) for text in ("One.", "Two.", "Three.", "Four.", "Five.")
    )
    pauses = ["--paragraph-silence", "0.3", "--sentence-silence", "0.1"]
    assert main([*common, *pauses, "-f", "a.wav"]) == 0
    parts = [one, silence(0.1), two, three, silence(0.3), four, silence(0.3), five]
    assert np.array_equal(read_wav("a.wav"), np.concatenate(parts))
    assert main([*common, "-f", "b.wav"]) == 0
    assert np.array_equal(read_wav("b.wav"), np.concatenate([one, two, three, four, five]))
    assert main([*common, *pauses, "-d", "out", "--output-dir-naming", "number"]) == 0
    assert np.array_equal(read_wav("out/000003.wav"), four)


def test_one_factor_for_a_whole_file(tiny_voice: Path) -> None:
    Path("a.txt").write_text("One. Two.\n\nThree, and four!\n")
    common = ["-m", str(tiny_voice), *NO_NOISE, "-i", "a.txt"]
    for option, name in ((["--normalize", "utterance"], "a"), (["--normalize", "off"], "b")):
        assert main([*common, *option, "-f", f"{name}.wav"]) == 0
    levelled, raw = (read_wav(f"{name}.wav").astype(float) for name in "ab")
    assert np.abs(levelled).max() == 32767
    factor = 32767 / np.abs(raw).max()
    assert levelled == pytest.approx(raw * factor, abs=factor)  # the rounding of quiet samples
    assert main([*common, "--no-normalize", "-f", "c.wav"]) == 0
    assert np.array_equal(read_wav("c.wav"), raw)
    assert main([*common, "--normalize", "sentence", "-f", "d.wav"]) == 0
    texts = [speak(tiny_voice, text) for text in ("One.", "Two.", "Three, and four!")]
    assert np.array_equal(read_wav("d.wav"), np.concatenate(texts))
    options = ["--normalize", "utterance", "-d", "out", "--output-dir-naming", "number"]
    assert main([*common, *options]) == 0
    line = speak(tiny_voice, "One. Two.", normalize="utterance")
    assert np.array_equal(read_wav("out/000001.wav"), line)


def test_whole_ends(tiny_voice: Path) -> None:
    assert main(["-m", str(tiny_voice), *NO_NOISE, "--whole-ends", "-f", "a.wav", "six"]) == 0
    assert np.array_equal(read_wav("a.wav"), speak(tiny_voice, "six", whole_ends=True))
    assert main(["-m", str(tiny_voice), *NO_NOISE, "--no-whole-ends", "-f", "b.wav", "six"]) == 0
    assert np.array_equal(read_wav("b.wav"), speak(tiny_voice, "six", whole_ends=False))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ssml", "a < b", "error: a.ssml: The SSML is not well-formed XML (line 1"),
        ("a.md", b"\xff", "error: a.md, line 1: not UTF-8 text"),
        ("a.md", "```\ncode\n```\n", "error: There was nothing to speak"),
    ],
)
def test_mistakes_are_one_sentence(
    tiny_voice: Path,
    name: str,
    content: str | bytes,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert main(["-m", str(tiny_voice), "-i", name, "-f", "a.wav"]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(message)
    assert errors.count("\n") == 1
    assert not Path("a.wav").exists()


QUIET = SynthesisConfig(noise_scale=0, noise_w_scale=0)
LINES = [Utterance(word, word) for word in ("One.", "Two.", "Three.")]
DOCUMENT = Utterance("d", (Piece("One."), Piece("Two.", ends_paragraph=True), Piece("Three.")))


class Terminal(io.StringIO):
    """What a terminal is to a program: a stream that says so."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def voice(tiny_voice: Path) -> PiperVoice:
    return PiperVoice.load(tiny_voice)


def speak_with_progress(voice: PiperVoice, utterances: list[Utterance], stream: io.StringIO) -> str:
    progress = SpeechProgress(utterances, stream)
    assert speak_utterances(voice, utterances, QUIET, RawSink(io.BytesIO()), progress=progress) > 0
    progress.finish()
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_short_run_says_nothing(voice: PiperVoice, stream: io.StringIO) -> None:
    assert speak_with_progress(voice, LINES, stream) == ""


@pytest.mark.parametrize(("utterances", "unit"), [(LINES, "lines"), ([DOCUMENT], "parts")])
def test_on_a_terminal_it_says_how_far_it_is(
    voice: PiperVoice, utterances: list[Utterance], unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "QUIET_SECONDS", 0.0)
    said = speak_with_progress(voice, utterances, Terminal())
    assert re.match(rf"\rSpeaking: 0:00 left · 1/3 {unit} \(33 %\) · [\d.]+ a second", said)
    assert re.search(rf"\rSpeaking: 3 {unit} in \d+\.\d s \([\d.]+ a second\) *\n$", said)


def test_one_line_is_no_run(voice: PiperVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "QUIET_SECONDS", 0.0)
    assert speak_with_progress(voice, LINES[:1], Terminal()) == ""


def test_elsewhere_lines_are_rare(voice: PiperVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "FILE_INTERVAL_SECONDS", 0.0)
    said = speak_with_progress(voice, LINES, io.StringIO())
    assert re.fullmatch(r"Speaking: 3 lines in \d+\.\d s \([\d.]+ a second\)\n", said)


def test_as_one_utterance_they_have_one_loudness(voice: PiperVoice) -> None:
    config = SynthesisConfig(noise_scale=0, noise_w_scale=0, normalize="utterance")

    def speak(*, is_one: bool) -> np.ndarray:
        buffer = io.BytesIO()
        speak_utterances(voice, LINES, config, RawSink(buffer), is_one=is_one)
        return np.frombuffer(buffer.getvalue(), "<i2").astype(np.float32)

    raw = SynthesisConfig(noise_scale=0, noise_w_scale=0, normalize="off")
    texts = [str(line.text) for line in LINES]
    audio = [next(iter(voice.synthesize(text, raw))).audio_float_array for text in texts]
    one = np.concatenate(audio) / max(np.abs(sound).max() for sound in audio)
    each = np.concatenate([sound / np.abs(sound).max() for sound in audio])
    assert speak(is_one=True) / 32767 == pytest.approx(one, abs=1e-4)
    assert speak(is_one=False) / 32767 == pytest.approx(each, abs=1e-4)
