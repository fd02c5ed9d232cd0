"""What is said of a training's scores, and when patience ends."""

from __future__ import annotations

import math
import random

import pytest

from piper.train.callbacks.progress import MAX_POINTS, Plateau, Validation


def plateau_of(scores: list[float], seconds_apart: float = 600.0, patience: int = 0) -> Plateau:
    plateau = Plateau(patience)
    for number, score in enumerate(scores, 1):
        plateau.add(Validation(number, 1000 * number, number * seconds_apart, score))
    return plateau


def test_best_so_far_and_since_when() -> None:
    plateau = plateau_of([40.0, 31.2, 31.5, 31.4])
    plateau._seconds = 4 * 600.0
    said = plateau.describe()
    assert said is not None
    assert said.startswith(
        "best val_loss 31.2000 at step 2,000 (epoch 2, 20 min ago); no gain for 2 validations"
    )
    assert plateau_of([40.0, 31.2]).describe() == (
        "best val_loss so far, 8.8 better than the best before"
    )
    assert plateau_of([40.0]).describe() is None
    assert plateau.describe_best() == "best val_loss 31.20 found 20 min ago"
    assert Plateau().describe_best() is None
    assert "no gain for 1 of 3 validations" in str(plateau_of([2.0, 3.0], patience=3).describe())


def test_a_falling_loss_lets_expect_what_the_curve_gives() -> None:
    """On a + b log(t) itself the expectation is exact: twice the time, b log 2 more."""
    scores = [50.0 - 4.0 * math.log(600.0 * number) for number in range(1, 5)]
    plateau = plateau_of(scores)
    # Trained for 40 minutes, it does not look further than 40 minutes.
    expected = f"{4.0 * math.log(2):.2g}"
    assert plateau.expect() is None  # three of the later half are too few
    scores += [50.0 - 4.0 * math.log(600.0 * number) for number in range(5, 8)]
    said = plateau_of(scores).expect()
    gain = 4.0 * math.log((4200 + 3600) / 4200)
    assert said == f"the trend says {gain:.2g} better in 60 min more"
    short = plateau_of(scores[:7], seconds_apart=60.0).expect()
    assert short == f"the trend says {expected} better in 7 min more"


def test_scatter_is_no_trend_and_one_bad_validation_no_change_of_it() -> None:
    noise = random.Random(5)
    flat = [30.0 + noise.gauss(0.0, 0.3) for _ in range(40)]
    assert "no change beyond the scatter" in str(plateau_of(flat, 60.0).expect())
    falling = [50.0 - 4.0 * math.log(number) + noise.gauss(0.0, 0.01) for number in range(1, 41)]
    before = plateau_of(falling).expect()
    falling[35] = 80.0
    assert plateau_of(falling).expect() == before
    rising = [20.0 + 4.0 * math.log(number) for number in range(1, 41)]
    assert "the trend is for the worse" in str(plateau_of(rising).expect())


def test_a_score_where_more_is_better() -> None:
    plateau = Plateau()
    plateau._rename("val_quality", False)
    for number in range(1, 13):
        plateau.add(Validation(number, number, 60.0 * number, 2.0 + 0.5 * math.log(number)))
    assert plateau.best is not None
    assert plateau.best.update == 12
    assert "better" in str(plateau.expect())


def test_scores_survive_an_interruption() -> None:
    plateau = plateau_of([40.0, 31.2, 31.5])
    plateau._seconds = 1800.0
    resumed = Plateau()
    resumed.load_state_dict(plateau.state_dict())
    assert resumed.state_dict() == plateau.state_dict()
    assert resumed.describe() == plateau.describe()
    # Another score's past says nothing about this one.
    resumed._rename("val_mel_text", True)
    assert resumed.best is None


def test_a_long_training_keeps_a_bounded_history() -> None:
    plateau = plateau_of([1.0 / number for number in range(1, 4 * MAX_POINTS)])
    history = plateau.state_dict()["history"]
    assert MAX_POINTS / 2 <= len(history) <= MAX_POINTS
    assert history[-1][0] == 4 * MAX_POINTS - 1
    assert plateau.expect() is not None


@pytest.mark.parametrize("scores", [[1.0, 1.0, 1.0], [math.inf, 2.0, 1.0, math.inf]])
def test_odd_scores_do_no_harm(scores: list[float]) -> None:
    assert plateau_of(scores).describe() is not None
    assert plateau_of(scores, seconds_apart=0.0).describe() is not None
