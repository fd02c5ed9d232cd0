"""`python -m piper.http_server` as the real command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from servers import (
    ask_for_speech,
    connect,
    copy_voice,
    find_error,
    find_loaded,
    run_until_listening,
    taken_port,
)

from piper.http_server import create_parser, main
from piper.server.settings import SpeechLimits
from piper.server_options import create_settings
from publishing import NAME, ONNX, serve_hub, wait_for_part

COMMAND = (sys.executable, "-m", "piper.http_server")


def run_server(*arguments: str) -> AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    """Run the command on a free port; give it and its address."""
    return run_until_listening(
        "piper.http_server", r"http://127\.0\.0\.1:\d+", "--port", "0", *arguments
    )


def post(url: str, **body: object) -> bytes:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=120) as response:
        return bytes(response.read())


def test_it_speaks_until_ctrl_c(tiny_voice: Path) -> None:
    with run_server("-m", "tiny", "--data-dir", str(tiny_voice.parent)) as (process, url):
        assert post(f"{url}/synthesize", text="Hello.")[:4] == b"RIFF"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (130, "")


def test_what_a_client_says_fills_no_log_and_moves_no_cursor(
    tiny_voice: Path, tmp_path: Path
) -> None:
    # Each stress that could not be moved once wrote the whole word: 2.7 MB for a text of 7.5 KB.
    voice = copy_voice(tiny_voice, tmp_path / "ru.onnx", espeak={"voice": "ru"})
    texts = (
        "бр+ъ+и" * 90,
        "бр+ъ+и. " * 60,
        "[[" + "".join(map(chr, range(0x4E00, 0x4EA0))) + "]]",
        "[[" + "".join(map(chr, (*range(1, 10), 27, *range(0x80, 0xA0), 0x202E, 0x2028))) + "]]",
    )
    with run_server("-m", str(voice), "--length-scale", "0.1") as (process, url):
        for text in texts:
            assert post(f"{url}/synthesize", text=text)[:4] == b"RIFF"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert "The stress of" in errors
    assert "(Further lines like this are left out for a while.)" in errors
    assert len(errors) < 10_000
    assert all(line.isprintable() for line in errors.splitlines())


def test_ctrl_c_while_it_speaks(tiny_voice: Path) -> None:
    with run_server("-m", str(tiny_voice)) as (process, url):
        port = int(url.rpartition(":")[2])
        client = connect(port)
        ask_for_speech(client, "Hello there again. " * 150)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        client.close()
        assert process.returncode == 130
        assert "Traceback" not in errors


def test_a_wrong_command_ends_in_one_sentence(
    tiny_voice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = f"-m {tiny_voice}"
    existing_flags = (  # of the existing server
        "-m nobody --host 127.0.0.1 --port 0 -s 0 --length_scale 1 --noise_scale 0.5 --noise-w 0.5 "
        "--sentence_silence 0.2 --data_dir a --data-dir b --download_dir c --debug"
    )
    with taken_port() as port:
        for arguments, part in (
            ("-m nobody", "There is no nobody.onnx in the current folder"),
            (existing_flags, "There is no nobody.onnx in a, b"),
            (f"{voice} -s 7", "There is no speaker 7"),
            (f"{voice} --port {port}", f"cannot listen on 127.0.0.1, port {port}"),
            (f"{voice} --host no.such.host.invalid", "correct --host"),
        ):
            assert part in find_error(main, arguments.split(), capsys)
    for arguments in ("--port 65536", "--port x", "--length-scale 0"):
        with pytest.raises(SystemExit) as caught:
            main(f"-m m {arguments}".split())
        assert caught.value.code == 2


def test_help_is_light() -> None:
    heavy = {"fastapi", "uvicorn", "numpy", "onnxruntime", "urllib.request", "piper.text.frontend"}
    assert find_loaded("piper.http_server", heavy) == set()


def test_a_download_does_not_hold_up_the_end(tiny_voice: Path, tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    options = ["-m", str(tiny_voice), "--download-dir", str(voices)]
    with serve_hub(tmp_path / "hub") as hub:
        hub.seconds_a_block = 4.0  # two minutes in all
        with run_server(*options, "--catalogue-url", hub.url) as (process, url):
            answers: list[int] = []

            def ask() -> None:
                try:
                    post(f"{url}/download", voice=NAME)
                except urllib.error.HTTPError as error:
                    answers.append(error.code)

            client = threading.Thread(target=ask)
            client.start()
            wait_for_part(voices, 1)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
            client.join()
        assert answers == [503]
        hub.seconds_a_block = 0.0
        with run_server(*options, "--catalogue-url", hub.url) as (_, url):
            assert post(f"{url}/download", voice=NAME) == NAME.encode()
        assert hub.sent_bytes < len(ONNX) + 500_000
        assert (voices / f"{NAME}.onnx").read_bytes() == ONNX


def test_limits_of_the_command(tiny_voice: Path) -> None:
    limits = ("--max-characters", "20", "--max-waiting", "1")
    with run_server("-m", str(tiny_voice), *limits) as (_, address):
        assert post(f"{address}/synthesize", text="Hello there.")[:4] == b"RIFF"
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(f"{address}/synthesize", text="Hello there. " * 2)
        assert caught.value.code == 413
        assert "at most 20 can be spoken at once" in caught.value.read().decode()


def test_longer_texts_may_last_longer() -> None:
    # 20,000 characters last for twenty minutes; allowed and then refused would be no help.
    args = create_parser().parse_args(["-m", "voice", "--max-characters", "20000"])
    limits = create_settings(args).limits
    assert limits.max_audio_seconds == 4 * SpeechLimits().max_audio_seconds
    assert limits.max_unspoken_characters == 4 * SpeechLimits().max_unspoken_characters
    args = create_parser().parse_args(["-m", "voice", "--max-characters", "20"])
    assert create_settings(args).limits.max_audio_seconds == SpeechLimits().max_audio_seconds
