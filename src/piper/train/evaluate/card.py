"""The model card of a voice, MODEL_CARD.md: data, training, figures, limits.

It has the form of Hugging Face's model cards. What is not known is left out.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from piper.errors import ConfigError, name_some
from piper.files import load_json_object, replace_on_success, write_json
from piper.train.checkpoints import load_checkpoint
from piper.train.evaluate.page import explain_score, write_report_page
from piper.train.evaluate.results import NOTHING, Evaluation, Kind, Score, System
from piper.train.evaluate.systems import Source, SourceKind
from piper.train.pages.document import TEMPLATES

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


def draw_code(code: str, language: str) -> Markup:
    """Return a fenced block, with more backticks than the code has in a row."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{code}\n{fence}\n")


_SPEAK = ("python", "-m", "piper")
_TO_FILE = ("-f", "speech.wav", "--")
_PROGRAM = """import wave

from piper import PiperVoice

voice = PiperVoice.load(%s)
with wave.open("speech.wav", "wb") as file:
    voice.synthesize_wav(%s, file)"""
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
    with replace_on_success(path) as temporary:
        temporary.write_bytes(draw_model_card(evaluation, system, about).encode("utf-8", "replace"))


def draw_model_card(evaluation: Evaluation, system: System, about: CardFacts) -> str:
    """Return the text of a voice's model card."""
    file = about.voice_file
    if file is None and system.source is not None and system.source.suffix == ".onnx":
        file = system.source.name
    sentences = [one for one in system.spoken if one.sentence.kind is Kind.SENTENCE]
    text = " ".join(sentences[0].sentence.text.split()) if sentences else ""
    rate = f"{about.sample_rate:,} Hz" if about.sample_rate else ""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=lambda value: value if hasattr(value, "__html__") else Markup(escape(str(value))),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("model_card.md").render(
        evaluation=evaluation,
        system=system,
        about=about,
        front=Markup(_draw_front_matter(about, evaluation, system)),
        kind=", ".join(part for part in (about.language, about.quality, rate) if part),
        file=file,
        text=text,
        command=draw_code(shlex.join([*_SPEAK, "-m", file or "", *_TO_FILE, text]), "bash"),
        program=draw_code(_PROGRAM % (_quote(file or ""), _quote(text)), "python"),
        data=_collect_data(about),
        training=_collect_training(about),
        scores=[score for score in evaluation.scores if score.name in system.figures],
        count=len(sentences),
        limits=_list_limits(evaluation, system, about),
        code=draw_code,
        describe=_describe_figure,
        explain=explain_score,
    )


def name_license(name: str, link: str = "") -> dict[str, str]:
    """Return a licence as a card's first lines name it: an identifier, or `other` with a name."""
    identifier = name.lower().replace(" ", "-")
    if _LICENSE.fullmatch(identifier):
        return {"license": identifier}
    return {"license": "other", "license_name": identifier} | (
        {"license_link": link} if link else {}
    )


def _draw_front_matter(about: CardFacts, evaluation: Evaluation, system: System) -> str:
    import yaml

    named: dict[str, object] = {}
    if about.language:
        named["language"] = [about.language]
    if about.license:
        named |= name_license(about.license, about.license_link)
    tags = [tag for tag in TAGS if tag != "vits" or about.quality != "quick"]
    named |= {"library_name": "piper", "pipeline_tag": "text-to-speech", "tags": tags}
    if _IDENTIFIER.fullmatch(about.dataset):
        named["datasets"] = [about.dataset]
    metrics = [
        {"type": score.name, "name": score.title, "value": system.figures[score.name].value}
        for score in evaluation.scores
        if score.name in system.figures
    ]
    if metrics:
        dataset = about.dataset or evaluation.dataset.name
        result = {
            "task": {"type": "text-to-speech"},
            "dataset": {"type": dataset, "name": dataset},
            "metrics": metrics,
        }
        named["model-index"] = [{"name": about.name, "results": [result]}]
    return yaml.safe_dump(named, allow_unicode=True, sort_keys=False)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _collect_data(about: CardFacts) -> dict[str, str]:
    return {
        "Recordings": about.dataset,
        "Source": about.dataset_address,
        "Licence of the recordings": about.dataset_license,
        "Licence of the voice": about.license,
        "Speaker": about.speaker,
        "Utterances": _count(about.utterances),
        "Hours": f"{about.hours:.2f}" if about.hours is not None else "",
        "Held out": f"{about.held_out:,} sentences" if about.held_out is not None else "",
    }


def _collect_training(about: CardFacts) -> dict[str, str]:
    time = ""
    if about.training_seconds is not None:
        minutes = about.training_seconds / 60
        time = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return {
        "Started from": about.started_from,
        "Updates": _count(about.updates),
        "Time": time,
        "Device": about.device,
        "Date": about.date,
        "Versions": ", ".join(f"{name} {version}" for name, version in about.versions.items()),
        "Seed": "" if about.seed is None else str(about.seed),
    }


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _describe_figure(score: Score, system: System) -> str:
    figure = system.figures.get(score.name)
    if figure is None:
        return NOTHING
    interval = score.format_interval(figure.low, figure.high)
    return score.format(figure.value) + (f" ({interval})" if interval else "")


def _list_limits(evaluation: Evaluation, system: System, about: CardFacts) -> list[str]:
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
    return limits + [f"Not measured: {sentence}" for sentence in evaluation.missing]


VERSION_FACTS = ("piper-workshop", "torch", "onnxruntime")


_KINDS: Mapping[str, tuple[str, Any]] = {
    "str": ("a text in quotes", str),
    "int": ("a whole number", int),
    "float": ("a plain number", int | float),
    "Mapping[str, str]": ("an object of texts", dict),
    "Sequence[str]": ("a list of texts", list),
}
"""How a field's type is called, and what it is in JSON."""


def load_card_facts(path: Path) -> dict[str, Any]:
    """Return what a file tells: a JSON object with fields of `CardFacts`."""
    told = load_json_object(path)
    names = sorted(fact.name for fact in dataclasses.fields(CardFacts))
    unknown = [name for name in told if name not in names]
    if unknown:
        raise ConfigError(
            f"--card-facts: {path} has {name_some(unknown)}, but a card has {', '.join(names)}."
        )
    for fact in dataclasses.fields(CardFacts):
        value = told.get(fact.name)
        named, kind = _KINDS[str(fact.type).removesuffix(" | None")]
        inner = value.values() if isinstance(value, dict) else value
        is_right = isinstance(value, kind) and not isinstance(value, bool)
        if isinstance(value, dict | list):
            is_right = is_right and all(isinstance(one, str) for one in inner or ())
        if fact.name in told and not is_right and not (value is None and fact.default is None):
            raise ConfigError(
                f"--card-facts: {path} has {fact.name} {json.dumps(value):.60}, but "
                f"{named} is wanted."
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
        "sample_rate": int(re.sub(r"\D", "", details.get("sample rate", "")) or 0) or None,
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


def write_lists(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write which sound is which sentence as VERSA and Kaldi read it; return the files.

    `LABEL.scp` has a line `ID PATH` for each sentence of a system, `text` has `ID TEXT`.
    """
    lists: dict[str, dict[str, str]] = {"text": {}}
    for system in evaluation.all_systems:
        sounds = lists.setdefault(f"{system.label}.scp", {})
        for spoken in system.spoken:
            name = "_".join(spoken.sentence.name.split())
            sounds[name] = str(spoken.audio.absolute())
            lists["text"][name] = " ".join(spoken.sentence.text.split())
    for file, lines in lists.items():
        with replace_on_success(folder / file) as temporary:
            text = "".join(f"{name} {value}\n" for name, value in sorted(lines.items()))
            temporary.write_bytes(text.encode("utf-8", "surrogateescape"))
    return [folder / file for file in lists]


def write_evaluation(
    evaluation: Evaluation, sources: Sequence[Source], told: Mapping[str, Any], folder: Path
) -> list[Path]:
    """Write all files of an evaluation; return them.

    Args:
        sources: Its systems as they were given; the first voice gets a model card.
        told: What the card says beside, by the names of `CardFacts`.
    """
    paths = [folder / "report.json", folder / "report.html"]
    write_json(paths[0], evaluation.to_dict(folder))
    write_report_page(evaluation, paths[1])
    paths += write_lists(evaluation, folder / "lists")
    for system, source in zip(evaluation.systems, sources, strict=True):
        if source.kind is not SourceKind.SPEECH:
            paths.append(folder / "MODEL_CARD.md")
            about = find_card_facts(evaluation, system, source, told)
            write_model_card(evaluation, system, about, paths[-1])
            break
    return paths
