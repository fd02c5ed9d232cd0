"""Files appear whole or not at all."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from piper.errors import PiperError
from piper.files import (
    hold_lock,
    is_plain_name,
    place_folder,
    refuse_overwriting,
    replace_on_success,
    temporary_folder,
    temporary_path,
)
from piper.train.command import run_subcommand


def test_the_file_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replace_on_success(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replace_on_success(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("ы" * 120)
    assert len(temporary_path(path).name.encode()) < 255
    with replace_on_success(path) as temporary:
        temporary.write_text("whole")
    assert path.exists()


def test_two_long_names_with_one_beginning_are_two_files(tmp_path: Path) -> None:
    first, second = tmp_path / f"{'a' * 60}.wav", tmp_path / f"{'a' * 60}.srt"
    with replace_on_success(first) as one, replace_on_success(second) as other:
        one.write_text("speech")
        other.write_text("subtitles")
    assert (first.read_text(), second.read_text()) == ("speech", "subtitles")


def test_what_a_link_leads_to_is_replaced_and_keeps_its_rights(tmp_path: Path) -> None:
    target, link, dangling = tmp_path / "there/a", tmp_path / "link", tmp_path / "dangling"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("there/a")
    dangling.symlink_to(tmp_path / "new/b")
    for path in (link, dangling):
        with replace_on_success(path) as temporary:
            temporary.write_text("new")
    assert link.is_symlink() and dangling.is_symlink()
    assert (target.read_text(), (tmp_path / "new/b").read_text()) == ("new", "new")
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_folder_takes_the_place_of_an_empty_one_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "disk" / "out").mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk/out")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a.wav").write_text("whole")
    place_folder(tmp_path / "part", tmp_path / "link")
    assert (tmp_path / "disk" / "out" / "a.wav").read_text() == "whole"
    assert (tmp_path / "link").is_symlink() and not (tmp_path / "part").exists()


def test_pipes_devices_and_descriptors_are_written_to_and_stay(tmp_path: Path) -> None:
    # Programs name /dev/stdout, /dev/null and >(a command) as their output; renamed over, the
    # device was gone for the whole machine and the reader waited for ever.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    content = os.urandom(300_000)  # more than a pipe holds
    with replace_on_success(tmp_path / "link") as temporary:
        temporary.write_bytes(content)
    reader.join()
    assert read == [content] and fifo.is_fifo()

    master, slave = pty.openpty()
    with replace_on_success(os.ttyname(slave)) as temporary:
        temporary.write_bytes(b"device")
    assert os.read(master, 100) == b"device" and os.isatty(slave)

    log = tmp_path / "log"
    with log.open("ab") as file:
        file.write(b"before ")
        file.flush()
        with replace_on_success(f"/dev/fd/{file.fileno()}") as temporary:
            temporary.write_bytes(b"in between ")
        file.write(b"after")
    assert log.read_bytes() == b"before in between after"
    for descriptor in (master, slave):
        os.close(descriptor)


def test_after_an_error_a_pipe_gets_its_end_and_nothing_else(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    with pytest.raises(KeyboardInterrupt), replace_on_success(fifo) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    reader.join()
    assert read == [b""] and fifo.is_fifo()


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("replace_on_success", "path.write_text('half')"),
        ("temporary_folder", "(path / 'a' / 'b').mkdir(parents=True)"),
    ],
)
def test_what_a_killed_process_left_goes_with_the_next_start(
    kind: str, write: str, tmp_path: Path
) -> None:
    script = (
        f"import sys, time\nfrom pathlib import Path\nfrom piper.files import {kind}\n"
        f"with {kind}(Path(sys.argv[1])) as path:\n"
        f"    {write}\n    print(path.name, flush=True)\n    time.sleep(600)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path / "a.wav"], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    killed, alive = (process.stdout.readline().strip() for process in processes)  # type: ignore[union-attr]
    try:
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        assert {path.name for path in tmp_path.iterdir()} == {killed, alive}
        with replace_on_success(tmp_path / "b.wav") as temporary:
            temporary.write_text("whole")
        assert {path.name for path in tmp_path.iterdir()} == {"b.wav", alive}
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_folder_that_gets_no_name_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with pytest.raises(KeyboardInterrupt), temporary_folder(out) as part:
        (part / "a").write_text("half")
        raise KeyboardInterrupt
    assert list(out.parent.iterdir()) == []
    with temporary_folder(out) as part:
        (part / "a").write_text("whole")
        place_folder(part, out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "a").read_text() == "whole"


KILLED = """
import os, signal, sys
from importlib import import_module
module, name = sys.argv[1].split(":")
setattr(import_module(module), name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
from piper.train.command import run_subcommand
sys.exit(run_subcommand(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("where", "command", "made"),
    [
        (
            "shutil:copytree",
            ("export", "VOICE", "--for=sherpa", "--name=en_US-anna-low", "--output-dir=."),
            "vits-piper-en_US-anna-low",
        ),
        (
            "piper.train.export_for:_pack",
            ("export", "VOICE", "--for=sonata", "--name=en_US-anna-low", "--output-dir=."),
            "en_US-anna-low.tar.gz",
        ),
        pytest.param(
            "piper.train.publish:_write_samples",
            ("publish", "VOICE", "--repo=anna/voice", "--license=mit", "--dry-run=made"),
            "made",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "piper.train.check.copying:write_metadata",
            ("check", "DATASET", "--quick", "--fix=made"),
            "made",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_command_removes_what_its_killed_run_left(
    where: str,
    command: tuple[str, ...],
    made: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    tiny_voice: Path,
    speech_dataset: Path,
) -> None:
    inputs = {"VOICE": tiny_voice}
    if "DATASET" in command:
        inputs["DATASET"] = tmp_path_factory.mktemp("input") / "dataset"
        shutil.copytree(speech_dataset, inputs["DATASET"])
    words = [str(inputs.get(word, word)) for word in command]
    monkeypatch.chdir(tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED, where, *words], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = [path.name for path in tmp_path.iterdir()]
    assert left and all(name.startswith(f".{made}.") for name in left)
    assert run_subcommand(words) == 0
    assert [path.name for path in tmp_path.iterdir()] == [made]


def test_an_output_that_is_an_input_is_refused_by_whatever_name(tmp_path: Path) -> None:
    voice, text = tmp_path / "v.onnx", tmp_path / "a.txt"
    voice.write_text("")
    text.write_text("")
    (tmp_path / "link").symlink_to(voice)
    (tmp_path / "hard").hardlink_to(voice)
    inputs = {"--model": voice, "--input-file": text, "--lexicon": None}
    for name in ("v.onnx", "link", "hard", "../" + tmp_path.name + "/v.onnx"):
        with pytest.raises(PiperError, match=r"read by this run \(--model\).*other --output-file"):
            refuse_overwriting({"--output-file": tmp_path / name}, inputs)
    with pytest.raises(PiperError, match=r"written by this run already \(-f\); .* --subtitles"):
        refuse_overwriting({"-f": tmp_path / "x", "--subtitles": f"{tmp_path}/./x"}, inputs)
    # A terminal or /dev/null may well be both.
    refuse_overwriting({"-f": "/dev/null", "--subtitles": None}, {"-i": "/dev/null", **inputs})


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/a",
        "a/b",
        "../a",
        "a\\b",
        "C:a",
        "C:\\a",
        "a\0",
        "a\nb",
        "\u202egpj",
        None,
        1,
    ],
)
def test_a_name_from_a_file_is_no_path(name: object) -> None:
    assert not is_plain_name(name)
    assert is_plain_name("ru_RU-ирина-medium.onnx")


def test_a_lock_that_is_removed_at_the_end_lets_in_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    seen: list[int] = []

    def work() -> None:
        for _ in range(100):
            with hold_lock(tmp_path / "lock"):
                inside.append(1)
                seen.append(len(inside))
                inside.pop()
                (tmp_path / "lock").unlink()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A lock on a file that is gone would let in two, and the second would find nothing to remove.
    assert seen == [1] * 800
    assert list(tmp_path.iterdir()) == []
