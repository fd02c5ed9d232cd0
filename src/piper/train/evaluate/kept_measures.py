"""What was measured of a sentence, as data that is kept and read again. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from piper.train.evaluate.results import Sentence, SpokenSentence, Trouble
from piper.train.evaluate.speaking import Speech


def spoken_to_dict(spoken: SpokenSentence) -> dict[str, Any]:
    """Return what was measured, with JSON's kinds of values."""
    return {
        "values": dict(spoken.values),
        "troubles": [asdict(trouble) for trouble in spoken.troubles],
        "heard": spoken.heard,
        "recognised": spoken.recognised,
        "wanted": spoken.wanted,
        "sizes": dict(spoken.sizes),
    }


def dict_to_spoken(value: Mapping[str, Any], sentence: Sentence, speech: Speech) -> SpokenSentence:
    """Return what `spoken_to_dict` gave, with the sentence and how it was said."""
    troubles = tuple(Trouble(**trouble) for trouble in value["troubles"])
    return SpokenSentence(
        sentence=sentence,
        audio=speech.path,
        seconds=speech.seconds,
        **{**value, "troubles": troubles},
    )
