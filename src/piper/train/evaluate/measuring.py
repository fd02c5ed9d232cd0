"""One sentence as it was said to its scores, beside its recording where there is one.

Knows judges and measures; neither speaks, nor compares systems, nor shows anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING

from piper.errors import ConfigError, PiperError
from piper.train.aligner.features import SAMPLE_RATE, resample
from piper.train.aligner.units import Groups
from piper.train.data.audio import FloatArray
from piper.train.evaluate.likeness import compare_timing, measure_likeness, measure_speaking_rate
from piper.train.evaluate.results import Kind, Sentence, SpokenSentence, Trouble
from piper.train.evaluate.signal import find_silent_speech, measure_signal
from piper.train.evaluate.speaking import Speech
from piper.train.evaluate.word_troubles import find_word_troubles, has_times
from piper.train.judges.opinion import QualityPredictor
from piper.train.judges.speaker import SpeakerEncoder, measure_similarity
from piper.train.phoneme_recogniser.errors import find_phoneme_errors
from piper.train.phoneme_recogniser.words import SpokenWords, find_spoken_words
from piper.train.recognisers import (
    Recogniser,
    find_character_error,
    find_word_error,
    normalise_words,
)

if TYPE_CHECKING:
    from piper.train.phoneme_recogniser.recogniser import PhonemeRecogniser

Embedding = FloatArray
LEVEL = "level_db"
"""Of speech; asked for by the spread."""
_SPECTRAL = ("mel_cepstral_distance", "pitch_error", "pitch_contour_error", "voicing_error")
_WORDS = ("skipped_words", "repeated_words", "lost_ends", "silent_speech", "speaking_rate")


@dataclass(frozen=True)
class Judges:
    """All that hears speech here; what is not there is None.

    Attributes:
        opinions: Predictors of listeners' opinion by name.
        encoder: Tells speakers apart.
        phonemes: Hears phonemes.
        words: Hears words.
        wanted: Scores to give; None gives all.
    """

    opinions: Mapping[str, QualityPredictor] = field(default_factory=dict)
    encoder: SpeakerEncoder | None = None
    phonemes: PhonemeRecogniser | None = None
    words: Recogniser | None = None
    wanted: Collection[str] | None = None

    def wants(self, *names: str) -> bool:
        """Tell whether any of these scores is to be given."""
        return self.wanted is None or any(name in self.wanted for name in names)


@dataclass(frozen=True)
class Utterance:
    """A sentence as it was said, and what is heard of it once.

    Attributes:
        sentence: What was to be said.
        speech: How it was said.
        groups: Units of its text.
        judges: Who hears it.
    """

    sentence: Sentence
    speech: Speech
    groups: Groups
    judges: Judges

    @cached_property
    def heard_samples(self) -> FloatArray:
        """(S,) at the recogniser's rate."""
        return resample(self.speech.samples, self.speech.sample_rate)

    @cached_property
    def spoken_words(self) -> SpokenWords | None:
        """Where words and phonemes lie; None without a recogniser."""
        if self.judges.phonemes is None or not self.groups:
            return None
        return find_spoken_words(self.groups, self.heard_samples, self.judges.phonemes)

    @cached_property
    def embedding(self) -> Embedding | None:
        """Whose voice it is; None without an encoder."""
        if self.judges.encoder is None:
            return None
        return self.judges.encoder.embed(self.speech.samples, self.speech.sample_rate)


def measure_utterance(
    utterance: Utterance, recorded: Utterance | None, reference: Embedding | None
) -> SpokenSentence:
    """Return a sentence's scores and troubles.

    Args:
        utterance: As it was said.
        recorded: Its recording, None where there is none or it is the recording itself.
        reference: What the speaker is like, None where nobody knows.
    """
    sentence, judges = utterance.sentence, utterance.judges
    found = _Found()
    _measure_signal(utterance, found)
    _measure_words(utterance, found)
    if sentence.kind is Kind.SENTENCE:
        _measure_opinions(utterance, found)
        if reference is not None and utterance.embedding is not None and judges.wants("similarity"):
            found.values["similarity"] = measure_similarity(utterance.embedding, reference)
        if recorded is not None:
            _measure_likeness(utterance, recorded, found)
    values = {
        name: value
        for name, value in found.values.items()
        if judges.wants(name) and value == value  # no NaN
    }
    return SpokenSentence(
        sentence=sentence,
        audio=utterance.speech.path,
        seconds=utterance.speech.seconds,
        values=values,
        troubles=tuple(sorted(found.troubles, key=lambda trouble: trouble.start_seconds)),
        heard=found.heard,
        recognised=found.recognised,
        wanted=" ".join(unit for group in utterance.groups for unit in group),
        sizes=found.sizes,
    )


def add_value(spoken: SpokenSentence, name: str, value: float) -> SpokenSentence:
    """Return a sentence with a score that comes from all sentences together."""
    return replace(spoken, values={**spoken.values, name: value})


def add_spread(spoken: Sequence[SpokenSentence]) -> list[SpokenSentence]:
    """Say how far each sentence's level is from the middle one's, which is its share in the spread.

    The levels themselves, which no table has, are taken out.
    """
    levels = [
        one.values[LEVEL]
        for one in spoken
        if one.sentence.kind is Kind.SENTENCE and LEVEL in one.values
    ]
    middle = median(levels) if levels else 0.0
    return [_exchange_level(one, middle) for one in spoken]


def _exchange_level(spoken: SpokenSentence, middle: float) -> SpokenSentence:
    values = dict(spoken.values)
    level = values.pop(LEVEL, None)
    if level is not None and spoken.sentence.kind is Kind.SENTENCE:
        values["loudness_spread"] = abs(level - middle)
    return replace(spoken, values=values)


class _Found:
    """What is found of a sentence, one thing after the other."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.troubles: list[Trouble] = []
        self.sizes: dict[str, int] = {}
        self.heard = ""
        self.recognised = ""


def _measure_opinions(utterance: Utterance, found: _Found) -> None:
    for name, predictor in utterance.judges.opinions.items():
        if utterance.judges.wants(name):
            speech = utterance.speech
            found.values[name] = _ask(name, predictor, speech)


def _ask(name: str, predictor: QualityPredictor, speech: Speech) -> float:
    try:
        return float(predictor(speech.samples, speech.sample_rate))
    except PiperError:
        raise
    except Exception as error:  # whatever a plug-in raises
        raise ConfigError(
            f"The predictor {name} failed on {speech.path} ({type(error).__name__}: {error}); "
            "leave it out, or mend it."
        ) from error


def _measure_words(utterance: Utterance, found: _Found) -> None:
    judges = utterance.judges
    if judges.phonemes is not None and utterance.groups:
        reference = [unit for group in utterance.groups for unit in group]
        found.sizes["phonemes"] = len(reference)
        if judges.wants("per"):
            heard = judges.phonemes.recognise(utterance.heard_samples)
            found.heard = " ".join(heard.units)
            found.values["per"] = find_phoneme_errors(reference, heard.units).rate
        if judges.wants(*_WORDS):
            _measure_troubles_of_words(utterance, found)
    if judges.words is not None and judges.wants("wer", "cer"):
        text = judges.words(utterance.heard_samples, SAMPLE_RATE)
        found.recognised = text
        wanted, heard_words = normalise_words(utterance.sentence.text), normalise_words(text)
        found.sizes["words"], found.sizes["letters"] = len(wanted), sum(map(len, wanted))
        found.values["wer"] = find_word_error(wanted, heard_words)
        found.values["cer"] = find_character_error(wanted, heard_words)


def _measure_troubles_of_words(utterance: Utterance, found: _Found) -> None:
    words = utterance.spoken_words
    if words is None:
        return
    found.troubles += find_word_troubles(words, utterance.groups, utterance.speech.seconds)
    found.values["skipped_words"] = float(len(words.skipped))
    found.values["repeated_words"] = float(len(words.repeated))
    found.values["lost_ends"] = float((not words.has_first) + (not words.has_last))
    spans = [(span.start_seconds, span.end_seconds) for span in words.groups if span is not None]
    speech = utterance.speech
    silences = find_silent_speech(speech.samples, speech.sample_rate, spans)
    for start, end in silences:
        found.troubles.append(Trouble("silent_speech", "silence inside a word", start, end))
    found.values["silent_speech"] = sum(end - start for start, end in silences)
    rate = measure_speaking_rate(words.units) if has_times(words) else None
    if rate is not None:
        found.values["speaking_rate"] = rate


def _measure_signal(utterance: Utterance, found: _Found) -> None:
    speech = utterance.speech
    measures = measure_signal(speech.samples, speech.sample_rate, speech.joints_seconds)
    found.values["clipped_share"] = measures.clipped_share
    found.values["clicks"] = float(len(measures.clicks_seconds))
    found.values["dc_offset"] = abs(measures.dc_offset)
    found.values[LEVEL] = measures.level_db
    for place in measures.clicks_seconds:
        found.troubles.append(Trouble("clicks", "a click", place, place))


def _measure_likeness(utterance: Utterance, recorded: Utterance, found: _Found) -> None:
    judges = utterance.judges
    if judges.wants(*_SPECTRAL):
        likeness = measure_likeness(
            utterance.speech.samples,
            utterance.speech.sample_rate,
            recorded.speech.samples,
            recorded.speech.sample_rate,
        )
        found.values["mel_cepstral_distance"] = likeness.mel_cepstral_distance
        found.values["pitch_error"] = likeness.pitch_error
        found.values["pitch_contour_error"] = likeness.pitch_contour_error
        found.values["voicing_error"] = likeness.voicing_error
    if not judges.wants("duration_error", "pause_error"):
        return
    ours, theirs = utterance.spoken_words, recorded.spoken_words
    if ours is None or theirs is None:
        return
    if has_times(ours) and has_times(theirs):
        timing = compare_timing(ours.units, theirs.units)
        if timing.duration_error_ms is not None:
            found.values["duration_error"] = timing.duration_error_ms
        if timing.pause_error_ms is not None:
            found.values["pause_error"] = timing.pause_error_ms
