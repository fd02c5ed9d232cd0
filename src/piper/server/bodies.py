"""What a client may send: bodies, and values with their bounds. Knows no endpoints."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator

# Beyond these the durations get out of hand: with a noise of 5 a word may last for hours.
Length = Annotated[float, Field(ge=0.1, le=10.0, allow_inf_nan=False)]
Noise = Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=200)]


class Body(BaseModel):
    """A JSON object of a client's; null is the same as no key, as clients send what they lack."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None}
