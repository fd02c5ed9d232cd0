"""The model card: what is known stands in it, what is not does not, and texts stay texts."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_evaluations import EVIL
from markdown_it import MarkdownIt

from piper.errors import ConfigError
from piper.train.evaluate.card import (
    CardFacts,
    draw_code,
    escape,
    load_card_facts,
    write_model_card,
)
from piper.train.evaluate.results import Evaluation

FULL = CardFacts(
    name="Anna",
    language="ru",
    license="CC-BY-4.0",
    speaker="Anna | a [friend](http://x)",
    dataset="festvox-ru",
    dataset_address="where it lies",
    dataset_license="BSD",
    utterances=1590,
    hours=0.5125,
    held_out=4,
    quality="medium",
    sample_rate=22050,
    started_from="en_US-joe-medium",
    updates=12345,
    training_seconds=18 * 60,
    device="two CPU cores",
    date="2026-11-26",
    versions={"torch": "2.9", "piper-workshop": "0.1.0"},
    seed=0,
    command="python -m piper.train fit --data.dataset_dir=recordings",
    limits=("It does not sing.",),
)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"hours": "many"}, 'has hours "many", but a plain number is wanted'),
        ({"hours": True}, "but a plain number is wanted"),
        ({"license": 5}, "but a text in quotes is wanted"),
        ({"license": None}, "but a text in quotes is wanted"),
        ({"limits": "It does not sing."}, "but a list of texts is wanted"),
        ({"versions": {"torch": 2}}, "but an object of texts is wanted"),
        ({"seed": 1.5}, "but a whole number is wanted"),
        ({"mood": "good"}, "has mood, but a card has command"),
    ],
)
def test_facts_of_another_kind_are_refused_before_anything_is_spoken(
    told: dict[str, Any], wanted: str, tmp_path: Path
) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_card_facts(path)
    assert wanted in str(error.value)
    right = {"hours": 2, "seed": None, "limits": ["It does not sing."], "versions": {"torch": "2"}}
    path.write_text(json.dumps(right), encoding="utf-8")
    assert load_card_facts(path) == right


def write_card(evaluation: Evaluation, about: CardFacts, folder: Path) -> str:
    path = folder / "new" / "MODEL_CARD.md"
    write_model_card(evaluation, evaluation.systems[0], about, path)
    assert [other.name for other in path.parent.iterdir()] == ["MODEL_CARD.md"]
    return path.read_text(encoding="utf-8")


def split_card(card: str) -> tuple[dict[str, Any], str]:
    _, front, text = card.split("---\n", maxsplit=2)
    return yaml.safe_load(front), text


def render(text: str) -> str:
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


def test_a_quick_voice_is_not_called_vits(evaluation: Evaluation, tmp_path: Path) -> None:
    front, _ = split_card(write_card(evaluation, CardFacts("Anna", quality="quick"), tmp_path))
    assert front["tags"] == ["piper", "text-to-speech", "tts", "onnx"]


def test_all_that_is_known(evaluation: Evaluation, tmp_path: Path) -> None:
    front, text = split_card(write_card(evaluation, FULL, tmp_path))
    [result] = front.pop("model-index")[0]["results"]
    assert result["dataset"]["name"] == "festvox-ru"
    figures = evaluation.systems[0].figures
    assert {one["type"]: one["value"] for one in result["metrics"]} == {
        name: figure.value for name, figure in figures.items()
    }
    assert front == {
        "language": ["ru"],
        "license": "cc-by-4.0",
        "library_name": "piper",
        "pipeline_tag": "text-to-speech",
        "tags": ["piper", "text-to-speech", "tts", "vits", "onnx"],
        "datasets": ["festvox-ru"],
    }
    page = render(text)
    assert re.findall(r"<h\d>(.*?)</h\d>", page) == [
        *("Anna", "Speaking", "Data", "Training", "Figures", "Limits")
    ]
    for said in (
        "for Piper (ru, medium, 22,050 Hz)",
        "<strong>Utterances:</strong> 1,590",
        "<strong>Hours:</strong> 0.51",
        "<strong>Updates:</strong> 12,345",
        "<strong>Time:</strong> 18 minutes",
        "<strong>Versions:</strong> torch 2.9, piper-workshop 0.1.0",
        "<strong>Seed:</strong> 0",
        "Of 4 sentences that training has not seen.",
        "<li>It does not sing.</li>",
        "<li>Not measured: The loudness is not measured; install pyloudnorm.</li>",
        "Spoken alone, 0 of 1 words had a trouble.",
    ):
        assert said in page, said
    assert FULL.command in page


def test_figures_stand_beside_the_recordings(evaluation: Evaluation, tmp_path: Path) -> None:
    page = render(split_card(write_card(evaluation, FULL, tmp_path))[1])
    rows = [
        re.findall(r"<td[^>]*>(.*?)</td>", row)
        for row in re.findall("<tr>.*?</tr>", page, re.DOTALL)
    ]
    assert rows[1:] == [
        ["DistillMOS", "3.45 (3.44 to 3.46)", "4.04 (4.03 to 4.05)"],
        ["phoneme error rate", "0.102 (0.092 to 0.112)", "0.051 (0.041 to 0.061)"],
        ["speaker similarity", "0.788 (0.778 to 0.798)", "0.887 (0.877 to 0.897)"],
        ["clicks", "0.25 (0.24 to 0.26)", "0.00 (−0.01 to 0.01)"],
        ["size, MB", "63.2", "–"],
        ["mine:judge", "6.89 (6.88 to 6.90)", "–"],
    ]
    alone = replace(evaluation, recordings=None)
    assert "recordings |" not in write_card(alone, FULL, tmp_path)


def test_what_is_not_known_is_left_out(evaluation: Evaluation, tmp_path: Path) -> None:
    bare = replace(
        evaluation,
        systems=(replace(evaluation.systems[0], figures={}, spoken=()),),
        missing=(),
        facts={},
    )
    front, text = split_card(write_card(bare, CardFacts("Anna"), tmp_path))
    assert set(front) == {"library_name", "pipeline_tag", "tags"}
    assert "## " not in text
    assert "None" not in text
    checkpoint = replace(evaluation.systems[0], source=Path("last.ckpt"))
    text = write_card(replace(evaluation, systems=(checkpoint,)), CardFacts("Anna"), tmp_path)
    assert "## Speaking" not in text
    assert "that training has not seen" not in text


def test_other_licences_have_a_name(evaluation: Evaluation, tmp_path: Path) -> None:
    about = CardFacts("Anna", license="My own", license_link="LICENSE", dataset="a & b")
    front, _ = split_card(write_card(evaluation, about, tmp_path))
    assert front["license"] == "other"
    assert (front["license_name"], front["license_link"]) == ("my-own", "LICENSE")
    assert "datasets" not in front


def test_texts_are_no_markup(evaluation: Evaluation, tmp_path: Path) -> None:
    about = replace(FULL, name=EVIL, device=EVIL, limits=(EVIL, "# no heading", "1. no list"))
    first = replace(
        evaluation.systems[0].spoken[0],
        sentence=replace(evaluation.systems[0].spoken[0].sentence, text=f"```\n{EVIL}"),
    )
    spoken = (first, *evaluation.systems[0].spoken[1:])
    odd = replace(evaluation, systems=(replace(evaluation.systems[0], spoken=spoken),))
    page = render(split_card(write_card(odd, about, tmp_path))[1])
    shown = EVIL.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = shown.replace('"', "&quot;")
    assert page.count(shown) >= 4
    assert not re.search(r"<(script|a|img)\b", page)
    assert "<li># no heading</li>" in page
    assert "<li>1. no list</li>" in page
    assert page.count("<ol>") == 0


@pytest.mark.parametrize(
    "text",
    ["# a", "- a", "+ a", "1. a", "12) a", "=== a", "*a* _b_", "a | b", "\\a", "<b>", "&lt;"],
)
def test_escaped_texts_show_as_they_are(text: str) -> None:
    shown = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert render(escape(text)) == f"<p>{shown}</p>\n"


@pytest.mark.parametrize("text", ["3.50 (3.1 to 3.9)", "-0.5", "a - b", "1.", "so. 1. b"])
def test_numbers_are_not_escaped_without_need(text: str) -> None:
    assert escape(text) == ("1\\." if text == "1." else text)


def test_code_may_hold_backticks() -> None:
    assert render(draw_code("a ```` b", "bash")) == (
        '<pre><code class="language-bash">a ```` b\n</code></pre>\n'
    )


def test_the_commands_of_a_card_speak(
    evaluation: Evaluation, tiny_voice: Path, tmp_path: Path
) -> None:
    """What the card tells to do is done, with a sentence full of quotes."""
    quoted = replace(
        evaluation.systems[0].spoken[0],
        sentence=replace(evaluation.systems[0].spoken[0].sentence, text='- It\'s "so", $HOME.'),
    )
    system = replace(evaluation.systems[0], spoken=(quoted,))
    odd = replace(evaluation, systems=(system,))
    card = write_card(odd, replace(FULL, voice_file=str(tiny_voice)), tmp_path)
    command, program = re.findall(r"```(?:bash|python)\n(.*?)\n```", card, re.S)[:2]
    assert command.startswith("python -m piper ")
    command = command.replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    first = (tmp_path / "speech.wav").stat().st_size
    (tmp_path / "speech.wav").unlink()
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert (tmp_path / "speech.wav").stat().st_size > 1000 < first
