"""Says where another distribution's files lie among this package's.

`piper-tts` owns a package `piper`, too; pip lets both be installed in one folder, where the later
one overwrites files of the earlier, and removing either takes files of the other away.
"""

from __future__ import annotations

import logging
import os

_LOGGER = logging.getLogger(__name__)

OWN_NAME = "piper-workshop"
RIVAL_NAME = "piper-tts"
_RIVAL_PREFIX = RIVAL_NAME.replace("-", "_") + "-"
_RECORD_SUFFIX = ".dist-info"


def describe_conflict(packages_folder: str | None = None) -> str | None:
    """Return a sentence where the other distribution is installed in the same folder, else None.

    It reads the names in one folder (0.1 ms), that of this package, and not `importlib.metadata`,
    whose import alone takes 10 ms of every start.
    """
    folder = packages_folder or os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except OSError:
        return None
    for name in names:
        is_named_so = name.startswith(_RIVAL_PREFIX) and name.endswith(_RECORD_SUFFIX)
        if is_named_so and _owns_files(os.path.join(folder, name, "RECORD")):  # noqa: PTH118
            version = name.removeprefix(_RIVAL_PREFIX).removesuffix(_RECORD_SUFFIX)
            return (
                f"{RIVAL_NAME} {version} and {OWN_NAME} are both installed in {folder}, and each "
                f"overwrites files of the other; mend it with `pip uninstall -y {RIVAL_NAME} "
                f"{OWN_NAME}`, then install {OWN_NAME} again."
            )
    return None


def _owns_files(record: str) -> bool:
    """Return whether a list of installed files names some of this package's folder.

    Of `make shim` there is a distribution of the other's name without code, which may stay.
    """
    try:
        with open(record, "rb") as file:  # noqa: PTH123
            return any(line.startswith(b"piper/") for line in file)
    except OSError:
        return True  # installed by something that keeps no list


def warn_about_conflict() -> None:
    """Log that sentence as a warning; for commands, once at their start."""
    sentence = describe_conflict()
    if sentence is not None:
        _LOGGER.warning(sentence)
