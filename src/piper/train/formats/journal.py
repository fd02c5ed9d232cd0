"""import.json: what an import is of, how far it came, and what it left out. Reads no sources."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piper.atomic import replace_on_success
from piper.errors import DatasetError
from piper.json_reader import load_kept_object

REPORT_NAME = "import.json"
WORK_NAME = ".import"
PLAN_NAME = "recordings.json"


@dataclass(frozen=True)
class Identity:
    """What makes two imports the same: the folder and its format.

    Attributes:
        source: Absolute, links resolved.
        format_name: Of the format.
    """

    source: Path
    format_name: str


class Journal:
    """The records of an import in its folder.

    Args:
        folder: Where the dataset is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report_path = folder / REPORT_NAME
        self.lock_path = folder / WORK_NAME / "lock"
        self._plan_path = folder / WORK_NAME / PLAN_NAME

    def check(self, identity: Identity) -> None:
        """Check that the folder is new, or an import of the same source that nobody edited.

        Raises:
            DatasetError: It is something else.
        """
        if not self.folder.exists() or (self.folder.is_dir() and not any(self.folder.iterdir())):
            return
        if not self.folder.is_dir():
            raise DatasetError(f"{self.folder} is a file; name a folder to make the dataset in.")
        report = self._load_report()
        # Right after the start there is nothing but the lock.
        if not report and {path.name for path in self.folder.iterdir()} - {WORK_NAME}:
            raise DatasetError(
                f"{self.folder} holds something that is no import; name a folder that is empty "
                "or does not exist."
            )
        if report and (report.get("source"), report.get("format")) != (
            str(identity.source),
            identity.format_name,
        ):
            raise DatasetError(
                f"{self.folder} is an import of {report.get('source')} ({report.get('format')}), "
                f"not of {identity.source} ({identity.format_name}); name another folder."
            )
        digest = report.get("metadata_sha256")
        csv_path = self.folder / "metadata.csv"
        if digest and csv_path.is_file() and _find_sha256(csv_path.read_bytes()) != digest:
            raise DatasetError(
                f"{csv_path} was edited after the import, which would overwrite it; name another "
                "folder, or delete the file to import anew."
            )

    def begin(self, identity: Identity) -> None:
        """Write down what the import is of, before anything is made."""
        report = {"source": str(identity.source), "format": identity.format_name}
        digest = self._load_report().get("metadata_sha256")
        started: dict[str, Any] = {**report, "is_complete": False}
        self._write(self.report_path, started | ({"metadata_sha256": digest} if digest else {}))

    def plan(self, wanted: Mapping[str, Sequence[Any]]) -> set[str]:
        """Write down what each recording is made of; return the names that stand as they are.

        Args:
            wanted: By name: path, size, time of change and so on of the source.
        """
        old = load_kept_object(self._plan_path)
        for name, stamp in wanted.items():
            if name in old and old[name] != list(stamp):
                # Before the new plan is written: what is there must never belong to another one.
                (self.folder / "wavs" / f"{name}.wav").unlink(missing_ok=True)
        self._write(self._plan_path, {**old, **{key: list(value) for key, value in wanted.items()}})
        for path in (self.folder / "wavs").glob(".*.part"):
            path.unlink(missing_ok=True)  # of a killed run; the lock says that none is at work
        return {name for name in wanted if (self.folder / "wavs" / f"{name}.wav").is_file()}

    def finish(self, identity: Identity, csv_text: str, facts: Mapping[str, Any]) -> None:
        """Write metadata.csv, and then that the import is complete."""
        data = csv_text.encode("utf-8")
        with replace_on_success(self.folder / "metadata.csv") as temporary:
            temporary.write_bytes(data)
        report = {
            "source": str(identity.source),
            "format": identity.format_name,
            "is_complete": True,
            "metadata_sha256": _find_sha256(data),
        }
        self._write(self.report_path, {**report, **facts})

    def _load_report(self) -> dict[str, Any]:
        return load_kept_object(self.report_path)

    def _write(self, path: Path, data: Mapping[str, Any]) -> None:
        with replace_on_success(path) as temporary:
            text = json.dumps(data, ensure_ascii=False, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _find_sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
