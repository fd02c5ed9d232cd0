"""Files appear whole or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from piper.atomic import hold_lock, replace_on_success, temporary_path


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
