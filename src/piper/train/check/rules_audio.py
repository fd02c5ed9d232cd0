"""What can be wrong with a dataset's recordings: by themselves, beside texts and beside others.

Figures called "real" are of festvox-ru (620 recordings) and of the English and Russian telephone
prompts (1,121 with speech), all of 16 kHz.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from piper.train.check.entries import AudioMeasures, Entry
from piper.train.check.issues import Group, Issue, Rule, Severity
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
MIN_SECONDS = 0.4
"""Spoken letters have 0.42 s with what surrounds them (97 of 100 prompts)."""


create_audio_rule = partial(Rule, Group.AUDIO)


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
    f"less than {MIN_SECONDS:g} s, or than a segment of the training",
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


_Defect = tuple[Rule, str, float] | tuple[Rule, str, float, tuple[float, float]]
"""A rule that a recording breaks, message, score and span: see `Issue`."""


def _find_defects(
    measures: AudioMeasures, sample_rate: int, segment_seconds: float
) -> Iterator[_Defect]:
    yield from _check_format(measures, sample_rate)
    if measures.loud_db < SILENCE_DB:
        yield SILENCE, f"at most {measures.loud_db:.0f} dB", -measures.loud_db
        return  # every other level is one of silence
    variation = measures.loud_db - measures.floor_db
    speech = measures.seconds - measures.start_silence_seconds - measures.end_silence_seconds
    if variation < VARIATION_DB:
        yield NO_SPEECH, f"the level varies by {variation:.1f} dB", 1.0
    elif speech < SPEECH_SECONDS:
        yield NO_SPEECH, f"{speech:.2f} s of sound", 1.0
    else:
        yield from _check_signal(measures)
        yield from _check_bandwidth(measures, sample_rate)
        yield from _check_silences(measures)
        yield from _check_edges(measures)
    if measures.seconds < max(MIN_SECONDS, segment_seconds):
        yield TOO_SHORT, f"{measures.seconds:.2f} s", -measures.seconds


def _check_format(measures: AudioMeasures, sample_rate: int) -> Iterator[_Defect]:
    if not measures.has_all_data:
        message = f"the file ends after {measures.seconds:.2f} s, its header promises more"
        yield TRUNCATED, message, 1.0
    if measures.channels != 1:
        yield NOT_MONO, f"{measures.channels} channels", measures.channels
    if measures.sample_rate < sample_rate:
        message = f"{measures.sample_rate:,} Hz, the training has {sample_rate:,} Hz"
        yield LOWER_RATE, message, -measures.sample_rate


def _check_signal(measures: AudioMeasures) -> Iterator[_Defect]:
    clipped = measures.clipped_share
    if clipped > CLIPPED_SHARE:
        rule = HEAVY_CLIPPING if clipped > HEAVILY_CLIPPED_SHARE else CLIPPING
        message = f"{clipped:.2%} of the samples, at {measures.peak:.2f} of full scale"
        yield rule, message, clipped
    elif measures.crowding > CROWDING:
        rule = HEAVY_CLIPPING if measures.crowding > HEAVY_CROWDING else CLIPPING
        message = (
            f"{measures.crowding:.1f} times more samples at {measures.crowded_level:.2f} of full "
            "scale than at a quieter level: clipped before it was encoded"
        )
        yield rule, message, CLIPPED_SHARE * measures.crowding
    if abs(measures.dc_offset) > DC_OFFSET:
        message = f"{measures.dc_offset:+.3f} of full scale"
        yield DC, message, abs(measures.dc_offset)
    if measures.loud_db < QUIET_DB:
        yield QUIET, f"at most {measures.loud_db:.0f} dB", -measures.loud_db
    noise = measures.floor_db
    if measures.seconds < SHORT_SECONDS:
        noise = min(noise, measures.start_edge_db, measures.end_edge_db)
    if measures.speech_db - noise < NOISE_DB:
        below = measures.speech_db - noise
        yield NOISE, f"{below:.0f} dB below the speech", -below


def _check_bandwidth(measures: AudioMeasures, sample_rate: int) -> Iterator[_Defect]:
    # What lies above half the training's rate is lost anyway: an MP3 of 44.1 kHz that ends at
    # 16 kHz is as good as any for a training at 22,050 Hz.
    wanted = min(measures.sample_rate, sample_rate) / 2
    if measures.bandwidth_hertz < UPSAMPLED_SHARE * wanted:
        found, whole = measures.bandwidth_hertz / 1000, wanted / 1000
        message = f"nothing above {found:.1f} kHz, where {whole:.1f} kHz are possible"
        yield UPSAMPLED, message, 1 - found / whole


def _check_silences(measures: AudioMeasures) -> Iterator[_Defect]:
    start, end = measures.start_silence_seconds, measures.end_silence_seconds
    inner, inner_start = measures.inner_silence_seconds, measures.inner_silence_start
    if start > EDGE_SILENCE_SECONDS:
        yield START_SILENCE, f"{start:.1f} s of silence at the start", start, (0.0, start)
    if end > EDGE_SILENCE_SECONDS:
        span = (measures.seconds - end, measures.seconds)
        yield END_SILENCE, f"{end:.1f} s of silence at the end", end, span
    if inner > INNER_SILENCE_SECONDS:
        message = f"{inner:.1f} s of silence from {inner_start:.1f} s on"
        yield INNER_SILENCE, message, inner, (inner_start, inner_start + inner)


def _check_edges(measures: AudioMeasures) -> Iterator[_Defect]:
    shown = min(0.5, measures.seconds)
    for rule, level, span in (
        (CUT_START, measures.start_edge_db, (0.0, shown)),
        (CUT_END, measures.end_edge_db, (measures.seconds - shown, measures.seconds)),
    ):
        if rule is CUT_END and not measures.has_all_data:
            continue  # said already
        below = measures.speech_db - level
        if below < CUT_BELOW_SPEECH_DB and level - measures.floor_db > CUT_ABOVE_FLOOR_DB:
            yield rule, f"{below:.0f} dB below the speech at the very edge", -below, span


SPREAD_DB = 8.0
"""Off the speaker's median festvox-ru is 1.7 dB at most, the telephone prompts 4.9 dB."""
SPREAD_RECORDINGS = 5
"""With fewer, a speaker's median says little."""
LONG_SECONDS = 20.0
"""The longest of festvox-ru has 18.0 s; all utterances of a batch are padded to its longest."""
LONG_TIMES = 4.0
LONG_LEAST_SECONDS = 10.0
"""A set of single words may have a sentence of 10 s; four times festvox-ru's median is 36 s."""
WHOLE_SET = 5
"""So many recordings at least, and all with the same: then it is the set's, and said once."""

UNREADABLE = create_audio_rule(
    "unreadable",
    Severity.ERROR,
    "A recording that cannot be read",
    "not decodable, empty, or with NaN",
    "Replace or convert the recording, or remove the line.",
)
MIXED_RATES = create_audio_rule(
    "mixed-rates",
    Severity.WARNING,
    "Another sample rate than most recordings have",
    "unlike the most frequent one",
    "Make sure that it is of the same session; training brings all to one rate.",
)
LOUDNESS_SPREAD = create_audio_rule(
    "loudness-spread",
    Severity.WARNING,
    "Far louder or quieter than the speaker's other recordings",
    f"more than {SPREAD_DB:.0f} dB off their median",
    "Bring the recordings to one loudness; a voice's own wavers otherwise.",
)
TOO_LONG = create_audio_rule(
    "too-long",
    Severity.WARNING,
    "Very long",
    f"more than {LONG_SECONDS:.0f} s, or than {LONG_TIMES:.0f} times the median and "
    f"{LONG_LEAST_SECONDS:.0f} s",
    "Split it in its pauses with its text, or leave it out by --data.max_seconds: it takes most "
    "memory.",
)
SAME_AUDIO = create_audio_rule(
    "same-audio",
    Severity.WARNING,
    "The same audio under two names",
    "equal sample by sample, with the same text",
    "Remove one of the two lines.",
)
SAME_AUDIO_OTHER_TEXT = create_audio_rule(
    "same-audio-other-text",
    Severity.ERROR,
    "The same audio with two texts",
    "equal sample by sample, with another text or speaker",
    "Listen, and keep the line that is right.",
)
_RULES_OF_SETS = (NOT_MONO, LOWER_RATE, UPSAMPLED)


def find_in_audio(
    entries: Sequence[Entry],
    errors: Mapping[Path, str],
    *,
    sample_rate: int,
    segment_seconds: float,
) -> list[Issue]:
    """Find what is wrong with the recordings; `errors` says why some could not be measured.

    What is so for every recording of the set (not mono, a low rate) is one issue without a line.
    """
    issues = [
        Issue(UNREADABLE, errors[entry.audio_path], entry.line, entry.name, 1.0)
        for entry in entries
        if entry.audio_path is not None and entry.audio_path in errors
    ]
    heard = [(entry, entry.audio) for entry in entries if entry.audio]
    for entry, audio in heard:
        for rule, message, *place in _find_defects(audio, sample_rate, segment_seconds):
            issues.append(Issue(rule, message, entry.line, entry.name, *place))
    issues = _say_once(issues, len(heard))
    issues += _find_mixed_rates(heard, sample_rate)
    issues += _find_spread(heard)
    issues += _find_long(heard)
    issues += _find_same_audio(heard)
    return issues


_Measured = Sequence[tuple[Entry, AudioMeasures]]


def _say_once(issues: list[Issue], num_heard: int) -> list[Issue]:
    """Replace what all recordings have by one issue about the set."""
    counts = Counter(issue.rule for issue in issues)
    common = [rule for rule in _RULES_OF_SETS if counts[rule] == num_heard >= WHOLE_SET]
    kept = [issue for issue in issues if issue.rule not in common]
    for rule in common:
        first = next(issue for issue in issues if issue.rule is rule)
        kept.append(
            Issue(rule, f"all {num_heard} recordings, such as {first.name}: {first.message}")
        )
    return kept


def _find_mixed_rates(heard: _Measured, sample_rate: int) -> Iterator[Issue]:
    counts = Counter(audio.sample_rate for _, audio in heard)
    if len(counts) < 2:
        return
    usual = max(counts, key=lambda rate: (counts[rate], rate == sample_rate, rate))
    for entry, audio in heard:
        rate = audio.sample_rate
        if rate != usual:
            message = f"{rate:,} Hz, most have {usual:,} Hz"
            yield Issue(MIXED_RATES, message, entry.line, entry.name, abs(rate - usual))


def _find_spread(heard: _Measured) -> Iterator[Issue]:
    levels: dict[str | None, list[float]] = defaultdict(list)
    for entry, audio in heard:
        if audio.loud_db >= SILENCE_DB:
            levels[entry.speaker].append(audio.speech_db)
    medians = {
        speaker: median(found)
        for speaker, found in levels.items()
        if len(found) >= SPREAD_RECORDINGS
    }
    for entry, audio in heard:
        # A very quiet one has been found already.
        if audio.loud_db < QUIET_DB or entry.speaker not in medians:
            continue
        off = audio.speech_db - medians[entry.speaker]
        if abs(off) > SPREAD_DB:
            message = f"{abs(off):.0f} dB {'louder' if off > 0 else 'quieter'} than the median"
            yield Issue(LOUDNESS_SPREAD, message, entry.line, entry.name, abs(off))


def _find_long(heard: _Measured) -> Iterator[Issue]:
    if not heard:
        return
    usual = median(audio.seconds for _, audio in heard)
    most = min(LONG_SECONDS, max(LONG_LEAST_SECONDS, LONG_TIMES * usual))
    for entry, audio in heard:
        if audio.seconds > most:
            message = f"{audio.seconds:.1f} s, the median is {usual:.1f} s"
            yield Issue(TOO_LONG, message, entry.line, entry.name, audio.seconds)


def _find_same_audio(heard: _Measured) -> Iterator[Issue]:
    groups: dict[str, dict[Path | None, Entry]] = defaultdict(dict)
    for entry, audio in heard:
        if audio.loud_db >= SILENCE_DB:  # silence equals silence
            # One file in two lines is a matter of the CSV.
            groups[audio.digest].setdefault(entry.audio_path, entry)
    for group in groups.values():
        first, *others = group.values()
        if any(other.spoken != first.spoken for other in others):
            # Which text is right cannot be known, so all of them are named.
            for entry in (first, *others):
                other = next(one for one in group.values() if one.spoken != entry.spoken)
                message = f"as line {other.line} ({other.name}), which says {other.text!r:.60}"
                yield Issue(SAME_AUDIO_OTHER_TEXT, message, entry.line, entry.name, 1.0)
        else:
            for entry in others:
                message = f"as line {first.line} ({first.name})"
                yield Issue(SAME_AUDIO, message, entry.line, entry.name, 1.0)


FEWEST = 10
"""Recordings of a speaker from which on his pace is known."""
MIN_PHONEMES = 8
"""Of single words the pace says nothing: `да` can take half a second or two."""
MIN_SPREAD = 0.08
"""The spread of the logarithm that readers have at least; festvox-ru has 0.10."""
OFF, FAR_OFF = 4.0, 8.0
"""Spreads away from the speaker's median. Festvox-ru: 0 of 620 beyond the first."""
DEVIATION = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""

RATE = Rule(
    Group.MATCH,
    "rate",
    Severity.WARNING,
    "Spoken much faster or slower than the speaker's other recordings",
    f"phonemes a second {OFF:g} spreads off the speaker's median",
    "Listen: words may be missing in the text or in the recording.",
)
WRONG_RATE = Rule(
    Group.MATCH,
    "wrong-rate",
    Severity.ERROR,
    "Text and recording cannot belong together",
    f"phonemes a second {FAR_OFF:g} spreads off the speaker's median",
    "Listen, and give the recording its own text, or remove the line.",
)
TOO_SHORT_FOR_TEXT = Rule(
    Group.MATCH,
    "too-short-for-text",
    Severity.ERROR,
    "Fewer frames than phoneme ids",
    "each id needs a frame of its own",
    "Text and recording do not belong together; mend or remove the line.",
)


@dataclass(frozen=True)
class Pace:
    """How fast a recording is spoken.

    Attributes:
        phonemes_per_second: Of speech, without the long silences.
        spreads: How far off the speaker's median, with a sign: above 0 is faster.
    """

    entry: Entry
    phonemes_per_second: float
    spreads: float


def find_in_matches(entries: Sequence[Entry], *, frame_seconds: float) -> list[Issue]:
    """Return recordings that their texts do not fit."""
    issues = list(_find_short(entries, frame_seconds))
    short = {issue.line for issue in issues}
    for pace in measure_paces(entries):
        off = abs(pace.spreads)
        if off < OFF or pace.entry.line in short:
            continue
        how = "faster" if pace.spreads > 0 else "slower"
        usual = pace.phonemes_per_second
        issues.append(
            Issue(
                WRONG_RATE if off >= FAR_OFF else RATE,
                f"{usual:.1f} phonemes a second, {off:.1f} spreads {how} than usual",
                pace.entry.line,
                pace.entry.name,
                off,
            )
        )
    return issues


def measure_paces(entries: Sequence[Entry]) -> list[Pace]:
    """Return how fast each recording is spoken, those of too few or too short ones left out."""
    rates: dict[str | None, list[tuple[Entry, float]]] = defaultdict(list)
    for entry in entries:
        if not entry.audio or not entry.read:
            continue
        seconds = speech_seconds(entry.audio)
        count = sum(phoneme.isalpha() for phoneme in entry.read.phonemes)
        if count >= MIN_PHONEMES and seconds > 0:
            rates[entry.speaker].append((entry, count / seconds))
    paces = []
    for of_speaker in rates.values():
        if len(of_speaker) < FEWEST:
            continue
        logs = [math.log(rate) for _, rate in of_speaker]
        middle = median(logs)
        spread = max(MIN_SPREAD, DEVIATION * median(abs(log - middle) for log in logs))
        paces += [
            Pace(entry, rate, (math.log(rate) - middle) / spread) for entry, rate in of_speaker
        ]
    return paces


def speech_seconds(measures: AudioMeasures) -> float:
    """Return how long is spoken: without silence at both ends, and without the longest inside."""
    silence = measures.start_silence_seconds + measures.end_silence_seconds
    return max(0.0, measures.seconds - silence - measures.inner_silence_seconds)


def _find_short(entries: Sequence[Entry], frame_seconds: float) -> Iterator[Issue]:
    for entry in entries:
        if entry.audio and entry.read:
            frames, num_ids = entry.audio.seconds / frame_seconds, entry.read.num_ids
            if num_ids > frames:
                message = f"{frames:.0f} frames for {num_ids} phoneme ids"
                score = num_ids / max(frames, 1)
                yield Issue(TOO_SHORT_FOR_TEXT, message, entry.line, entry.name, score)
