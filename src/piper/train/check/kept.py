"""Results kept one by one as they are made, so that work that was stopped goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from piper.files import open_to_append, parse_json

Result = TypeVar("Result")


def keep_result(path: Path, key: str, value: Any) -> None:
    """Add a result to a file, with JSON's kinds of values; several processes may do so at once."""
    line = json.dumps([key, value], ensure_ascii=False) + "\n"
    # One write to a file that is open for appending: lines of several processes stay whole.
    descriptor = open_to_append(path)
    try:
        os.write(descriptor, line.encode("utf-8", "surrogatepass"))
    finally:
        os.close(descriptor)


def load_results(path: Path, parse: Callable[[Any], Result]) -> dict[str, Result]:
    """Return what a file holds by key; what cannot be parsed is left out.

    Raises:
        OSError: The file is there and cannot be read.
    """
    if not path.is_file():
        return {}
    results: dict[str, Result] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            key, value = parse_json(line, str(path))
            results[key] = parse(value)
        except (ValueError, TypeError, KeyError):
            continue  # cut off by a kill
    return results
