"""Values that a client may give, with their bounds. Knows no endpoints."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# Beyond these the durations get out of hand: with a noise of 5 a word may last for hours.
Length = Annotated[float, Field(ge=0.1, le=10.0, allow_inf_nan=False)]
Noise = Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=200)]
