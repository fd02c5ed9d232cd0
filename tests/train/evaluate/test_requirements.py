"""The gate for voices: what is required, and a sentence for what was not reached."""

from __future__ import annotations

import pytest

from piper.errors import ConfigError
from piper.train.evaluate.cli import parse_requirements
from piper.train.evaluate.results import Figure, System


def system(**values: float) -> System:
    figures = {name: Figure(value, None, None, 30) for name, value in values.items()}
    return System("ours", None, (), figures)


@pytest.mark.parametrize(
    ("text", "failures"),
    [
        ("distillmos>=3.6,per<=0.12", []),
        ("distillmos>=3.8", ["ours: distillmos is 3.7, but distillmos>=3.8 is required."]),
        ("per<0.1", ["ours: per is 0.1, but per<0.1 is required."]),
        (" per <= 0.1 , distillmos > 3.69 ", []),
        (
            "similarity>=0.8",
            ["ours: similarity was not measured, but similarity>=0.8 is required."],
        ),
    ],
)
def test_what_is_required(text: str, failures: list[str]) -> None:
    found = [rule.check(system(distillmos=3.7, per=0.1)) for rule in parse_requirements(text)]
    assert [failure for failure in found if failure] == failures


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mos>=3", 'there is no score "mos"; there are distillmos, per,'),
        ("distillmos=3", '"distillmos=3" is no requirement; write NAME>=NUMBER'),
        ("", '"" is no requirement'),
        ("per<=0.1,", '"" is no requirement'),
        ("per<=1.2.3", '"per<=1.2.3" is no requirement'),
    ],
)
def test_a_mistake_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="--require") as error:
        parse_requirements(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_predictor_of_the_users_own_can_be_required() -> None:
    [rule] = parse_requirements("my_judges:level>=4", ["my_judges:level"])
    assert rule.check(system(**{"my_judges:level": 4.5})) is None
