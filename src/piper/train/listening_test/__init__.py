"""A blind comparison of voices by people: a page of pairs, and what its results say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from piper.train.listening_test.making import make_listening_test
    from piper.train.listening_test.preferences import summarise_listening_test

_MODULES = {
    "make_listening_test": "piper.train.listening_test.making",
    "summarise_listening_test": "piper.train.listening_test.preferences",
}

__all__ = ["make_listening_test", "summarise_listening_test"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
