"""What a model card says beside its figures: found in the voice, or told. Draws nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from piper.errors import ConfigError
from piper.json_reader import load_json_object
from piper.train.checkpoints.checkpoint import load_checkpoint
from piper.train.evaluate.card import CardFacts
from piper.train.evaluate.results import Evaluation, System
from piper.train.evaluate.systems import Source, SourceKind

_NAMES = frozenset(field.name for field in dataclasses.fields(CardFacts))
VERSION_FACTS = ("piper-workshop", "torch", "onnxruntime")


def load_card_facts(path: Path) -> dict[str, Any]:
    """Return what a file tells: a JSON object with fields of `CardFacts`.

    Raises:
        ConfigError: It cannot be read, or has other fields.
    """
    told = load_json_object(path)
    unknown = [name for name in told if name not in _NAMES]
    if unknown:
        raise ConfigError(
            f"--card-facts: {path} has {', '.join(unknown[:5])}, but a card has "
            f"{', '.join(sorted(_NAMES))}."
        )
    return told


def find_card_facts(
    evaluation: Evaluation, system: System, source: Source, told: Mapping[str, Any]
) -> CardFacts:
    """Return what is known of a voice; what is told counts more than what is found.

    Args:
        evaluation: Of the voice.
        system: The voice there.
        source: The file.
        told: Fields by name, as `load_card_facts` gives them.
    """
    details = system.details
    found: dict[str, Any] = {
        "name": source.path.stem if source.kind is SourceKind.VOICE else system.label,
        "language": details.get("language", "").partition("_")[0].partition("-")[0],
        "quality": details.get("quality", ""),
        "sample_rate": _parse_number(details.get("sample rate", "")),
        "versions": {
            name: evaluation.facts[name] for name in VERSION_FACTS if name in evaluation.facts
        },
    }
    if evaluation.recordings is not None:
        found["held_out"] = len(evaluation.recordings.spoken)
        found["dataset"] = evaluation.dataset.absolute().name
    if source.kind is SourceKind.CHECKPOINT:
        # Lightning counts the steps of both optimizers.
        steps = load_checkpoint(source.path).get("global_step")
        found["updates"] = steps // 2 if isinstance(steps, int) else None
        found["voice_file"] = f"{system.label}.onnx"
    return CardFacts(**{**found, **told})


def _parse_number(text: str) -> int | None:
    digits = "".join(sign for sign in text if sign.isdigit())
    return int(digits) if digits else None
