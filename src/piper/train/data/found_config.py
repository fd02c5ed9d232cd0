"""Look-ups in what a dataset's config.json says already. Knows no key by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from piper.errors import ConfigError

T = TypeVar("T")


class FoundConfig:
    """Look-ups in what config.json holds, which may be nothing yet."""

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self.path = path
        self.data = data

    def find(self, dotted: str, kind: type[T]) -> T | None:
        """Return what a dotted key holds; None where it is not there.

        Raises:
            ConfigError: It holds something of another kind.
        """
        value: Any = self.data
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(
                f'{self.path}: the key "{dotted}" holds {value!r:.60}, '
                f"but {kind.__name__} is wanted; mend or remove it."
            )
        return value

    def agree(self, flag: str, dotted: str, given: T | None, default: T, group: str = "data") -> T:
        """Return the flag's or the file's value; they must not contradict each other."""
        found = self.find(dotted, type(default))
        if given is None:
            return default if found is None else found
        if found is not None and found != "" and given != "" and found != given:
            raise ConfigError(
                f'{self.path} says "{dotted}": {found!r}, but --{group}.{flag} is {given!r}; '
                "leave out the flag, or change the file."
            )
        return given
