"""What a client wants spoken and how, and the pieces of the answer. Speaks nothing.

Shapes: S samples.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from piper.audio.chunk import Int16Array, PhonemeAlignment, WordTiming
from piper.config import SynthesisConfig, VoiceConfig
from piper.server.errors import RequestError
from piper.server.settings import Silences, SpeechDefaults
from piper.text.frontend import Frontend
from piper.text.options import Stress, TextOptions
from piper.voice.speakers import find_speaker, parse_speaker_mix

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How a text is read; what it leaves open, the server's options and the voice say.

    Attributes:
        input_format: `markdown`, `ssml`, or `plain`, which is also called `text`.
        options: How texts are prepared; its lexicon adds to the server's.
        silences: Pauses.
    """

    input_format: str | None = None
    options: TextOptions = field(default_factory=TextOptions)
    silences: Silences = field(default_factory=Silences)


@dataclass(frozen=True)
class SpeechRequest:
    """What is to be spoken and how; None takes the server's default, then the voice's.

    Attributes:
        text: One or more sentences.
        voice: A voice's name.
        speaker: Number or name, or a mixture like `3:0.7,5:0.3`.
        length_scale: Factor on durations.
        noise_scale: Deviation of the prior's noise.
        noise_w_scale: Deviation of the duration predictor's noise.
        pitch: Semitones that are added.
        speed: Durations are divided by it, whatever else they are scaled by.
        is_streamed: Give the sound while a sentence is in the making, as loud as the voice makes
            it; otherwise each sentence has full range, and the answer's length is known first.
        has_times: Say when phonemes and words are spoken; of a streamed answer only.
        reading: How the text is read.
    """

    text: str
    voice: str | None = None
    speaker: int | str | None = None
    length_scale: float | None = None
    noise_scale: float | None = None
    noise_w_scale: float | None = None
    pitch: float | None = None
    speed: float = 1.0
    is_streamed: bool = False
    has_times: bool = False
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True)
class SentenceTimes:
    """What is known of a sentence when its first sound is there.

    Attributes:
        text: The sentence.
        phonemes: How long each phoneme lasts, BOS and EOS included; None where it was not asked
            for, or the voice does not say.
        words: Likewise, when each word is spoken, from the sentence's beginning.
    """

    text: str
    phonemes: list[PhonemeAlignment] | None = None
    words: list[WordTiming] | None = None


@dataclass(frozen=True)
class SpeechPiece:
    """The next samples of an answer.

    Attributes:
        samples: (S,) 16-bit.
        sample_rate: Hertz.
        total_samples: Of the whole answer, where that is known before the first sample is.
        sentence: With the first piece of each sentence of a streamed answer.
    """

    samples: Int16Array
    sample_rate: int
    total_samples: int | None = None
    sentence: SentenceTimes | None = None

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return len(self.samples) / self.sample_rate


def create_config(
    request: SpeechRequest, defaults: SpeechDefaults, config: VoiceConfig, *, is_default: bool
) -> SynthesisConfig:
    """Return how a voice is to speak.

    Args:
        request: What the client says; it counts first.
        defaults: What the server was told.
        config: The voice.
        is_default: Whether it is the one that the server's speaker is meant for.

    Raises:
        PiperError: The voice has no such speaker.
    """

    def choose(value: float | None, default: float | None) -> float | None:
        return default if value is None else value

    speaker = _ignore_speaker(request.speaker, config)
    if speaker is None and is_default:
        speaker = defaults.speaker
    mix = None
    if isinstance(speaker, str) and ":" in speaker and speaker not in config.speaker_id_map:
        mix = parse_speaker_mix(config, speaker)
    length_scale = choose(request.length_scale, defaults.length_scale)
    if request.speed != 1.0:
        length_scale = (config.length_scale if length_scale is None else length_scale) / (
            request.speed
        )
    silences = request.reading.silences.fill(defaults.silences)
    return SynthesisConfig(
        speaker_id=None if mix else find_speaker(config, speaker),
        speaker_mix=mix,
        length_scale=length_scale,
        noise_scale=choose(request.noise_scale, defaults.noise_scale),
        noise_w_scale=choose(request.noise_w_scale, defaults.noise_w_scale),
        pitch=defaults.pitch if request.pitch is None else request.pitch,
        volume=defaults.volume,
        sentence_silence_seconds=silences.sentence or 0.0,
        paragraph_silence_seconds=silences.paragraph,
        clause_silence_seconds=silences.clause or 0.0,
        ellipsis_silence_seconds=silences.ellipsis,
    )


def find_input_format(request: SpeechRequest, defaults: SpeechDefaults) -> str:
    """Return the kind of markup that a request's text has, one of `MARKUP_KINDS`."""
    kind = request.reading.input_format or defaults.input_format
    return "plain" if kind == "text" else kind


def create_request_frontend(request: SpeechRequest, frontend: Frontend) -> Frontend:
    """Return what reads a request's text.

    Args:
        request: What the client says.
        frontend: The voice's, with what the server was told.

    Raises:
        RequestError: It wants what only the server's own options may bring into memory.
    """
    options = request.reading.options
    if options == TextOptions():
        return frontend
    if options.stress == Stress.SILERO and frontend.options.stress != Stress.SILERO:
        raise RequestError(
            "silero-stress is not loaded for a request; start the server with --stress silero."
        )
    if options.lexicon is not None and frontend.options.lexicon is not None:
        options = replace(options, lexicon=frontend.options.lexicon.extend(options.lexicon))
    return frontend.with_options(options)


def _ignore_speaker(speaker: int | str | None, config: VoiceConfig) -> int | str | None:
    """Return the speaker; None where it means nothing: no name, or a number where there is one.

    Clients that speak by several voices send the number of a speaker with each of them.
    """
    is_number = isinstance(speaker, int) or (speaker is not None and speaker.isdecimal())
    if speaker == "" or (is_number and config.num_speakers <= 1):
        if speaker not in ("", "0", 0):
            _logger.info("The speaker %r is ignored: the voice has one.", speaker)
        return None
    return speaker
