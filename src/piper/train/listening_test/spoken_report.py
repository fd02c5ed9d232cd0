"""The border for report.json: which files of which systems say the same sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piper.atomic import is_own_file
from piper.errors import EvaluationError
from piper.json_reader import load_json_object
from piper.train.evaluate.results import Kind


@dataclass(frozen=True)
class SpokenSentences:
    """Sentences that all of some systems spoke.

    Attributes:
        names: Of the sentences.
        texts: What is said.
        audio: Files by label, in the same order.
    """

    names: list[str]
    texts: list[str]
    audio: dict[str, list[Path]]


def read_spoken_sentences(path: Path, labels: Sequence[str] | None) -> SpokenSentences:
    """Return what systems of a report spoke, without single words and letters.

    Args:
        path: report.json; what it names relatively may lie beside it.
        labels: Of the systems; None takes all voices, and of one voice the recordings too.

    Raises:
        ConfigError: It is no JSON, or cannot be read.
        EvaluationError: It is no report, or has no such system.
    """
    try:
        report = load_json_object(path)
        systems = {system["label"]: system for system in report["systems"]}
        chosen = labels or _choose_labels(systems)
        unknown = [label for label in chosen if label not in systems]
        if unknown:
            raise EvaluationError(
                f"{path} has no system {unknown[0]}; there are {', '.join(systems)}."
            )
        return _collect(path.parent, {label: systems[label] for label in chosen})
    except (KeyError, TypeError, AttributeError):
        raise EvaluationError(
            f"{path} is no report of an evaluation; give the report.json that it wrote."
        ) from None


def _choose_labels(systems: dict[str, dict[str, Any]]) -> list[str]:
    voices = [label for label, system in systems.items() if system["source"] is not None]
    return voices if len(voices) > 1 else list(systems)


def _collect(folder: Path, systems: dict[str, dict[str, Any]]) -> SpokenSentences:
    spoken = {
        label: {
            one["name"]: one for one in system["sentences"] if one["kind"] == Kind.SENTENCE.value
        }
        for label, system in systems.items()
    }
    first = next(iter(spoken.values()), {})
    names = [name for name in first if all(name in some for some in spoken.values())]
    return SpokenSentences(
        names,
        [first[name]["text"] for name in names],
        {
            label: [_find_file(folder, some[name]) for name in names]
            for label, some in spoken.items()
        },
    )


def _find_file(folder: Path, spoken: dict[str, Any]) -> Path:
    """Return where a sentence's sound lies.

    Raises:
        EvaluationError: It is a file of this machine that the report's writer may never have heard:
            the page, which is given away, would carry it.
    """
    path = Path(spoken["audio"])
    # `folder / path` is `path` where that is absolute.
    places = [place for place in (path, folder / path) if place.is_file()]
    for place in places:
        if is_own_file(place, folder, spoken.get("sha256")):
            return place
    if places:
        raise EvaluationError(
            f"{places[0]} lies outside of {folder} and is not what was evaluated, as its digest "
            "would show; evaluate again."
        )
    return folder / path
