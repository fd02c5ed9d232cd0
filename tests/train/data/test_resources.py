"""What memory a process may take: the machine's, or that of its control groups."""

from __future__ import annotations

from pathlib import Path

from piper.train.data.resources import available_cores, available_memory_bytes

MIB = 1024**2


def write_group(folder: Path, limit_name: str, limit: object, usage_name: str, usage: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / usage_name).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {10 * MIB}\n")


def test_the_group_of_a_service_limits_memory_in_version_2(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/batch.slice/job.scope\n")
    write_group(tmp_path / "batch.slice", "memory.max", "max", "memory.current", 300 * MIB)
    job = tmp_path / "batch.slice" / "job.scope"
    write_group(job, "memory.max", 100 * MIB, "memory.current", 60 * MIB)
    # What the page cache holds is given back when memory is short.
    assert available_memory_bytes(tmp_path, own) == 50 * MIB
    write_group(tmp_path / "batch.slice", "memory.max", 320 * MIB, "memory.current", 300 * MIB)
    # The tightest of the nested groups counts.
    assert available_memory_bytes(tmp_path, own) == 30 * MIB


def test_the_group_of_a_service_limits_memory_in_version_1(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:cpu,cpuacct:/other\n4:memory:/jobs/7\n0::/\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    write_group(tmp_path / "memory" / "jobs" / "7", names[0], 80 * MIB, names[1], 40 * MIB)
    assert available_memory_bytes(tmp_path, own) == 50 * MIB


def test_a_container_s_limit_stands_at_the_mount_point(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/\n")
    write_group(tmp_path, "memory.max", 90 * MIB, "memory.current", 40 * MIB)
    assert available_memory_bytes(tmp_path, own) == 60 * MIB


def test_without_control_groups_the_machine_s_memory_counts(tmp_path: Path) -> None:
    assert available_memory_bytes(tmp_path, tmp_path / "none") > 50 * MIB


def test_there_is_a_core() -> None:
    assert available_cores() >= 1
