"""What memory preparing takes with more and more recordings: a table, then JSON.

The recordings of a dataset are named again and again by links, and prepared by `python -m
piper.train prepare` into an empty cache. The figure is the largest resident set of any process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_PROGRAM = """
import resource, sys
from piper.train import prepare_cli
assert prepare_cli.main(sys.argv[1:]) == 0
who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
print(max(resource.getrusage(each).ru_maxrss for each in who))
"""


def link_dataset(dataset: Path, folder: Path, count: int) -> None:
    """Make a dataset of so many recordings, all of them links."""
    lines = (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()
    (folder / "wavs").mkdir(parents=True)
    (folder / "config.json").write_bytes((dataset / "config.json").read_bytes())
    rows = []
    for number in range(count):
        name, _, text = lines[number % len(lines)].partition("|")
        source = dataset / "wavs" / (name if name.endswith(".wav") else f"{name}.wav")
        (folder / "wavs" / f"{number}.wav").symlink_to(source.resolve())
        rows.append(f"{number}.wav|{text}\n")
    (folder / "metadata.csv").write_text("".join(rows), encoding="utf-8")


def measure(dataset: Path, count: int, num_processes: int) -> dict[str, Any]:
    """Return the memory of preparing so many recordings, and how many files the cache has."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made, "dataset")
        link_dataset(dataset, folder, count)
        command = [sys.executable, "-c", _PROGRAM, folder, f"--num-processes={num_processes}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        kilobytes = int(done.stdout.split()[-1])
        files = [path for path in (folder / ".cache").iterdir() if path.is_file()]
        return {
            "recordings": count,
            "processes": num_processes,
            "megabytes": kilobytes / 1024,
            "files": len(files),
            "cache_megabytes": sum(path.stat().st_size for path in files) / 1e6,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, type=Path, help="as fetch_festvox_ru.py makes")
    parser.add_argument("--recordings", type=int, default=400, help="default: %(default)s")
    args = parser.parse_args()
    found = [
        measure(args.dataset, times * args.recordings, processes)
        for processes in (1, 2)
        for times in (1, 4)
    ]
    print("recordings  processes  MB of the largest process  files  MB of the cache")
    for row in found:
        print(
            f"{row['recordings']:10}{row['processes']:11}{row['megabytes']:27.0f}"
            f"{row['files']:7}{row['cache_megabytes']:17.0f}"
        )
    print(json.dumps({"benchmark": "prepare_memory", "runs": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
