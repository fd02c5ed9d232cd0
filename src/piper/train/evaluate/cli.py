"""`python -m piper.train evaluate`: flags, output, exit code."""

from __future__ import annotations

import argparse
import logging
import operator
import re
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from piper.errors import ConfigError
from piper.files import refuse_overwriting
from piper.messages import configure_logging, say, translate
from piper.options import CommandParser
from piper.train.command import run_command
from piper.train.data.dataset_flags import (
    add_espeak_voice_flag,
    add_num_speakers_flag,
    refuse_storage,
)
from piper.train.evaluate.results import SCORES, Evaluation, Group, Score, System

if TYPE_CHECKING:
    from piper.train.evaluate.systems import Source

NOT_REACHED = 2


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of the evaluation."""
    parser = CommandParser(
        prog="python -m piper.train evaluate",
        description="Say how good voices are: speak held-out sentences, score and compare them.",
        # An abbreviated --model would not say which kind of system it names.
        allow_abbrev=False,
    )
    _add_systems(parser)
    _add_sentences(parser)
    _add_scores(parser)
    add = parser.add_argument
    add(
        "--output-dir",
        type=Path,
        default=Path("evaluation"),
        metavar="DIR",
        help="where report.html, report.json, MODEL_CARD.md and speech go; default: %(default)s",
    )
    add(
        "--require",
        metavar="LIMITS",
        help="what every system has to reach, such as 'distillmos>=3.6,per<=0.12'; else the exit "
        f"code is {NOT_REACHED}",
    )
    add(
        "--card-facts",
        type=Path,
        metavar="FILE",
        help="JSON with what the model card is to say beside: licence, speaker, training",
    )
    add("--seed", type=int, default=20210611, help="of the voices' noise; default: %(default)s")
    return parser


def _add_systems(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is evaluated; the others are compared with the first")
    for name, metavar, what in (
        ("model", "[LABEL=]FILE", "a voice"),
        ("checkpoint", "[LABEL=]FILE", "a checkpoint, which is exported first"),
        ("speech", "[LABEL=]DIR", "a folder of speech that lies there, a file for each sentence"),
    ):
        add.add_argument(
            f"--{name}",
            dest="sources",
            action="append",
            default=[],
            type=partial(lambda kind, path: (kind, path), name),
            metavar=metavar,
            help=f"{what}; may be given several times",
        )


def _add_sentences(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is spoken").add_argument
    add("--dataset", type=Path, metavar="DIR", help="sentences with their recordings")
    add("--texts", type=Path, metavar="FILE", help="sentences without recordings, one a line")
    add(
        "--held-out",
        default="split",
        metavar="WHICH",
        help="lines of the dataset: split (those that training holds out), all, or a file of "
        "recordings' names; default: %(default)s",
    )
    add("--sentences", type=int, default=30, metavar="N", help="at most; default: %(default)s")
    add(
        "--words",
        type=int,
        default=10,
        metavar="N",
        help="single words to say beside, and the letters; 0: none; default: %(default)s",
    )
    add(
        "--readings",
        type=int,
        default=1,
        metavar="N",
        help="how often voices say each sentence, each time with other noise; its scores are the "
        "means; default: %(default)s",
    )
    add_espeak_voice_flag(add)
    add_num_speakers_flag(add)
    add(
        "--validation-split",
        "--data.validation_split",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="that training holds out; default: %(default)s",
    )
    add(
        "--split-seed",
        "--data.seed",
        type=int,
        default=1234,
        metavar="N",
        help="of what it holds out; default: %(default)s",
    )


def _add_scores(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("who hears").add_argument
    add(
        "--scores",
        metavar="NAMES",
        help="scores or groups of them (quality, intelligibility, likeness, trouble, cost), joined "
        "by commas; default: all",
    )
    add(
        "--quality-predictor",
        action="append",
        default=[],
        metavar="NAME",
        help="another predictor of MOS: utmosv2, the name of an entry point, or MODULE:FUNCTION",
    )
    add(
        "--fit-recogniser",
        type=Path,
        metavar="DIR",
        help="train the recogniser of phonemes on a dataset's recordings that are not held out",
    )
    add(
        "--phoneme-recogniser",
        type=Path,
        metavar="FILE",
        help="where that is kept; default: phoneme_recogniser.pt in the dataset's .cache",
    )
    add(
        "--recogniser",
        metavar="NAME:MODEL",
        help="a speech recogniser for words: whisper:MODEL, gigaam:MODEL, onnx-asr:MODEL or "
        "MODULE:FUNCTION",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; return the exit code."""
    arguments = create_parser().parse_args(argv)
    configure_logging()
    logging.getLogger("piper.train").setLevel(logging.INFO)
    stopped = "Stopped; what was spoken and measured is kept, and the same command goes on."
    return run_command(lambda: _run(arguments), stopped)


def _run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    requirements = []
    if arguments.require is not None:
        requirements = parse_requirements(arguments.require, arguments.quality_predictor)
    recogniser = _find_recogniser(arguments)
    if not arguments.sources:
        return 0
    evaluation = _evaluate(arguments, recogniser)
    checks = [one.check(system) for system in evaluation.systems for one in requirements]
    failures = [failure for failure in checks if failure is not None]
    for failure in failures:
        say(f"not reached: {failure}", file=sys.stderr)
    return NOT_REACHED if failures else 0


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.sources and arguments.fit_recogniser is None:
        raise ConfigError(
            "Nothing to evaluate: pass --model VOICE.onnx, --checkpoint FILE or --speech DIR."
        )
    if arguments.sources and (arguments.dataset is None) == (arguments.texts is None):
        raise ConfigError(
            "Pass either --dataset DIR, with held-out sentences and their recordings, or --texts "
            "FILE, with a sentence in each line."
        )
    if arguments.sentences < 1 or arguments.readings < 1 or arguments.words < 0:
        raise ConfigError("--sentences and --readings are numbers from 1, --words one from 0.")
    if arguments.require and not arguments.sources:
        raise ConfigError("--require needs a --model, --checkpoint or --speech to measure.")


def _find_recogniser(arguments: argparse.Namespace) -> Path | None:
    """Return the file of the recogniser of phonemes, fitted first where that is asked for."""
    from piper.train.evaluate.scorers import RECOGNISER_NAME, fit_for_dataset

    if arguments.fit_recogniser is not None:
        settings = _find_settings(arguments, arguments.fit_recogniser)
        path: Path = arguments.phoneme_recogniser or settings.cache_dir / RECOGNISER_NAME
        fitted = fit_for_dataset(settings, arguments.held_out, path)
        floor = fitted.floor
        own = f"; its own error is {floor.rate:.3f} on recordings held out" if floor else ""
        say(f"phoneme recogniser: {path}{own}")
        return path
    if arguments.phoneme_recogniser is not None:
        return Path(arguments.phoneme_recogniser)
    if arguments.dataset is None:
        return None
    kept = _find_settings(arguments, arguments.dataset).cache_dir / RECOGNISER_NAME
    return kept if kept.is_file() else None


def _find_settings(arguments: argparse.Namespace, folder: Path) -> Any:
    from piper.train.data.settings import resolve_settings

    settings = resolve_settings(
        dataset_dir=folder,
        espeak_voice=arguments.espeak_voice,
        num_speakers=arguments.num_speakers,
        validation_split=arguments.validation_split,
        seed=arguments.split_seed,
    )
    refuse_storage(settings, "evaluated")
    return settings


def _evaluate(arguments: argparse.Namespace, recogniser: Path | None) -> Evaluation:
    from piper.train.evaluate.card import load_card_facts, write_evaluation
    from piper.train.evaluate.run import evaluate
    from piper.train.evaluate.scorers import Request, parse_scores
    from piper.train.evaluate.systems import SourceKind, parse_sources

    told = load_card_facts(arguments.card_facts) if arguments.card_facts is not None else {}
    settings = None
    if arguments.dataset is not None:
        settings = _find_settings(arguments, arguments.dataset)
    scores = parse_scores(arguments.scores, arguments.quality_predictor)
    sources = parse_sources([(SourceKind(kind), path) for kind, path in arguments.sources])
    _refuse_overwriting(arguments, sources)
    request = Request(
        sources=sources,
        folder=arguments.output_dir,
        settings=settings,
        texts=arguments.texts,
        held_out=arguments.held_out,
        num_sentences=arguments.sentences,
        num_words=arguments.words,
        num_readings=arguments.readings,
        seed=arguments.seed,
        scores=scores,
        predictors=arguments.quality_predictor,
        phonemes=recogniser,
        words=arguments.recogniser,
        language=settings.espeak_voice if settings else arguments.espeak_voice or "",
    )
    evaluation = evaluate(request)
    print(evaluation_to_text(evaluation))
    for path in write_evaluation(evaluation, sources, told, arguments.output_dir):
        print(f"{path.name}: {path}")
    return evaluation


def _refuse_overwriting(arguments: argparse.Namespace, sources: Sequence[Source]) -> None:
    from piper.train.evaluate.systems import SourceKind

    names = ["report.json", "report.html", "MODEL_CARD.md"]
    names += [f"voices/{one.label}.onnx" for one in sources if one.kind is SourceKind.CHECKPOINT]
    refuse_overwriting(
        {f"--output-dir ({name})": arguments.output_dir / name for name in names},
        {
            "--texts": arguments.texts,
            "--card-facts": arguments.card_facts,
            "--held-out": arguments.held_out,
            **{one.label: one.path for one in sources},
        },
    )


_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_REQUIREMENT = re.compile(
    r"\s*([\w.:-]+)\s*(>=|<=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*", re.I
)


@dataclass(frozen=True)
class Requirement:
    """One figure, and what it has to be."""

    score: str
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.score}{self.sign}{self.limit:g}"

    def check(self, system: System) -> str | None:
        """Return what is wrong with a system in a sentence, None where nothing is."""
        figure = system.figures.get(self.score)
        if figure is None:
            return f"{system.label}: {self.score} was not measured, but {self} is required."
        if _OPERATORS[self.sign](figure.value, self.limit):
            return None
        return f"{system.label}: {self.score} is {figure.value:.4g}, but {self} is required."


def parse_requirements(text: str, plugged_in: Sequence[str] = ()) -> list[Requirement]:
    """Return the requirements that stand in a flag, joined by commas.

    Args:
        text: Such as `distillmos>=3.6,per<=0.12`.
        plugged_in: Scores of the user's own predictors.
    """
    found = []
    for part in text.split(","):
        match = _REQUIREMENT.fullmatch(part)
        if match is None:
            raise ConfigError(
                f'--require: "{part.strip()}" is no requirement; write NAME>=NUMBER or '
                "NAME<=NUMBER, joined by commas, such as distillmos>=3.6,per<=0.12."
            )
        name = match[1]
        if name not in SCORES and name not in plugged_in:
            known = ", ".join([*SCORES, *plugged_in])
            raise ConfigError(f'--require: there is no score "{name}"; there are {known}.')
        found.append(Requirement(name, match[2], float(match[3])))
    return found


GAP = "  "


def evaluation_to_text(evaluation: Evaluation, columns: int = 100) -> str:
    """Return what `evaluate` prints: figures by group, what is better, what could not be had."""
    systems = evaluation.all_systems
    rows = [["", *(translate(system.label) for system in systems)]]
    for group in Group:
        scores = [score for score in evaluation.scores if score.group is group]
        rows += [[translate(group.value)]] if scores else []
        for score in scores:
            figures = [system.figures.get(score.name) for system in systems]
            cells = ["-" if f is None else _format(score, f.value, f.low, f.high) for f in figures]
            rows.append([f"{GAP}{translate(score.name_with_unit)}", *cells])
    widths = [max(map(len, cells)) for cells in zip_longest(*rows, fillvalue="")]
    lines = [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    ]
    lines += _describe_comparisons(evaluation)
    for sentence in evaluation.missing:
        lines += ["", *textwrap.wrap(translate(sentence), columns)]
    return "\n".join(lines)


def _format(
    score: Score, value: float, low: float | None, high: float | None, sign: str = ""
) -> str:
    """Return a value with its interval: `3.62 (3.51 to 3.70)`."""
    interval = score.format_interval(low, high, sign)
    return score.format(value, sign) + (f" ({translate(interval)})" if interval else "")


def _describe_comparisons(evaluation: Evaluation) -> list[str]:
    scores = {score.name: score for score in evaluation.scores}
    lines: list[str] = []
    for label in dict.fromkeys(comparison.second for comparison in evaluation.comparisons):
        some = [one for one in evaluation.comparisons if one.second == label]
        lines += [
            "",
            translate(f"{label} beside {some[0].first}, {some[0].count} sentences in pairs:"),
        ]
        better = [one for one in some if one.better]
        if not better:
            lines.append(GAP + translate("no difference that could not be chance"))
        for one in better:
            score = scores[one.score]
            difference = _format(score, one.difference, one.low, one.high, "+")
            verdict = translate(f"{one.better} is better")
            lines.append(f"{GAP}{translate(score.name_with_unit)}: {difference}, {verdict}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
