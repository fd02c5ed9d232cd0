"""What a voice has to reach: `distillmos>=3.6,per<=0.12`. Measures nothing."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from piper.errors import ConfigError
from piper.train.evaluate.results import SCORES, System

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_REQUIREMENT = re.compile(r"\s*([\w.:-]+)\s*(>=|<=|>|<)\s*([-+]?[0-9.]+(?:e[-+]?\d+)?)\s*", re.I)


@dataclass(frozen=True)
class Requirement:
    """One figure, and what it has to be.

    Attributes:
        score: Name of the figure.
        sign: `>=`, `<=`, `>` or `<`.
        limit: The number beside it.
    """

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

    Raises:
        ConfigError: A part is none, or names no score.
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
        try:
            limit = float(match[3])
        except ValueError:
            raise ConfigError(f'--require: "{match[3]}" is no number.') from None
        found.append(Requirement(name, match[2], limit))
    return found
