"""What a client may send: bodies, and values with their bounds. Knows no endpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from piper.server.request import Reading
from piper.server.settings import Silences
from piper.text.lexicon import parse_lexicon
from piper.text.options import TextOptions

# Beyond these the durations get out of hand: with a noise of 5 a word may last for hours.
Length = Annotated[float, Field(ge=0.1, le=10.0, allow_inf_nan=False)]
Noise = Annotated[float, Field(ge=0.0, le=2.0, allow_inf_nan=False)]
Semitones = Annotated[float, Field(ge=-12.0, le=12.0, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=200)]
Silence = Annotated[float, Field(ge=0.0, le=60.0, allow_inf_nan=False)]


class Body(BaseModel):
    """A JSON object of a client's; null is the same as no key, as clients send what they lack."""

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if value is not None}


class ReadingBody(Body):
    """How a text is to be read: the same keys wherever a text can be sent."""

    input_format: Literal["text", "plain", "markdown", "ssml"] | None = None
    write_numbers: bool | None = None
    stress: Literal["marks", "silero", "off"] | None = None
    abbreviations: bool | None = None
    lexicon: dict[Name, Annotated[str, Field(max_length=1000)]] | None = None
    sentence_silence: Silence | None = None
    paragraph_silence: Silence | None = None
    clause_silence: Silence | None = None
    ellipsis_silence: Silence | None = None

    def to_reading(self) -> Reading:
        """Return the same as the service takes it.

        Raises:
            LexiconError: An entry of the lexicon is wrong.
        """
        lexicon = parse_lexicon(self.lexicon, '"lexicon":') if self.lexicon else None
        options = TextOptions(lexicon, self.write_numbers, self.stress, self.abbreviations)
        silences = Silences(
            self.sentence_silence,
            self.paragraph_silence,
            self.clause_silence,
            self.ellipsis_silence,
        )
        return Reading(self.input_format, options, silences)
