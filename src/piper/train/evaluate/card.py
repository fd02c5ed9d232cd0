"""The model card of a voice, MODEL_CARD.md: data, training, figures, limits.

It has the form of Hugging Face's model cards. What is not known is left out.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from piper.errors import ConfigError
from piper.files import load_json_object, replace_on_success, write_json
from piper.train.checkpoints import load_checkpoint
from piper.train.evaluate.page import (
    NOTHING,
    explain_score,
    format_value,
    write_report_page,
)
from piper.train.evaluate.results import Evaluation, Figure, Kind, Score, System
from piper.train.evaluate.systems import Source, SourceKind

_SIGNS = re.compile(r"[\\`*_\[\]<>|~$&]")
"""Those that mean something within a line; so no text makes a link, a tag or a cell."""
_START = re.compile(r"^([#+=-](?!\d)|\d+(?=[.)](\s|$)))")
"""What makes a line a heading, a list, a rule."""


def escape(text: str) -> str:
    """Return a text as a line of Markdown that shows it as it is."""
    line = _SIGNS.sub(r"\\\g<0>", " ".join(text.split()))
    start = _START.match(line)
    if start is None:
        return line
    # A number keeps its digits, the dot after it is the sign.
    place = 0 if not start[0].isdecimal() else start.end()
    return f"{line[:place]}\\{line[place:]}"


def draw_facts(facts: Mapping[str, str]) -> str:
    """Return a list of names and values; empty values are left out."""
    return "".join(
        f"- **{escape(name)}:** {escape(value)}\n" for name, value in facts.items() if value
    )


def draw_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; columns after the first stand at the right."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    lines = [list(map(escape, heads)), rule, *(list(map(escape, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw_code(code: str, language: str) -> str:
    """Return a fenced block, with more backticks than the code has in a row."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}\n"


TAGS = ("piper", "text-to-speech", "tts", "vits", "onnx")
_LICENSE = re.compile(
    r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-4\.0|cc-by(-nc)?(-sa)?-3\.0|apache-2\.0|mit|"
    r"bsd-[23]-clause|(l|a)?gpl-3\.0|gpl-2\.0|mpl-2\.0|odbl|pddl|unlicense|unknown"
)
"""Those that a card names by themselves; any other one is `other` with a name."""
_IDENTIFIER = re.compile(r"[\w.-]+(/[\w.-]+)?")
"""A dataset's name that a card may list."""


@dataclass(frozen=True)
class CardFacts:
    """What an evaluation does not know of a voice; empty or None is not known.

    Attributes:
        language: ISO 639, such as `ru`.
        license: Of the voice: an identifier such as `cc-by-4.0`, or its name.
        hours: Of recordings that were trained on.
        held_out: Sentences that neither training nor its choice of a checkpoint saw, and that
            were evaluated.
        started_from: The voice or checkpoint that training started from.
        versions: Of what it was made with, by name.
        voice_file: Its ONNX; None takes the evaluated file where it is one.
        limits: What it cannot do, a sentence each.
    """

    name: str
    language: str = ""
    license: str = ""
    license_link: str = ""
    speaker: str = ""
    dataset: str = ""
    dataset_address: str = ""
    dataset_license: str = ""
    utterances: int | None = None
    hours: float | None = None
    held_out: int | None = None
    quality: str = ""
    sample_rate: int | None = None
    started_from: str = ""
    updates: int | None = None
    training_seconds: float | None = None
    device: str = ""
    date: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    command: str = ""
    voice_file: str | None = None
    limits: Sequence[str] = ()


def write_model_card(evaluation: Evaluation, system: System, about: CardFacts, path: Path) -> None:
    """Write a voice's MODEL_CARD.md."""
    sections = [
        _draw_front_matter(about),
        f"# {escape(about.name)}\n\n{_describe_voice(about)}\n",
        _draw_section("Speaking", _draw_speaking(system, about)),
        _draw_section("Data", _draw_data(about)),
        _draw_section("Training", _draw_training(about)),
        _draw_section("Figures", _draw_figures(evaluation, system, about)),
        _draw_section("Limits", _draw_limits(evaluation, system, about)),
    ]
    with replace_on_success(path) as temporary:
        text = "\n".join(section for section in sections if section)
        temporary.write_bytes(text.encode("utf-8", "replace"))


def _draw_front_matter(about: CardFacts) -> str:
    import yaml

    named: dict[str, object] = {}
    if about.language:
        named["language"] = [about.language]
    if about.license:
        identifier = about.license.lower().replace(" ", "-")
        named["license"] = identifier if _LICENSE.fullmatch(identifier) else "other"
        if named["license"] == "other":
            named["license_name"] = identifier
            named |= {"license_link": about.license_link} if about.license_link else {}
    named |= {"library_name": "piper", "pipeline_tag": "text-to-speech", "tags": list(TAGS)}
    if _IDENTIFIER.fullmatch(about.dataset):
        named["datasets"] = [about.dataset]
    shown = yaml.safe_dump(named, allow_unicode=True, sort_keys=False)
    return f"---\n{shown}---\n"


def _describe_voice(about: CardFacts) -> str:
    rate = f"{about.sample_rate:,} Hz" if about.sample_rate else ""
    kind = ", ".join(part for part in (about.language, about.quality, rate) if part)
    return (
        "A voice that speaks text: a VITS network as ONNX, for Piper"
        f"{f' ({escape(kind)})' if kind else ''}. It needs no GPU and no network."
    )


def _draw_section(title: str, content: str) -> str:
    return f"## {title}\n\n{content}" if content else ""


def _draw_speaking(system: System, about: CardFacts) -> str:
    file = about.voice_file
    if file is None and system.source is not None and system.source.suffix == ".onnx":
        file = system.source.name
    sentences = [one for one in system.spoken if one.sentence.kind is Kind.SENTENCE]
    if file is None or not sentences:
        return ""
    text = " ".join(sentences[0].sentence.text.split())
    command = shlex.join(["python", "-m", "piper", "-m", file, "-f", "speech.wav", "--", text])
    program = (
        "import wave\n\nfrom piper import PiperVoice\n\n"
        f"voice = PiperVoice.load({_quote(file)})\n"
        'with wave.open("speech.wav", "wb") as file:\n'
        f"    voice.synthesize_wav({_quote(text)}, file)"
    )
    return (
        f"{escape(file)}.json lies beside the voice.\n\n"
        f"{draw_code(command, 'bash')}\n{draw_code(program, 'python')}"
    )


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _draw_data(about: CardFacts) -> str:
    return draw_facts(
        {
            "Recordings": about.dataset,
            "Source": about.dataset_address,
            "Licence of the recordings": about.dataset_license,
            "Licence of the voice": about.license,
            "Speaker": about.speaker,
            "Utterances": _count(about.utterances),
            "Hours": f"{about.hours:.2f}" if about.hours is not None else "",
            "Held out": f"{about.held_out:,} sentences" if about.held_out is not None else "",
        }
    )


def _draw_training(about: CardFacts) -> str:
    facts = draw_facts(
        {
            "Started from": about.started_from,
            "Updates": _count(about.updates),
            "Time": _describe_seconds(about.training_seconds),
            "Device": about.device,
            "Date": about.date,
            "Versions": ", ".join(f"{name} {version}" for name, version in about.versions.items()),
            "Seed": "" if about.seed is None else str(about.seed),
        }
    )
    command = draw_code(about.command, "bash") if about.command else ""
    return f"{facts}\n{command}" if facts and command else facts or command


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _describe_seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _draw_figures(evaluation: Evaluation, system: System, about: CardFacts) -> str:
    scores = [score for score in evaluation.scores if score.name in system.figures]
    if not scores:
        return ""
    recordings = evaluation.recordings
    rows = []
    for score in scores:
        row = [score.name_with_unit, _describe_figure(score, system.figures[score.name])]
        if recordings is not None:
            row.append(_describe_figure(score, recordings.figures.get(score.name)))
        rows.append(row)
    heads = ["score", "this voice", *(["recordings"] if recordings is not None else [])]
    count = sum(one.sentence.kind is Kind.SENTENCE for one in system.spoken)
    unseen = " that training has not seen" if about.held_out == count else ""
    meanings = draw_facts({score.name_with_unit: explain_score(score) for score in scores})
    facts = draw_facts(evaluation.facts)
    done = f"\nHow it was done:\n\n{facts}" if facts else ""
    return (
        f"Of {count:,} sentences{unseen}. In brackets: the 95 % interval.\n\n"
        f"{draw_table(heads, rows)}\nWhat the figures mean:\n\n{meanings}{done}"
    )


def _describe_figure(score: Score, figure: Figure | None) -> str:
    if figure is None:
        return NOTHING
    value = format_value(score, figure.value)
    if figure.low is None or figure.high is None:
        return value
    return f"{value} ({format_value(score, figure.low)} to {format_value(score, figure.high)})"


def _draw_limits(evaluation: Evaluation, system: System, about: CardFacts) -> str:
    limits = list(about.limits)
    if system.figures:
        limits.append(
            "The figures are those of programs, on sentences of one set: other texts may come out "
            "better or worse, and people may hear it otherwise."
        )
    for kind, name in ((Kind.WORD, "words"), (Kind.LETTER, "letters")):
        alone = [one for one in system.spoken if one.sentence.kind is kind]
        if alone:
            broken = sum(bool(one.troubles) for one in alone)
            limits.append(f"Spoken alone, {broken:,} of {len(alone):,} {name} had a trouble.")
    limits += [f"Not measured: {sentence}" for sentence in evaluation.missing]
    return _draw_list(limits)


def _draw_list(sentences: Iterable[str]) -> str:
    return "".join(f"- {escape(sentence)}\n" for sentence in sentences)


_NAMES = frozenset(field.name for field in dataclasses.fields(CardFacts))
VERSION_FACTS = ("piper-workshop", "torch", "onnxruntime")


def load_card_facts(path: Path) -> dict[str, Any]:
    """Return what a file tells: a JSON object with fields of `CardFacts`."""
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


def write_evaluation(
    evaluation: Evaluation, sources: Sequence[Source], told: Mapping[str, Any], folder: Path
) -> list[Path]:
    """Write all files of an evaluation; return them.

    Args:
        sources: Its systems as they were given; the first voice gets a model card.
        told: What the card says beside, by the names of `CardFacts`.
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
    """Write `report.json`: `Evaluation.to_dict`, UTF-8."""
    write_json(path, evaluation.to_dict())
