"""How a dataset's texts become phonemes, from flags and config.json. Reads no texts, no files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from piper.errors import ConfigError
from piper.text.options import VOICE_KEY, TextOptions

DEFAULT_TEXT_OPTIONS = TextOptions().fill(None)
"""Numbers are left as they are, stress signs are honoured."""


def resolve_text_options(config: Mapping[str, Any], path: Path, flags: TextOptions) -> TextOptions:
    """Put flags and the config's `text_options` together, with nothing left open.

    Args:
        config: What config.json holds.
        path: That file, for errors.
        flags: The flags; None means that one was not given.

    Raises:
        ConfigError: Flag and file disagree, or a value is of no known kind.
    """
    # A config.json with an id map is one that a training has completed, here or elsewhere.
    found = config.get(VOICE_KEY, {} if "phoneme_id_map" in config else None)
    options = flags.fill(found, str(path))
    found = found or {}
    for name in ("write_numbers", "stress", "abbreviations"):
        given = getattr(flags, name)
        if given is not None and found.get(name) is not None and found[name] != given:
            raise ConfigError(
                f'{path} says "{VOICE_KEY}.{name}": {found[name]!r}, but --data.{name} is '
                f"{given!r}; leave out the flag, or change the file."
            )
    return options


def parse_id_map(data: Any, path: Path) -> dict[str, list[int]]:
    """Return phonemes and their ids as lists.

    Raises:
        ConfigError: It is no such map; `path` says where it stands.
    """
    result: dict[str, list[int]] = {}
    for symbol, ids in data.items() if isinstance(data, dict) else [("", data)]:
        id_list = [ids] if isinstance(ids, int) else ids
        if not isinstance(id_list, list) or not all(type(i) is int and i >= 0 for i in id_list):
            raise ConfigError(
                f"{path} gives {ids!r:.60} for the phoneme {symbol!r}, "
                "but a list of whole numbers is wanted."
            )
        result[symbol] = id_list
    return result
