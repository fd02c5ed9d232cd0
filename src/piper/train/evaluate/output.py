"""An evaluation's files: report.json, report.html, MODEL_CARD.md. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from piper.train.evaluate.card import write_model_card
from piper.train.evaluate.card_facts import find_card_facts
from piper.train.evaluate.page import write_report_page
from piper.train.evaluate.results import Evaluation
from piper.train.evaluate.systems import Source, SourceKind
from piper.train.pages.document import write_json


def write_evaluation(
    evaluation: Evaluation, sources: Sequence[Source], told: Mapping[str, Any], folder: Path
) -> list[Path]:
    """Write all files of an evaluation; return them.

    Args:
        evaluation: What was found.
        sources: Its systems as they were given; the first voice gets a model card.
        told: What the card says beside, by the names of `CardFacts`.
        folder: Where they go.

    Raises:
        OSError: A file cannot be written.
    """
    paths = [folder / "report.json", folder / "report.html"]
    write_report_json(evaluation, paths[0])
    write_report_page(evaluation, paths[1])
    for system, source in zip(evaluation.systems, sources, strict=True):
        if source.kind is not SourceKind.SPEECH:
            paths.append(folder / "MODEL_CARD.md")
            about = find_card_facts(evaluation, system, source, told)
            write_model_card(evaluation, system, about, paths[-1])
            break
    return paths


def write_report_json(evaluation: Evaluation, path: Path) -> None:
    """Write `report.json`: `Evaluation.to_dict`, UTF-8.

    Raises:
        OSError: The file cannot be written.
    """
    write_json(evaluation.to_dict(), path)
