"""The sample rates that Piper's voices have. Reads nothing, so that commands start at once."""

from __future__ import annotations

TRAINED_RATES = (16000, 22050)
"""Hertz."""


def find_trained_rate(sample_rate: int) -> int:
    """Return the rate that a voice of recordings with this one should have, in hertz."""
    # Up from 22,050 Hz, nothing that a voice of that rate has is missing.
    return TRAINED_RATES[sample_rate >= TRAINED_RATES[-1]]
