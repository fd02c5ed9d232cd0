"""`python -m piper.wyoming_server` as the real command."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from servers import find_error, find_loaded, run_until_listening, taken_port
from wyoming.client import AsyncClient
from wyoming.event import read_event, write_event
from wyoming.info import Describe
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStart
from wyoming_clients import LONG_TEXT, ask, collect_samples, list_kinds
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from piper.wyoming_server import main

COMMAND = (sys.executable, "-m", "piper.wyoming_server")


def run_server(*arguments: str) -> AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    """Run the command, on a free port unless said otherwise; give it and its address."""
    return run_until_listening(
        "piper.wyoming_server", r"\w+://\S+", "--uri", "tcp://127.0.0.1:0", *arguments
    )


def test_it_speaks_until_ctrl_c(tiny_voice: Path) -> None:
    with run_server("-m", "tiny", "--data-dir", str(tiny_voice.parent)) as (process, uri):
        assert len(collect_samples(asyncio.run(ask(uri, Synthesize("Hello.").event()))))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (130, "")


def test_the_network_is_told_of_it_and_of_its_end(tiny_voice: Path) -> None:
    kind, name = "_wyoming._tcp.local.", f"test-{uuid.uuid4()}._wyoming._tcp.local."

    async def find() -> AsyncServiceInfo | None:
        network = AsyncZeroconf()
        try:
            return await network.async_get_service_info(kind, name, 3000)
        finally:
            await network.async_close()

    announce = ("--zeroconf", name.removesuffix(f".{kind}"), "--uri", "tcp://0.0.0.0:0")
    with run_server("-m", str(tiny_voice), *announce) as (process, uri):
        found = None
        while found is None and process.poll() is None:
            found = asyncio.run(find())
        assert found is not None
        assert f"tcp://0.0.0.0:{found.port}" == uri
        [address] = found.parsed_addresses()
        own = f"tcp://{address}:{found.port}"
        assert len(collect_samples(asyncio.run(ask(own, Synthesize("Hello.").event()))))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
    assert asyncio.run(find()) is None


def test_what_nobody_can_reach_is_not_announced(tiny_voice: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "-m", tiny_voice, "--zeroconf", "--uri", "tcp://127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "give --uri tcp://0.0.0.0:10200, or leave --zeroconf out" in done.stderr


def test_sigterm_while_it_speaks_for_somebody_who_does_not_listen(tiny_voice: Path) -> None:
    async def ask_and_read_nothing(process: subprocess.Popen[str], uri: str) -> None:
        async with AsyncClient.from_uri(uri, read_timeout=120) as client:
            await client.write_event(Synthesize(LONG_TEXT).event())
            await client.read_event()
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, 120)

    with run_server("-m", str(tiny_voice)) as (process, uri):
        asyncio.run(ask_and_read_nothing(process, uri))
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")


def test_a_socket_in_the_file_system(tiny_voice: Path) -> None:
    # pytest's own folders have longer names than a socket may.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "piper.socket"
        # One that an earlier server has left.
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        with run_server("-m", str(tiny_voice), "--uri", f"unix://{path}") as (process, uri):
            assert uri == f"unix://{path}"
            events = asyncio.run(ask(uri, Synthesize("Hello.").event()))
            assert list_kinds(events) == ["audio-start", "audio-chunk", "audio-stop"]
            second = subprocess.run(
                [*COMMAND, "-m", str(tiny_voice), "--uri", uri], capture_output=True, text=True
            )
            assert second.returncode == 1
            assert second.stderr.endswith("choose another place with --uri.\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0
        assert not path.exists()
        path.write_text("a file of somebody's")
        assert main(["-m", str(tiny_voice), "--uri", f"unix://{path}"]) == 1
        assert path.read_text() == "a file of somebody's"


def test_standard_input_and_output(tiny_voice: Path) -> None:
    command = [*COMMAND, "-m", str(tiny_voice), "--uri", "stdio://"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        write_event(Describe().event(), process.stdin)
        assert read_event(process.stdout).type == "info"  # type: ignore[union-attr]
        write_event(Synthesize("Hello there.").event(), process.stdin)
        # All of it is answered after the input's end, too; a text in pieces ends there.
        write_event(SynthesizeStart().event(), process.stdin)
        write_event(SynthesizeChunk("And again").event(), process.stdin)
        process.stdin.close()
        events = []
        while (event := read_event(process.stdout)) is not None:
            events.append(event)
        speech = ["audio-start", "audio-chunk", "audio-stop"]
        assert list_kinds(events) == [*speech, *speech, "synthesize-stopped"]
        assert process.wait(120) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("source", ["/dev/null", __file__])
def test_standard_input_that_is_no_pipe(tiny_voice: Path, source: str) -> None:
    with Path(source).open() as events:
        done = subprocess.run(
            [*COMMAND, "-m", str(tiny_voice), "--uri", "stdio://"],
            stdin=events,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: Standard input and output must be pipes")
    assert done.stderr.count("\n") == 1


def test_a_wrong_command_ends_in_one_sentence(
    tiny_voice: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = f"-m {tiny_voice} --uri"
    others_flags = (
        "--voice nobody --uri tcp://0.0.0.0:10200 --data-dir a --data-dir b --download-dir c "
        "--speaker 0 --length-scale 1 --noise-scale 0.5 --noise-w 0.5 --noise-w-scale 0.5 "
        "--sentence-silence 0.2 --volume 1.5 --samples-per-chunk 512 --no-streaming --use-cuda "
        "--debug --local-files-only"
    )
    with taken_port() as port:
        for arguments, part in (
            ("-m nobody --local-files-only", "There is no nobody.onnx in the current"),
            (others_flags, "There is no nobody.onnx in a, b"),
            ("-m no/where.onnx", "no/where.onnx does not exist"),
            (f"-m {tiny_voice} -s 7", "There is no speaker 7"),
            (f"{voice} tcp://127.0.0.1:{port}", f"cannot listen on 127.0.0.1, port {port}"),
            (f"{voice} tcp://no.such.host.invalid:1", "correct --uri"),
            (f"{voice} tcp://127.0.0.1:70000", "is no address"),
            (f"{voice} tcp://", "is no address"),
            (f"{voice} http://127.0.0.1:10200", "unix://PATH"),
            (f"{voice} unix:///no/such/folder/socket", "another place with --uri"),
            (f"{voice} unix:///{'x' * 200}", "another place with --uri"),
        ):
            assert part in find_error(main, arguments.split(), capsys)


def test_a_published_voice_that_is_not_there_is_downloaded(
    published: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = published
    here = tmp_path / "here"
    arguments = ["--data-dir", str(here), "--catalogue-url", url]
    command = [*COMMAND, "--voice", "en-new", "--uri", "tcp://127.0.0.1:0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        words: list[str] = []
        while words[-1:] != ["Listening"]:
            words.append(process.stderr.readline().split()[0])
        process.kill()
    assert words.count("Downloading") == 2  # its two files
    assert (here / "en_US-new-low.onnx").is_file()
    # It is there now; the catalogue is not asked again.
    (folder / "voices.json").unlink()
    with run_server("--voice", "en_US-new-low", *arguments) as (_, uri):
        [info] = asyncio.run(ask(uri, Describe().event(), "info"))
        assert [voice["name"] for voice in info.data["tts"][0]["voices"]] == ["en_US-new-low"]


def test_help_is_light() -> None:
    heavy = {"wyoming", "asyncio", "numpy", "onnxruntime", "urllib.request", "piper.text.frontend"}
    assert find_loaded("piper.wyoming_server", heavy) == set()


def test_speaking_for_home_assistant_needs_no_fastapi(tiny_voice: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['fastapi', 'starlette', 'uvicorn', 'pydantic']))\n"
        "from piper.wyoming_server import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    event = json.dumps({"type": "synthesize", "data": {"text": "Hello."}})
    done = subprocess.run(
        [sys.executable, "-c", program, "-m", str(tiny_voice), "--uri", "stdio://"],
        input=event.encode() + b"\n",
        capture_output=True,
    )
    assert done.returncode == 0
    assert b'"audio-stop"' in done.stdout
