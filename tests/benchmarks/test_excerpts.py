"""benchmarks/excerpts.py finds excerpts that hand-made labels contradict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import excerpts

LABELS = "#\n0.3 125 pau\n0.4 125 d\n0.6 125 aa\n0.8 125 pau\n0.9 125 pau\n1.2 125 o\n1.4 125 pau\n"


@pytest.mark.parametrize(
    ("changes", "edges", "syllables"),
    [
        ({}, 1, 1),
        ({"end": 0.92}, 1, 1),  # within 30 ms
        ({"end": 0.95}, 0, 1),
        ({"start": 0.45}, 0, 1),
        ({"end": 9.0, "text": "Да, о."}, 1, 1),  # the last pause ends with the recording
        ({"end": 9.0}, 1, 0),
        ({"text": "Дада."}, 1, 0),
    ],
)
def test_edges_and_syllables(
    tmp_path: Path, changes: dict[str, Any], edges: int, syllables: int
) -> None:
    (tmp_path / "a.lab").write_text(LABELS, encoding="ascii")
    one = {"name": "a-w01.wav", "source": "a.wav", "text": "Да.", "words": 1, "start": 0.1}
    one |= {"end": 0.85, "ends_sentence": True, **changes}
    figures, contradicted = excerpts.compare([one], tmp_path)
    assert figures["with both edges in a labelled pause"] == edges
    assert figures["with as many syllables as written"] == syllables
    assert len(contradicted) == (edges == 0) + (syllables == 0)
