"""`python -m piper`: in this process, and as the real command."""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import piper
from piper import PiperVoice, SynthesisConfig, files
from piper.cli import _find_voice, main
from piper.errors import VoiceNotFoundError
from piper.options import parse_arguments
from piper.text.phonemizers import find_espeak_data
from publishing import NAME, Hub

pytestmark = pytest.mark.usefixtures("own_folder")

NO_NOISE = ["--noise-scale", "0", "--noise-w-scale", "0"]


def give_input(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    raw = content.encode() if isinstance(content, str) else content
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def read_wav(source: str | Path | bytes) -> tuple[int, np.ndarray]:
    opened = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    with wave.open(opened) as wav_file:
        assert (wav_file.getsampwidth(), wav_file.getnchannels()) == (2, 1)
        frames = wav_file.readframes(wav_file.getnframes())
        return wav_file.getframerate(), np.frombuffer(frames, dtype="<i2")


def synthesize(model: Path, text: str, **values: float) -> list[np.ndarray]:
    config = SynthesisConfig(noise_scale=0, noise_w_scale=0, **values)  # type: ignore[arg-type]
    return [chunk.audio_int16_array for chunk in PiperVoice.load(model).synthesize(text, config)]


def run_piper(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "piper", *arguments]
    return subprocess.run(command, capture_output=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def test_the_quick_start_s_command(tiny_voice: Path) -> None:
    done = run_piper(
        *("--model", str(tiny_voice), "--config", f"{tiny_voice}.json"),
        *("--output-file", "output.wav", *NO_NOISE),
        input=b"Hello, this is a test\n",
    )
    assert (done.returncode, done.stdout) == (0, b"")
    rate, samples = read_wav("output.wav")
    assert rate == 16000
    assert np.array_equal(samples, np.concatenate(synthesize(tiny_voice, "Hello, this is a test")))
    assert done.stderr.decode() == f"Wrote output.wav ({len(samples) / rate:.2f} s)\n"


def test_text_after_the_dashes_is_one_utterance_without_them(tiny_voice: Path) -> None:
    assert (
        main(["-m", str(tiny_voice), *NO_NOISE, "-f", "a.wav", "--", "One two", "-x three."]) == 0
    )
    [expected] = synthesize(tiny_voice, "One two -x three.")
    assert np.array_equal(read_wav("a.wav")[1], expected)


@pytest.mark.parametrize(
    ("arguments", "text", "output_file"),
    [
        (["one", "two", "-f", "x"], ["one", "two"], "x"),
        (["-f", "x", "one", "two"], ["one", "two"], "x"),
        (["one", "-f", "x", "two"], ["one", "two"], "x"),
        (["--", "a", "--", "b"], ["a", "--", "b"], None),
        (["--output-raw", "-f", "-"], [], None),
    ],
)
def test_text_may_stand_anywhere(
    arguments: list[str], text: list[str], output_file: str | None
) -> None:
    args = parse_arguments(["-m", "m", *arguments])
    assert (args.text, args.output_file) == (text, output_file)


def test_all_lines_join_in_one_file(tiny_voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_input(monkeypatch, "\ufeffOne. Two.\r\n\n   \nThree.")
    assert main(["-m", str(tiny_voice), *NO_NOISE, "-f", "a.wav"]) == 0
    expected = synthesize(tiny_voice, "One. Two.") + synthesize(tiny_voice, "Three.")
    assert np.array_equal(read_wav("a.wav")[1], np.concatenate(expected))


def test_silence_stands_between_the_sentences_of_a_line(
    tiny_voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_input(monkeypatch, "One. Two.\nThree.\n")
    # 0.00328125 s are 52.5 samples: half a sample must not shift the bytes after it.
    silence = ["--sentence-silence", "0.00328125"]
    assert main(["-m", str(tiny_voice), *NO_NOISE, "-f", "a.wav", *silence]) == 0
    one, two = synthesize(tiny_voice, "One. Two.")
    [three] = synthesize(tiny_voice, "Three.")
    expected = np.concatenate([one, np.zeros(52, np.int16), two, three])
    assert np.array_equal(read_wav("a.wav")[1], expected)


def test_input_files_one_after_the_other(tiny_voice: Path, tmp_path: Path) -> None:
    Path("a.txt").write_text("One.\n")
    Path("b.txt").write_text("Two.")
    files = ["-i", "a.txt", "--input_file", "b.txt"]
    assert main(["-m", str(tiny_voice), *NO_NOISE, *files, "-d", "out"]) == 0
    written = [read_wav(path)[1] for path in sorted(Path("out").iterdir())]
    expected = synthesize(tiny_voice, "One.") + synthesize(tiny_voice, "Two.")
    assert len(written) == 2
    assert all(np.array_equal(a, b) for a, b in zip(written, expected, strict=True))


def test_a_folder_with_files_named_by_their_text(
    tiny_voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_input(monkeypatch, "Hi.\nHi?\nПривет, мир.\n")
    assert main(["-m", str(tiny_voice), "--output_dir", "d", "--output-dir-naming", "text"]) == 0
    assert sorted(path.name for path in Path("d").iterdir()) == [
        "Hi 2.wav",
        "Hi.wav",
        "Привет, мир.wav",
    ]


def test_standard_output_raw_and_wav(tiny_voice: Path) -> None:
    common = ("-m", str(tiny_voice), *NO_NOISE)
    raw = run_piper(*common, "--output-raw", "--", "One. Two.")
    expected = np.concatenate(synthesize(tiny_voice, "One. Two."))
    assert np.array_equal(np.frombuffer(raw.stdout, "<i2"), expected)
    assert raw.stderr == b""
    wav = run_piper(*common, "-f", "-", input=b"One. Two.\n")
    assert np.array_equal(read_wav(wav.stdout)[1], expected)


def test_without_an_output_option_a_pipe_or_a_file_gets_a_wav(tiny_voice: Path) -> None:
    """`… > test.wav` gave nothing, said nothing and ended with 0: the speech was elsewhere."""
    [expected] = synthesize(tiny_voice, "Hello.")
    command = [sys.executable, "-m", "piper", "-m", str(tiny_voice), *NO_NOISE, "Hello."]
    with Path("test.wav").open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, timeout=120, check=True)
    assert b"Writing WAV to standard output" in done.stderr
    assert np.array_equal(read_wav("test.wav")[1], expected)
    assert not Path("output.wav").exists()


def test_without_an_output_option_a_terminal_gets_output_wav_or_a_player(
    tiny_voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [expected] = synthesize(tiny_voice, "Hello.")
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        command = ["-m", str(tiny_voice), *NO_NOISE, "Hello."]
        assert main(command) == 0
        assert np.array_equal(read_wav("output.wav")[1], expected)
        Path("output.wav").unlink()
        player = tmp_path / "ffplay"
        player.write_text(f'#!/bin/sh\n/bin/cat > "{tmp_path}/played.wav"\n')
        player.chmod(0o755)
        assert main(command) == 0
        assert np.array_equal(read_wav("played.wav")[1], expected)
        assert not Path("output.wav").exists()
    os.close(master)


def test_closed_standard_streams_are_a_sentence_and_no_file_gets_their_number(
    tiny_voice: Path, tmp_path: Path
) -> None:
    def run(arguments: str) -> tuple[int, str]:
        command = f"'{sys.executable}' -m piper -m '{tiny_voice}' {' '.join(NO_NOISE)} {arguments}"
        done = subprocess.run(
            ["/bin/bash", "-c", command], capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stderr

    [expected] = synthesize(tiny_voice, "Hello.")
    # What libraries say on standard error would land in the first file that is opened.
    assert run("-f a.wav --debug -- Hello. <&- >&- 2>&-")[0] == 0
    assert np.array_equal(read_wav("a.wav")[1], expected)
    code, said = run("-f - -- Hello. >&-")
    assert code == 1
    assert said.startswith("error: Standard output cannot be written (Bad file descriptor)")
    code, said = run("-f b.wav <&-")
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("error: Standard input cannot be read (Bad file descriptor)")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_folder_that_is_gone_and_names_that_are_too_long_are_a_sentence(
    tiny_voice: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from piper.http_server import main as serve
    from piper.train.command import run_command

    long = "a" * 300
    said = ["-m", str(tiny_voice), "-f", "a.wav"]
    commands = [
        lambda: main(["-m", long, "-f", "a.wav", "Hello."]),
        lambda: main([*said, "-c", long, "Hello."]),
        lambda: main([*said, "-i", long]),
        lambda: main(["-m", str(tiny_voice), "-f", long, "Hello."]),
        lambda: serve(["-m", long]),
    ]
    for command in commands:
        assert command() == 1
        errors = capfd.readouterr().err
        assert errors.startswith("error: aaa") and "File name too long" in errors
        assert errors.count("\n") == 1
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main([*said, "Hello."]) == 1
    assert run_command(lambda: 0, "") == 1
    error = "error: The current folder is gone; change to one that is there.\n"
    assert capfd.readouterr().err == 2 * error
    assert main(["-m", str(tiny_voice), "-f", str(tmp_path / "a.wav"), "Hello."]) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_of_a_verb_leaves_nothing_half_written(number: signal.Signals) -> None:
    script = (
        "import sys, time\nfrom piper.files import replace_on_success\n"
        "from piper.train.command import run_command\n"
        "def work():\n    with replace_on_success('a'):\n"
        "        print('ready', flush=True)\n        time.sleep(60)\n"
        "sys.exit(run_command(work, 'Stopped.'))\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.communicate(timeout=120)[1] == b"Stopped.\n"
    assert process.returncode == 128 + number
    assert list(Path().iterdir()) == []


def test_nothing_is_sent_or_kept_of_what_is_spoken(tiny_voice: Path, tmp_path: Path) -> None:
    """ONNX Runtime keeps a device's number and events in the cache, and asks for a host of its
    maker by a thread of its own, unless it is told not to before it is imported."""
    script = (
        "import os, sys\nimport piper\n"
        "voice = piper.PiperVoice.load(sys.argv[1], threads=1)\n"
        "assert list(voice.synthesize('Hello.'))\n"
        "import threading\n"
        "print(len(os.listdir('/proc/self/task')) - threading.active_count())\n"
        "print([os.readlink(f'/proc/self/fd/{fd}') for fd in range(3, 40)"
        " if os.path.exists(f'/proc/self/fd/{fd}')])\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    hidden = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_voice)],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    threads, files = done.stdout.splitlines()
    assert (threads, list(home.iterdir())) == ("0", [])
    assert "socket:" not in files and "onnxruntime.db" not in files


def test_volume_scales_and_normalization(tiny_voice: Path) -> None:
    common = ["-m", str(tiny_voice), "--noise_scale", "0", "--noise-w", "0", "-f", "a.wav"]
    options = ["--no-normalize", "--volume", "0.5", "--length_scale", "2"]
    assert main([*common, *options, "Hello."]) == 0
    [expected] = synthesize(
        tiny_voice, "Hello.", normalize_audio=False, volume=0.5, length_scale=2.0
    )
    assert np.array_equal(read_wav("a.wav")[1], expected)


def test_a_seed_makes_speech_repeatable(tiny_voice: Path) -> None:
    def speak(seed: str) -> bytes:
        assert main(["-m", str(tiny_voice), "--seed", seed, "-f", "a.wav", "One. Two."]) == 0
        return Path("a.wav").read_bytes()

    first = speak("5")
    assert first == speak("5")
    assert first != speak("6")


@pytest.mark.parametrize(("speaker", "speaker_id"), [("2", 2), ("boris", 1), ("0", 0)])
def test_a_speaker_by_number_or_name(
    tiny_voice_multi_speaker: Path, speaker: str, speaker_id: int
) -> None:
    model = tiny_voice_multi_speaker
    assert main(["-m", str(model), *NO_NOISE, "-s", speaker, "-f", "a.wav", "Hello."]) == 0
    [expected] = synthesize(model, "Hello.", speaker_id=speaker_id)
    assert np.array_equal(read_wav("a.wav")[1], expected)


def test_a_voice_by_name_with_a_config_elsewhere(tiny_voice: Path, tmp_path: Path) -> None:
    Path("v").mkdir()
    Path("v/bare.onnx").write_bytes(tiny_voice.read_bytes())
    config = Path(f"{tiny_voice}.json").read_text()
    Path("c.json").write_text(config.replace('"sample_rate": 16000', '"sample_rate": 8000'))
    options = ["--data-dir", "none", "--data_dir", "v", "-c", "c.json", "-f", "a.wav"]
    assert main(["-m", "bare", *options, "Hello."]) == 0
    assert read_wav("a.wav")[0] == 8000


def fail(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not list(Path().glob("*.wav"))
    assert not list(Path().glob(".*"))
    return captured.err


def test_mistakes_are_one_sentence(tiny_voice: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no nobody.onnx in the current folder" in fail(capsys, "-m", "nobody", "Hi.")
    voice = ("-m", str(tiny_voice))
    assert "n.json does not exist" in fail(capsys, *voice, "-c", "n.json", "Hi.")
    assert "n.txt cannot be read (No such file" in fail(
        capsys, *voice, "-i", "n.txt", "-f", "a.wav"
    )
    Path("bad.txt").write_bytes(b"fine\n\xff\xfe\n")
    assert "bad.txt, line 2: not UTF-8" in fail(capsys, *voice, "-i", "bad.txt", "-f", "a.wav")
    Path("file").touch()
    assert "file/x.wav cannot be written" in fail(capsys, *voice, "-f", "file/x.wav", "Hi.")
    Path("bad.json").write_text("{")
    assert "bad.json is not valid JSON" in fail(capsys, *voice, "-c", "bad.json", "Hi.")
    assert "There is no speaker clara: " in fail(capsys, *voice, "-s", "clara", "Hi.")


@pytest.mark.parametrize("text", ["", "\n  \n", "...\n"])
def test_nothing_to_speak_is_said_and_leaves_no_file(
    tiny_voice: Path,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give_input(monkeypatch, text)
    files = ("-f", "a.wav", "--subtitles", "a.vtt")
    assert "There was nothing to speak" in fail(capsys, "-m", str(tiny_voice), *files)
    assert not Path("a.vtt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: -m/--model"),
        (["-m", "m", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["-m", "m", "-f", "a", "-d", "b"], "--output-file and --output-dir exclude each other"),
        (["-m", "m", "--phoneme_silence", "a", "1"], "silence is added after , ; : . ? ! … only"),
        (["-m", "m", "--phoneme_silence", ",", "x"], "--phoneme-silence , x: give seconds"),
        (["-m", "m", "--json-input", "--jobs", "2", "-d", "a"], "goes without --jobs or --ray"),
        (["-m", "m", "--json-input", "Hi."], "leave the text on the command line out"),
        (["-m", "m", "-i", "a", "text"], "the text on the command line and --input-file"),
        (["-m", "m", "--length-scale", "0"], "0 is not a number above 0"),
        (["-m", "m", "--volume", "-1"], "-1 is not a number of 0 or more"),
        (["-m", "m", "--noise-scale", "nan"], "nan is not a number of 0 or more"),
        (["-m", "m", "--sentence-silence", "x"], "invalid number value: 'x'"),
        (["-m", "m", "--seed", "1.5"], "invalid whole number value: '1.5'"),
        (["-m", "m", "--output-dir-naming", "id"], "invalid choice: 'id'"),
        (["-m", "m", "--input-format", "html"], "invalid choice: 'html'"),
        (["-m", "m", "--paragraph-silence", "-1"], "-1 is not a number of 0 or more"),
        (["-m", "m", "--no-normalize", "--normalize", "utterance"], "exclude each other"),
        (["-m", "m", "--output-raw", "--stream", "--normalize", "sentence"], "leave --normalize"),
        (["-m", "m", "--jobs", "2"], "--jobs writes a file per line; give --output-dir"),
        (["-m", "m", "--ray", "auto"], "--ray writes a file per line; give --output-dir"),
        (["-m", "m", "-j", "-1", "-d", "a"], "-1 is not a whole number from 0 to 1024"),
        # With 100,000 nothing else could be started on the machine.
        (["-m", "m", "--threads", "100000"], "to 1024"),
        (["-m", "m", "-j", "1", "-d", "a", "--output-dir-naming", "text"], "names lines by number"),
        (["-m", "m", "-j", "1", "-d", "a", "--cuda"], "--cuda goes without it"),
        (["-m", "m", "--output-format", "flac"], "--output-format says how a file is written"),
        (["-m", "m", "--output-format", "wma", "-d", "a"], "invalid choice: 'wma'"),
        (["-m", "m", "--sample-rate", "8"], "8 is not a whole number from 4000 to 192000"),
        (["-m", "m", "--subtitles", "a.txt"], "a.txt does not end in .srt, .vtt, .json"),
        (["-m", "m", "--subtitles", "a.srt", "-d", "a"], "--subtitles times one file"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_lines_of_json_say_who_speaks_and_where_to(
    tiny_voice_multi_speaker: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [
        {"text": "One.", "speaker": "boris", "output_file": "one.wav"},
        {"text": "One.", "speaker_id": 1, "output_file": "two.wav"},
        {"text": "One."},
        {"text": "One.", "speaker_id": 2},
    ]
    give_input(monkeypatch, "\n\n".join(map(json.dumps, lines)))
    model = str(tiny_voice_multi_speaker)
    scales = ["--noise_scale", "0", "--noise_w", "0", "-s", "vera"]
    assert main(["-m", model, "--json-input", "-f", "rest.wav", *scales]) == 0
    assert capsys.readouterr().out == "one.wav\ntwo.wav\n"
    by_boris, by_vera = (
        np.concatenate(synthesize(tiny_voice_multi_speaker, "One.", speaker_id=number))
        for number in (1, 2)
    )
    for name in ("one.wav", "two.wav"):
        assert np.array_equal(read_wav(name)[1], by_boris)
    assert np.array_equal(read_wav("rest.wav")[1], np.concatenate([by_vera, by_vera]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Hello.", r"standard input, line 2 is not valid JSON"),
        ("[" * 5000, "standard input, line 2 is nested deeper than 100 levels"),
        ('{"text": 5}', 'standard input, line 2: "text" holds 5, but a text is wanted'),
        ('{"text": "a", "output_file": []}', '"output_file" holds []'),
        (r'{"text": "a", "output_file": "a\u0000b"}', "which no file can be called"),
        (r'{"text": "a", "output_file": "\ud800.wav"}', "which no file can be called"),
        ('{"text": "a", "speaker": "zoe"}', "There is no speaker zoe"),
        ('{"text": "a", "output_file": "MODEL"}', "is read by this run (--model)"),
    ],
)
def test_a_wrong_line_of_json_is_named(
    tiny_voice: Path,
    line: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = line.replace("MODEL", str(tiny_voice))
    give_input(monkeypatch, f'{{"text": "One.", "output_file": "one.wav"}}\n{line}\n')
    assert main(["-m", str(tiny_voice), "--json-input"]) == 1
    said = capsys.readouterr()
    assert said.out == "one.wav\n"
    assert message in said.err
    assert read_wav("one.wav")[1].size


def test_flags_of_the_c_plus_plus_program_and_of_1_2(
    tiny_voice: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    former = ["--output_file", "a.wav", "--length_scale", "1.5", "--noise_w", "0", "--seed", "1"]
    data = str(find_espeak_data())
    ignored = ["--update-voices", "--tashkeel_model", "none.ort", "--espeak_data", data, "-q"]
    silences = ["--phoneme_silence", ",", "0.5", "--phoneme_silence", ".", "0.25"]
    model = ["-m", str(tiny_voice)]
    assert main([*model, *former, *ignored, *silences, "--use-cuda", "One, two. Three."]) == 0
    said = capfd.readouterr()
    assert "Wrote" not in said.err
    today = ["-f", "b.wav", "--length-scale", "1.5", "--noise-w-scale", "0", "--seed", "1"]
    silences = ["--clause-silence", "0.5", "--sentence-silence", "0.25"]
    assert main([*model, *today, *silences, "One, two. Three."]) == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code in (0, None)
    assert capfd.readouterr().out.strip() == piper.__version__


def test_raw_samples_go_to_standard_output_whatever_else_is_named(tiny_voice: Path) -> None:
    # As in the existing client, which programs rely on.
    options = ["-m", str(tiny_voice), "--output_raw", "--seed", "1", "Hello."]
    alone = run_piper(*options)
    beside = run_piper(*options, "-f", "a.wav")
    assert alone.stdout
    assert beside.stdout == alone.stdout
    assert b"so --output-file is left out" in beside.stderr
    assert not Path("a.wav").exists()


def test_a_voice_that_is_not_there_is_downloaded_where_that_is_asked_for(
    hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("piper.download_voices.VOICES_JSON", hub.url)
    files = _find_voice(parse_arguments(["-m", NAME, "--download-dir", str(target)]))
    assert files.model == target / f"{NAME}.onnx"
    assert files.model.is_file()
    with pytest.raises(VoiceNotFoundError):
        _find_voice(parse_arguments(["-m", NAME]))


def test_an_interrupt_ends_quietly_with_130(tiny_voice: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "piper", "-m", str(tiny_voice), "--output-raw"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"Hello.\n")
    process.stdin.flush()
    process.stdout.read(2)  # it is loaded, has spoken a line, and waits for the next
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (130, b"")


def test_sigterm_leaves_no_half_written_file(tiny_voice: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "piper", "-m", str(tiny_voice), "-f", "a.wav"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(b"Hello.\n")
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".a.wav.*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (143, b"")
    assert list(tmp_path.glob(".a.wav*")) + list(tmp_path.glob("*.wav")) == []


def test_a_broken_pipe_is_quiet(tiny_voice: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "piper", "-m", str(tiny_voice), "--output-raw", "Hello."],
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_file_s_ending_its_rate_and_subtitles(tiny_voice: Path) -> None:
    import soundfile

    options = ["--sample-rate", "8000", "--subtitles", "a.srt", *NO_NOISE]
    assert main(["-m", str(tiny_voice), "-f", "a.flac", *options, "One. Two."]) == 0
    info = soundfile.info("a.flac")
    samples = sum(len(samples) for samples in synthesize(tiny_voice, "One. Two."))
    assert (info.format, info.samplerate) == ("FLAC", 8000)
    assert abs(info.frames - samples / 2) <= 1
    cues = Path("a.srt").read_text().strip().split("\n\n")
    assert [cue.split("\n")[0] for cue in cues] == ["1", "2"]
    end = cues[-1].split("\n")[1].split(" --> ")[1]
    seconds = samples / 16000
    assert end == f"00:00:{int(seconds):02},{round(seconds % 1 * 1000):03}"


def test_jobs_write_numbered_files_and_go_on(
    tiny_voice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("b.txt").write_text("One.\n\nTwo.\n")
    arguments = ["-m", str(tiny_voice), "-i", "b.txt", "-d", "out", "--jobs", "1", "--seed", "3"]
    assert main(arguments) == 0
    assert "Spoke 2 lines; " in capsys.readouterr().err
    first = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert sorted(first) == ["000001.wav", "000002.wav", "manifest.jsonl"]
    assert main(arguments) == 0
    assert "2 were done before" in capsys.readouterr().err
    Path("out/000002.wav").unlink()
    assert main(arguments) == 0
    assert Path("out/000002.wav").read_bytes() == first["000002.wav"]


def test_the_choices_are_those_of_what_they_choose() -> None:
    from piper import options
    from piper.audio import output, subtitles
    from piper.text import markup
    from piper.voice import synthesizer

    assert options.INPUT_FORMATS == markup.MARKUP_KINDS
    assert get_args(synthesizer.Loudness) == options.LOUDNESSES
    assert tuple(output.OutputFormat) == options.FORMATS
    assert tuple(output.OutputNaming) == options.NAMINGS
    assert tuple(subtitles._WRITERS) == options.SUBTITLE_ENDINGS


def test_a_device_or_a_pipe_as_output_is_written_to(tiny_voice: Path, tmp_path: Path) -> None:
    said = ["-m", str(tiny_voice), *NO_NOISE, "--seed", "1"]
    wav = run_piper(*said, "-f", "-", "--", "Hello.").stdout
    assert len(read_wav(wav)[1])
    assert run_piper(*said, "-f", "/dev/stdout", "--", "Hello.").stdout == wav
    os.mkfifo("fifo")
    with subprocess.Popen(["/bin/cat", "fifo"], stdout=subprocess.PIPE) as reader:
        assert run_piper(*said, "-f", "fifo", "--", "Hello.").returncode == 0
        assert reader.communicate()[0] == wav
    with subprocess.Popen(["/bin/cat", "fifo"], stdout=subprocess.PIPE) as reader:
        raw = run_piper(*said, "-f", "fifo", "--output-format", "raw", "--", "Hello.")
        assert (raw.returncode, reader.communicate()[0]) == (0, wav[44:])
    # A player or converter that bash puts in the place of a file.
    command = " ".join([f"'{sys.executable}' -m piper", *said, "-f >(/bin/cat >out) -- Hello."])
    assert subprocess.run(["/bin/bash", "-c", command], timeout=120, check=False).returncode == 0
    end = time.monotonic() + 120
    while Path("out").stat().st_size < len(wav):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert Path("out").read_bytes() == wav
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fifo", "out"]


def test_nothing_that_is_read_is_overwritten(
    tiny_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in ("", ".json"):
        shutil.copy(f"{tiny_voice}{suffix}", tmp_path / f"voice.onnx{suffix}")
    (tmp_path / "text.txt").write_text("Hello.\n")
    (tmp_path / "words.tsv").write_text("hello\tgood day\n")
    arguments = ["-m", str(tmp_path / "voice.onnx"), "-i", str(tmp_path / "text.txt")]
    arguments += ["--lexicon", str(tmp_path / "words.tsv")]
    for name, option in (
        ("voice.onnx", "--output-file"),
        ("voice.onnx.json", "--output-file"),
        ("text.txt", "--output-file"),
        ("words.tsv", "--output-file"),
        ("voice.onnx.json", "--subtitles"),
    ):
        before = (tmp_path / name).read_bytes()
        assert main([*arguments, "-f", "a.wav", option, str(tmp_path / name)]) == 1
        assert f"would be overwritten; give another {option}" in capsys.readouterr().err
        assert (tmp_path / name).read_bytes() == before
    assert main([*arguments, "-f", "a.json", "--subtitles", "a.json"]) == 1
    assert "a.json is written by this run already" in capsys.readouterr().err
    # Names that the folder gives are outputs as well.
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000001.wav").symlink_to(tmp_path / "text.txt")
    for more in (["--output-dir-naming", "number"], ["--jobs", "1"]):
        assert main([*arguments, "-d", str(tmp_path / "out"), *more]) == 1
        assert "would be overwritten; give another --output-dir" in capsys.readouterr().err
        assert (tmp_path / "text.txt").read_text() == "Hello.\n"


def test_words_of_a_strange_file_do_not_steer_the_terminal(
    tiny_voice: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads(Path(f"{tiny_voice}.json").read_text())
    config["espeak"]["voice"] = "\x1b]0;title\x07\x9b31m\u202e"
    (tmp_path / "voice.json").write_text(json.dumps(config))
    arguments = ["-m", str(tiny_voice), "-c", str(tmp_path / "voice.json"), "-f", "a.wav", "Hi."]
    assert main(arguments) == 1
    assert r'has no voice "\x1b]0;title\x07\x9b31m\u202e"' in capsys.readouterr().err


def test_too_little_memory_is_a_sentence(
    tiny_voice: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 2**60)  # a real one, of the interpreter
    assert main(["-m", str(tiny_voice), "-f", "a.wav", "Hi."]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: There is too little memory; end other programs")
    assert len(said.splitlines()) == 1


def test_help_shows_each_option_once_and_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert said.startswith("usage: piper [options] -m MODEL [text ...]\n")
    shown = [name for line in said.splitlines() if line[:3] == "  -" for name in line.split(", ")]
    assert not [name for name in shown if "_" in name.split()[0]]
    for title in ("voice:", "text and output:", "files:", "speech:", "pronunciation:"):
        assert f"\n{title}\n" in said


def test_a_wrong_option_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, right in (("--lenght_scale=2", "--length-scale"), ("--normalise", "--normalize")):
        with pytest.raises(SystemExit):
            main(["-m", "voice", wrong])
        assert capsys.readouterr().err.splitlines()[1].endswith(f"; did you mean {right}?")
    with pytest.raises(SystemExit):
        main(["-m", "voice", "--normalize=sentense"])
    assert capsys.readouterr().err.endswith("; did you mean sentence?\n")
