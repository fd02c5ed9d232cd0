"""Packs: what is stored comes back, damage is noticed, and nobody writes into another's file."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
from prepared import flip_byte

from piper.train.data.cache import (
    PACK_GLOB,
    CachedUtterance,
    EntryDamagedError,
    PackReader,
    PackWriter,
    UtteranceCache,
    index_path,
    load_entries,
    read_index,
)

SAMPLES = np.random.default_rng(0).uniform(-1, 1, 5001).astype(np.float32)
UTTERANCE = CachedUtterance(np.array([1, 0, 14, 0, 2]), SAMPLES, 16000, "ʦʦ")


def read(folder: Path, key: str) -> bytes:
    return PackReader().read(key, load_entries(folder)[key]).tobytes()


def packs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pack"))


def test_an_utterance_comes_back(tmp_path: Path) -> None:
    cache = UtteranceCache(tmp_path)
    entries = {key: cache.store(key, UTTERANCE) for key in ("a", "b")}
    assert UtteranceCache(tmp_path).find({"b", "c"}) == {"b": entries["b"]}
    loaded = cache.load("b", entries["b"])
    np.testing.assert_array_equal(loaded.ids, UTTERANCE.ids)
    np.testing.assert_allclose(loaded.samples, SAMPLES, atol=0.6 / 32767)
    assert (loaded.source_rate, loaded.missing) == (16000, "ʦʦ")
    again = pickle.loads(pickle.dumps(cache)).load("a", entries["a"])
    np.testing.assert_array_equal(again.samples, loaded.samples)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "ids", "samples", "other key"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    cache = UtteranceCache(tmp_path)
    entry = cache.store("a", UTTERANCE)
    if damage == "missing":
        entry.pack.unlink()
    elif damage in ("empty", "cut"):
        entry.pack.write_bytes(entry.pack.read_bytes()[: 0 if damage == "empty" else 3000])
        assert cache.find({"a"}) == {}
    elif damage != "other key":
        flip_byte(entry, {"ids": 3, "samples": 5000}[damage])
    with pytest.raises(EntryDamagedError):
        cache.load("b" if damage == "other key" else "a", entry)


def test_a_damaged_index_line_is_no_entry(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path)
    entry = writer.append("a", [77], b"first")
    writer.append("b", [77], b"second")
    index = index_path(entry.pack)
    index.write_bytes(index.read_bytes().replace(b"[77]", b"[78]", 1))
    assert set(load_entries(tmp_path)) == {"b"}


def test_what_a_kill_leaves_is_passed_over(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path)
    entry = writer.append("a", [], b"whole")
    writer.append("b", [], b"its line is cut off")
    writer.close()
    index = index_path(entry.pack)
    index.write_bytes(index.read_bytes()[:-5])
    with entry.pack.open("ab") as file:
        file.write(b"no line")
    assert set(load_entries(tmp_path)) == {"a"}
    PackWriter(tmp_path).append("c", [], b"after it")
    assert packs(tmp_path) == [entry.pack]
    assert set(load_entries(tmp_path)) == {"a", "c"}
    assert (read(tmp_path, "a"), read(tmp_path, "c")) == (b"whole", b"after it")


def test_the_later_entry_counts_in_whatever_file_it_lies(tmp_path: Path) -> None:
    one, two = PackWriter(tmp_path), PackWriter(tmp_path)
    one.append("a", [], b"old")
    two.append("a", [], b"new")
    one.append("b", [], b"b")
    assert len(packs(tmp_path)) == 2
    assert read(tmp_path, "a") == b"new"


def test_a_full_pack_is_followed_by_another(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path, max_pack_bytes=100)
    for number in range(6):
        writer.append(str(number), [], b"x" * 60)
    assert len(packs(tmp_path)) == 3
    assert len(load_entries(tmp_path)) == 6


def test_many_small_runs_leave_few_files(tmp_path: Path) -> None:
    for number in range(10):
        writer = PackWriter(tmp_path)
        writer.append(str(number), [], b"x")
        writer.close()
    assert len(packs(tmp_path)) == 1


@pytest.mark.parametrize("ending", ["pack", "index"])
def test_a_link_in_the_cache_is_not_written_through(tmp_path: Path, ending: str) -> None:
    """In a stranger's dataset it may lead to any file of the user's."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("pack", "index"):
        path = (cache / PACK_GLOB.replace("*", "abc")).with_suffix(f".{name}")
        path.symlink_to(precious) if name == ending else path.touch()
    writer = PackWriter(cache)
    writer.append("a", [], b"x")
    writer.close()
    assert precious.read_text() == "mine"
    assert list(load_entries(cache)) == ["a"]


def _append(writer: PackWriter, name: str) -> None:
    for number in range(200):
        writer.append(f"{name}{number}", [], name.encode() * 999)


def test_forked_processes_have_packs_of_their_own(tmp_path: Path) -> None:
    """A DataLoader forks; what the parent holds open must not be written by its children."""
    writer = PackWriter(tmp_path)
    _append(writer, "p")
    context = multiprocessing.get_context("fork")
    # Both have a pack before either ends: one that ended would leave its own to the other.
    both = context.Barrier(2)
    children = [context.Process(target=_append_beside, args=(writer, n, both)) for n in "qr"]
    for child in children:
        child.start()
    _append(writer, "s")
    for child in children:
        child.join()
    assert len(packs(tmp_path)) == 3
    entries = load_entries(tmp_path)
    assert len(entries) == 802
    assert all(read_all(entries).values())
    assert [len(list(read_index(path))) for path in packs(tmp_path)].count(400) == 1


def _append_beside(writer: PackWriter, name: str, both: Barrier) -> None:
    writer.append(f"{name}first", [], name.encode() * 999)
    both.wait()
    _append(writer, name)


def read_all(entries: dict) -> dict[str, bool]:
    reader = PackReader()
    return {
        key: reader.read(key, entry).tobytes() == key[0].encode() * 999
        for key, entry in entries.items()
    }


def test_a_pack_is_free_again_after_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from piper.train.data.cache import PackWriter\n"
        f"PackWriter(Path({str(tmp_path)!r})).append('a', [], b'x'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    PackWriter(tmp_path).append("b", [], b"y")
    assert len(packs(tmp_path)) == 1
    assert set(load_entries(tmp_path)) == {"a", "b"}
