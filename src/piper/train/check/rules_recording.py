"""What can be wrong with a recording by itself. Knows no other recordings and no texts.

Figures called "real" are of festvox-ru (620 recordings) and of the English and Russian telephone
prompts (1,121 with speech), all of 16 kHz.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from piper.train.check.entries import AudioMeasures
from piper.train.check.findings import Group, Rule, Severity, create_rule
from piper.train.data.audio import SILENCE_DB

VARIATION_DB = 6.0
"""Tones and noise vary by less than 3 dB; the loudest and the quietest of speech lie 45 dB apart,
with noise as loud as half the speech's amplitude still 10 dB."""
SPEECH_SECONDS = 0.1
"""A knock; the shortest word (a "да" by espeak-ng) has 0.17 s."""
HEAVILY_CLIPPED_SHARE = 0.03
"""Speech driven 5 dB over full scale has 6 %, 3 dB 1.4 %."""
CLIPPED_SHARE = 0.0001
"""Some four flat tops in 10 s at 16 kHz; in real recordings there are none."""
CROWDING, HEAVY_CROWDING = 1.2, 2.0
"""Of 620 real recordings, as they are and after MP3, AAC and Opus, none is above 1.0. Driven 3 dB
over full scale and encoded, 1.1 to 2.0; 5 dB 1.4 to 3.3; 12 dB 2.1 to 9."""
UPSAMPLED_SHARE = 0.8
"""Converters leave 0.86 of half a rate and more, real recordings of 16 kHz 0.875; 16 kHz made
22,050 Hz leaves 0.67, 8 kHz made 16 kHz 0.48."""
DC_OFFSET = 0.01
"""Real recordings have at most 0.005; at 0.01 an edge clicks at -40 dB."""
QUIET_DB = -30.0
"""The quietest of the real ones has -21 dB; a voice learns how loud its recordings are."""
NOISE_DB = 25.0
"""festvox-ru has 52 dB at least, nine of ten prompts 30 dB; at 25 dB noise is heard."""
SHORT_SECONDS = 6.0
"""Recordings this short may have no pause, and their quietest levels are then speech."""
EDGE_SILENCE_SECONDS = 1.0
"""The longest before and after the speech in festvox-ru is 0.72 and 0.81 s."""
INNER_SILENCE_SECONDS = 1.2
"""The longest pause in festvox-ru is 1.01 s, in 99 of 100 recordings 0.91 s."""
CUT_BELOW_SPEECH_DB = 18.0
"""festvox-ru reaches -24 dB at the start and -18.9 dB at the end; cut anywhere within the first or
last second of speech, 80 of 100 are above -18 dB, and the others were cut in a pause."""
CUT_ABOVE_FLOOR_DB = 12.0
"""Steady noise is at most 3 dB above its own floor in any 10 ms."""
LEAST_SECONDS = 0.4
"""Spoken letters have 0.42 s with what surrounds them (97 of 100 prompts)."""


@dataclass(frozen=True)
class Defect:
    """A rule that a recording breaks; see `Finding` for the attributes."""

    rule: Rule
    message: str
    score: float
    span: tuple[float, float] | None = None


create_audio_rule = partial(create_rule, Group.AUDIO)


TRUNCATED = create_audio_rule(
    "truncated",
    Severity.ERROR,
    "A recording that was cut off",
    "the file ends before its header says",
    "Copy or download the file again; its text says more than it holds.",
)
SILENCE = create_audio_rule(
    "silence",
    Severity.ERROR,
    "Nothing but silence",
    f"the loudest 50 ms below {SILENCE_DB:.0f} dB",
    "Replace the recording, or remove the line.",
)
NO_SPEECH = create_audio_rule(
    "no-speech",
    Severity.ERROR,
    "No speech in it",
    f"a level that varies by less than {VARIATION_DB:.0f} dB, or less than "
    f"{SPEECH_SECONDS:g} s of sound",
    "Replace the recording, or remove the line: it is a tone, noise or a knock.",
)
HEAVY_CLIPPING = create_audio_rule(
    "heavy-clipping",
    Severity.ERROR,
    "Clipped nearly everywhere",
    f"more than {HEAVILY_CLIPPED_SHARE:.0%} of the samples in flat tops, or {HEAVY_CROWDING:g} "
    "times more at a loud level than at a quieter one",
    "Record it again at a lower level; a voice learns the distortion.",
)
CLIPPING = create_audio_rule(
    "clipping",
    Severity.WARNING,
    "Clipped",
    f"more than {CLIPPED_SHARE:.2%} of the samples in flat tops, or {CROWDING:g} times more at a "
    "loud level than at a quieter one, as after an encoder",
    "Record it again at a lower level, or leave it out if it sounds distorted.",
)
NOT_MONO = create_audio_rule(
    "not-mono",
    Severity.WARNING,
    "More than one channel",
    "any but one",
    "Training takes the mean of the channels; listen whether that is as good as one of them.",
)
LOWER_RATE = create_audio_rule(
    "lower-rate",
    Severity.WARNING,
    "A lower sample rate than the training's",
    "any lower one",
    "Training raises it, which adds no brightness; take the originals, or train at this rate.",
)
UPSAMPLED = create_audio_rule(
    "upsampled",
    Severity.WARNING,
    "Upsampled from a lower rate, or low-passed by an encoder",
    f"nothing above {UPSAMPLED_SHARE:.0%} of half its rate, or of half the training's where that "
    "is lower",
    "Take the originals; between dull recordings and bright ones a voice wavers.",
)
DC = create_audio_rule(
    "dc-offset",
    Severity.WARNING,
    "A constant offset",
    f"a mean beyond {DC_OFFSET:g} of full scale",
    "Subtract the mean, or filter out what is below 20 Hz; the edges click otherwise.",
)
QUIET = create_audio_rule(
    "quiet",
    Severity.WARNING,
    "Very quiet",
    f"the loudest 50 ms below {QUIET_DB:.0f} dB",
    "Amplify it; a voice speaks as loud as its recordings.",
)
NOISE = create_audio_rule(
    "noise",
    Severity.WARNING,
    "Noise behind the speech",
    f"less than {NOISE_DB:.0f} dB below the speech",
    "Record it again in a quieter room, or leave it out; a voice learns the noise.",
)
START_SILENCE = create_audio_rule(
    "start-silence",
    Severity.WARNING,
    "A long silence before the speech",
    f"more than {EDGE_SILENCE_SECONDS:g} s",
    "Training cuts it, unless --data.trim_silence=false; listen whether a word is lost in it.",
)
END_SILENCE = create_audio_rule(
    "end-silence",
    Severity.WARNING,
    "A long silence after the speech",
    f"more than {EDGE_SILENCE_SECONDS:g} s",
    "Training cuts it, unless --data.trim_silence=false; listen whether a word is lost in it.",
)
INNER_SILENCE = create_audio_rule(
    "inner-silence",
    Severity.WARNING,
    "A long silence within the speech",
    f"more than {INNER_SILENCE_SECONDS:g} s",
    "Shorten it or split the recording there; no trimming reaches it.",
)
TOO_SHORT = create_audio_rule(
    "too-short",
    Severity.WARNING,
    "Very short",
    f"less than {LEAST_SECONDS:g} s, or than a segment of the training",
    "Make sure that it holds all of its text; training pads it with silence.",
)
CUT_START = create_audio_rule(
    "cut-start",
    Severity.WARNING,
    "Begins within a sound",
    f"the first 10 ms less than {CUT_BELOW_SPEECH_DB:.0f} dB below the speech",
    "Cut it from the source anew, a little earlier, or take the half word out of the text.",
)
CUT_END = create_audio_rule(
    "cut-end",
    Severity.WARNING,
    "Ends within a sound",
    f"the last 10 ms less than {CUT_BELOW_SPEECH_DB:.0f} dB below the speech",
    "Cut it from the source anew, a little later, or take the half word out of the text.",
)
RULES = (
    *(TRUNCATED, SILENCE, NO_SPEECH, HEAVY_CLIPPING, CLIPPING, NOT_MONO, LOWER_RATE, UPSAMPLED),
    *(DC, QUIET, NOISE, START_SILENCE, END_SILENCE, INNER_SILENCE, TOO_SHORT, CUT_START, CUT_END),
)


def find_defects(
    measures: AudioMeasures, *, sample_rate: int, segment_seconds: float
) -> Iterator[Defect]:
    """Find what is wrong with one recording.

    Args:
        measures: Of the recording.
        sample_rate: The training's, in hertz.
        segment_seconds: Of a training segment.
    """
    yield from _check_format(measures, sample_rate)
    if measures.loud_db < SILENCE_DB:
        yield Defect(SILENCE, f"at most {measures.loud_db:.0f} dB", -measures.loud_db)
        return  # every other level is one of silence
    variation = measures.loud_db - measures.floor_db
    speech = measures.seconds - measures.start_silence_seconds - measures.end_silence_seconds
    if variation < VARIATION_DB:
        yield Defect(NO_SPEECH, f"the level varies by {variation:.1f} dB", 1.0)
    elif speech < SPEECH_SECONDS:
        yield Defect(NO_SPEECH, f"{speech:.2f} s of sound", 1.0)
    else:
        yield from _check_signal(measures)
        yield from _check_bandwidth(measures, sample_rate)
        yield from _check_silences(measures)
        yield from _check_edges(measures)
    if measures.seconds < max(LEAST_SECONDS, segment_seconds):
        yield Defect(TOO_SHORT, f"{measures.seconds:.2f} s", -measures.seconds)


def _check_format(measures: AudioMeasures, sample_rate: int) -> Iterator[Defect]:
    if not measures.has_all_data:
        message = f"the file ends after {measures.seconds:.2f} s, its header promises more"
        yield Defect(TRUNCATED, message, 1.0)
    if measures.channels != 1:
        yield Defect(NOT_MONO, f"{measures.channels} channels", measures.channels)
    if measures.sample_rate < sample_rate:
        message = f"{measures.sample_rate:,} Hz, the training has {sample_rate:,} Hz"
        yield Defect(LOWER_RATE, message, -measures.sample_rate)


def _check_signal(measures: AudioMeasures) -> Iterator[Defect]:
    clipped = measures.clipped_share
    if clipped > CLIPPED_SHARE:
        rule = HEAVY_CLIPPING if clipped > HEAVILY_CLIPPED_SHARE else CLIPPING
        message = f"{clipped:.2%} of the samples, at {measures.peak:.2f} of full scale"
        yield Defect(rule, message, clipped)
    elif measures.crowding > CROWDING:
        rule = HEAVY_CLIPPING if measures.crowding > HEAVY_CROWDING else CLIPPING
        message = (
            f"{measures.crowding:.1f} times more samples at {measures.crowded_level:.2f} of full "
            "scale than at a quieter level: clipped before it was encoded"
        )
        yield Defect(rule, message, CLIPPED_SHARE * measures.crowding)
    if abs(measures.dc_offset) > DC_OFFSET:
        message = f"{measures.dc_offset:+.3f} of full scale"
        yield Defect(DC, message, abs(measures.dc_offset))
    if measures.loud_db < QUIET_DB:
        yield Defect(QUIET, f"at most {measures.loud_db:.0f} dB", -measures.loud_db)
    noise = measures.floor_db
    if measures.seconds < SHORT_SECONDS:
        noise = min(noise, measures.start_edge_db, measures.end_edge_db)
    if measures.speech_db - noise < NOISE_DB:
        below = measures.speech_db - noise
        yield Defect(NOISE, f"{below:.0f} dB below the speech", -below)


def _check_bandwidth(measures: AudioMeasures, sample_rate: int) -> Iterator[Defect]:
    # What lies above half the training's rate is lost anyway: an MP3 of 44.1 kHz that ends at
    # 16 kHz is as good as any for a training at 22,050 Hz.
    wanted = min(measures.sample_rate, sample_rate) / 2
    if measures.bandwidth_hertz < UPSAMPLED_SHARE * wanted:
        found, whole = measures.bandwidth_hertz / 1000, wanted / 1000
        message = f"nothing above {found:.1f} kHz, where {whole:.1f} kHz are possible"
        yield Defect(UPSAMPLED, message, 1 - found / whole)


def _check_silences(measures: AudioMeasures) -> Iterator[Defect]:
    start, end = measures.start_silence_seconds, measures.end_silence_seconds
    inner, inner_start = measures.inner_silence_seconds, measures.inner_silence_start
    if start > EDGE_SILENCE_SECONDS:
        yield Defect(START_SILENCE, f"{start:.1f} s of silence at the start", start, (0.0, start))
    if end > EDGE_SILENCE_SECONDS:
        span = (measures.seconds - end, measures.seconds)
        yield Defect(END_SILENCE, f"{end:.1f} s of silence at the end", end, span)
    if inner > INNER_SILENCE_SECONDS:
        message = f"{inner:.1f} s of silence from {inner_start:.1f} s on"
        yield Defect(INNER_SILENCE, message, inner, (inner_start, inner_start + inner))


def _check_edges(measures: AudioMeasures) -> Iterator[Defect]:
    shown = min(0.5, measures.seconds)
    for rule, level, span in (
        (CUT_START, measures.start_edge_db, (0.0, shown)),
        (CUT_END, measures.end_edge_db, (measures.seconds - shown, measures.seconds)),
    ):
        if rule is CUT_END and not measures.has_all_data:
            continue  # said already
        below = measures.speech_db - level
        if below < CUT_BELOW_SPEECH_DB and level - measures.floor_db > CUT_ABOVE_FLOOR_DB:
            yield Defect(rule, f"{below:.0f} dB below the speech at the very edge", -below, span)
