"""The one way in for JSON that was written elsewhere: bounded in size, depth and digits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from piper.errors import ConfigError, describe_os_error

MAX_DEPTH = 100
"""Far beyond any file of this field; what walks a parsed file by recursion stays within it."""
MAX_DIGITS = 20
"""Of a whole number: all of 64 bits have no more."""
MAX_FILE_BYTES = 256 * 1024**2

_LONG_NUMBER = re.compile(rf"\d{{{MAX_DIGITS + 1}}}")


def parse_json(content: str | bytes, source: str) -> Any:
    """Parse JSON; NaN and Infinity are taken, since programs in Python write them.

    Args:
        content: As text or as UTF-8, with or without a byte order mark.
        source: What to call it in errors: a file's path, with the line where it has several.

    Raises:
        ConfigError: It is not UTF-8 JSON, is nested too deep, or has a number that is too long.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        text = text.removeprefix("\ufeff")
        # Only what looks long is read by the slower parser.
        parse_int = _parse_int if _LONG_NUMBER.search(text) else None
        data = json.loads(text, parse_int=parse_int)
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(data)
    except UnicodeDecodeError:
        raise ConfigError(f"{source} is not UTF-8 text; is it really a JSON file?") from None
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{source} is not valid JSON (line {error.lineno}: {error.msg}); mend or replace it."
        ) from None
    except RecursionError:
        raise ConfigError(
            f"{source} is nested deeper than {MAX_DEPTH} levels; mend or replace it."
        ) from None
    except _LongNumberError as error:
        raise ConfigError(
            f"{source} holds a number of {error} digits, but {MAX_DIGITS} are the most; mend or "
            "replace it."
        ) from None
    return data


def parse_json_object(content: str | bytes, source: str) -> dict[str, Any]:
    """Parse JSON that is an object; raises as `parse_json` does, and where it is something else."""
    data = parse_json(content, source)
    if not isinstance(data, dict):
        raise ConfigError(f"{source} holds a JSON {type(data).__name__}, but an object is wanted.")
    return data


def load_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ConfigError: The file is missing, cannot be read, or holds something else; or a string in it
            has half a character, which can be neither shown nor sent on.
    """
    data = _load_object(path)
    try:
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(
            f"{path} has half a character (\\ud800 to \\udfff) in a string; mend or replace it."
        ) from None
    return data


def read_bounded(path: Path, kind: str) -> bytes:
    """Return the content of a file that somebody else made, if it has an end.

    Args:
        path: The file.
        kind: What it is to be, such as `JSON file`.

    Raises:
        OSError: It cannot be read.
        ConfigError: It is too large.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(
            f"{path} is larger than {MAX_FILE_BYTES // 1024**2} MiB; is it really a {kind}?"
        )
    return content


def _load_object(path: Path) -> dict[str, Any]:
    try:
        content = read_bounded(path, "JSON file")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; check the path.") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, but a JSON file is wanted here.") from None
    except OSError as error:
        raise ConfigError(describe_os_error(error)) from None
    return parse_json_object(content, str(path))


def load_kept_object(path: Path) -> dict[str, Any]:
    """Read an object that was kept to save work; an empty one where there is none, or no sound one.

    Returns:
        The object, whose values the caller still has to check.
    """
    try:
        return _load_object(path)
    except ConfigError:
        return {}


class _LongNumberError(ValueError):
    """The number of digits is its text."""


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS + digits.startswith("-"):
        raise _LongNumberError(f"{len(digits.lstrip('-')):,}")
    return int(digits)


def _check_depth(data: Any) -> None:
    """Raise RecursionError where containers lie in each other deeper than allowed."""
    level = [data]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return
    raise RecursionError
