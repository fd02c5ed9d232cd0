"""What is trained when, and how fast: by the share of the budget that is over."""

from __future__ import annotations

import math
from dataclasses import dataclass

from piper.train.quick.config import DECODED_FRAMES
from piper.train.quick.step import Phase

APART = 0.3
"""Share of the budget in which the decoder is taught by recorded latents and by spectra alone."""
RAMP_UPDATES = 75
"""Over which the adversarial losses grow to their full weight."""
DISCRIMINATED_RATE = 0.25
"""Of the decoder's learning rate, beside discriminators."""
ALONE = Phase(False, 0.0, 0.0, 48)


@dataclass(frozen=True)
class Plan:
    """How an update is made.

    Attributes:
        phase: What is trained.
        frames: Of the pieces that the text side is taught.
        text_rate: Factor on the learning rate of the text side.
        decoder_rate: Of the decoder.
        discriminator_rate: Of the discriminators.
    """

    phase: Phase
    frames: int
    text_rate: float
    decoder_rate: float
    discriminator_rate: float


def plan_update(progress: float, update: int, together_since: int | None) -> Plan:
    """Return how an update is made.

    Args:
        progress: Share of the budget that is over, from 0 to 1.
        update: How many updates were done before.
        together_since: The update that discriminators began with; None: they have not yet.
    """
    text = find_rate(progress)
    if together_since is None:
        return Plan(ALONE, 200, text, find_rate(min(1.0, progress / APART)), 0.0)
    # A budget that was raised begins another time from where the discriminators began in its terms.
    start = progress * together_since / max(1, update)
    share = max(0.0, (progress - start) / max(1e-6, 1.0 - start))
    rate = find_rate(share, hold=0.5, last=0.02)
    ramp = min(1.0, (update - together_since) / RAMP_UPDATES)
    phase = Phase(True, ramp, 0.7, DECODED_FRAMES)
    return Plan(phase, 96, text, DISCRIMINATED_RATE * rate, min(1.0, 2 * rate))


def find_rate(
    progress: float, *, rise: float = 0.04, hold: float = 0.3, last: float = 0.01
) -> float:
    """Return a factor on a learning rate: up in a line, constant, down along a cosine.

    Args:
        progress: From 0 to 1.
        rise: Where the full rate is reached.
        hold: Where it begins to fall.
        last: Factor at the end.
    """
    if progress < hold:
        return min(1.0, progress / rise + 0.02)
    angle = math.pi * min(1.0, (progress - hold) / (1.0 - hold))
    return last + (1.0 - last) * (1.0 + math.cos(angle)) / 2
