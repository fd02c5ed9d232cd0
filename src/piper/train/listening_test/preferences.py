"""What listeners preferred: results of a listening test to shares with intervals. Plays nothing."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from piper.errors import EvaluationError
from piper.files import read_bounded
from piper.progress import count_things

COLUMNS = ("test", "listener", "pair", "sentence", "left", "right", "choice")
"""What a result must have; the page writes `seconds` and `comment` beside."""
CHOICES = ("left", "right", "none")
MAX_P_VALUE = 0.05
"""A verdict is given where the sign test has less."""


@dataclass(frozen=True)
class Choice:
    """What a listener said of a pair.

    Attributes:
        left: Label of what was heard first, as A.
        choice: `left`, `right` or `none`.
    """

    test: str
    listener: str
    pair: str
    sentence: str
    left: str
    right: str
    choice: str

    @property
    def preferred(self) -> str | None:
        """Label of the preferred system."""
        return {"left": self.left, "right": self.right}.get(self.choice)


@dataclass(frozen=True)
class Preference:
    """Two systems by what listeners preferred.

    Attributes:
        share: Of the second among the choices of either; NaN without one.
        low: Lower end of the share's 95 % interval (Wilson).
        p_value: How often equal systems would differ as much or more (sign test, two-sided).
        better: Label of the better one; None where that is likely.
    """

    first: str
    second: str
    num_first: int
    num_second: int
    num_none: int
    share: float
    low: float
    high: float
    p_value: float
    better: str | None


@dataclass(frozen=True)
class ListeningSummary:
    """All results together.

    Attributes:
        left_share: Of A among the choices of either, one half where the side does not matter.
    """

    preferences: tuple[Preference, ...]
    num_listeners: int
    num_choices: int
    left_share: float


def summarise_listening_test(paths: Iterable[Path | str]) -> ListeningSummary:
    """Return what the listeners of one or more results preferred.

    Answers of one listener to one pair of one test count once, the last one read: a result may be
    given before the test is at its end, and again after.
    """
    choices = {
        (choice.test, choice.listener, choice.pair): choice
        for path in paths
        for choice in _read_choices(Path(path))
    }
    if not choices:
        raise EvaluationError("The results hold no answer; download them after the first pair.")
    given = list(choices.values())
    systems = dict.fromkeys(tuple(sorted((one.left, one.right))) for one in given)
    left, right = (sum(one.choice == side for one in given) for side in ("left", "right"))
    return ListeningSummary(
        tuple(_find_preference(given, first, second) for first, second in systems),
        len({(one.test, one.listener) for one in given}),
        len(given),
        left / (left + right) if left + right else math.nan,
    )


def compare_with_half(count: int, total: int) -> tuple[float, float, float]:
    """Return the 95 % interval of a share (Wilson), and the p-value that it is one half.

    Of nothing they are 0, 1 and 1.
    """
    from scipy.stats import binomtest

    if total == 0:
        return 0.0, 1.0, 1.0
    test = binomtest(count, total)
    interval = test.proportion_ci(0.95, "wilson")
    return float(interval.low), float(interval.high), float(test.pvalue)


def summary_to_text(summary: ListeningSummary) -> str:
    """Return a table for a terminal."""
    lines = [
        f"{count_things(summary.num_choices, 'answer')} of "
        f"{count_things(summary.num_listeners, 'listener')}; "
        f"A was chosen in {_percent(summary.left_share)} of those that chose."
    ]
    for one in summary.preferences:
        verdict = f"{one.better} is better" if one.better else "no difference shown"
        lines.append(
            f"{one.first}: {one.num_first}, {one.second}: {one.num_second}, "
            f"no difference: {one.num_none}; {one.second} {_percent(one.share)} "
            f"({_percent(one.low)} to {_percent(one.high)}), sign test {one.p_value:.3f}: {verdict}"
        )
    return "\n".join(lines)


def _find_preference(choices: Sequence[Choice], first: str, second: str) -> Preference:
    preferred = [one.preferred for one in choices if {one.left, one.right} == {first, second}]
    counts = {label: preferred.count(label) for label in (first, second, None)}
    decided = counts[first] + counts[second]
    low, high, p_value = compare_with_half(counts[second], decided)
    more = first if counts[first] > counts[second] else second
    return Preference(
        first,
        second,
        counts[first],
        counts[second],
        counts[None],
        counts[second] / decided if decided else math.nan,
        low,
        high,
        p_value,
        more if p_value < MAX_P_VALUE else None,
    )


def _read_choices(path: Path) -> list[Choice]:
    try:
        text = read_bounded(path, "CSV file").decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except (UnicodeDecodeError, csv.Error):
        raise EvaluationError(
            f"{path} is no CSV in UTF-8; give what the page downloaded."
        ) from None
    choices = []
    for number, row in enumerate(rows, start=2):
        missing = [name for name in COLUMNS if not row.get(name)]
        if missing or row["choice"] not in CHOICES:
            what = f"has no {missing[0]}" if missing else f'says "{row["choice"]}"'
            raise EvaluationError(
                f"{path}, line {number} {what}; give a result as the page downloaded it."
            )
        choices.append(Choice(*(row[name] for name in COLUMNS)))
    return choices


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else "–"
