"""What can be wrong with a dataset's recordings: by themselves, beside texts and beside others.

Figures called "real" are of festvox-ru (620 recordings) and of the English and Russian telephone
prompts (1,121 with speech), all of 16 kHz.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from piper.train.check.entries import AudioMeasures, Entry
from piper.train.check.issues import Group, Issue, rules_of
from piper.train.data.audio import SILENCE_DB
from piper.train.data.settings import DataSettings

audio_error, audio_warning, _ = rules_of(Group.AUDIO)
match_error, match_warning, _ = rules_of(Group.MATCH)

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
SPREAD_DB = 8.0
"""Off the speaker's median festvox-ru is 1.7 dB at most, the telephone prompts 4.9 dB."""
SPREAD_RECORDINGS = 5
"""With fewer, a speaker's median says little."""
LONG_SECONDS = 20.0
"""The longest of festvox-ru has 18.0 s; all utterances of a batch are padded to its longest."""
LONG_TIMES = 4.0
MIN_LONG_SECONDS = 10.0
"""A set of single words may have a sentence of 10 s; four times festvox-ru's median is 36 s."""
WHOLE_SET = 5
"""So many recordings at least, and all with the same: then it is the set's, and said once."""
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

TRUNCATED = audio_error(
    "truncated",
    "A recording that was cut off",
    "the file ends before its header says",
    "Copy or download the file again; its text says more than it holds.",
)
SILENCE = audio_error(
    "silence",
    "Nothing but silence",
    f"the loudest 50 ms below {SILENCE_DB:.0f} dB",
    "Replace the recording, or remove the line.",
)
NO_SPEECH = audio_error(
    "no-speech",
    "No speech in it",
    f"a level that varies by less than {VARIATION_DB:.0f} dB, or less than "
    f"{SPEECH_SECONDS:g} s of sound",
    "Replace the recording, or remove the line: it is a tone, noise or a knock.",
)
HEAVY_CLIPPING = audio_error(
    "heavy-clipping",
    "Clipped nearly everywhere",
    f"more than {HEAVILY_CLIPPED_SHARE:.0%} of the samples in flat tops, or {HEAVY_CROWDING:g} "
    "times more at a loud level than at a quieter one",
    "Record it again at a lower level; a voice learns the distortion.",
)
CLIPPING = audio_warning(
    "clipping",
    "Clipped",
    f"more than {CLIPPED_SHARE:.2%} of the samples in flat tops, or {CROWDING:g} times more at a "
    "loud level than at a quieter one, as after an encoder",
    "Record it again at a lower level, or leave it out if it sounds distorted.",
)
NOT_MONO = audio_warning(
    "not-mono",
    "More than one channel",
    "any but one",
    "Training takes the mean of the channels; listen whether that is as good as one of them.",
)
LOWER_RATE = audio_warning(
    "lower-rate",
    "A lower sample rate than the training's",
    "any lower one",
    "Training raises it, which adds no brightness; take the originals, or train at this rate.",
)
UPSAMPLED = audio_warning(
    "upsampled",
    "Upsampled from a lower rate, or low-passed by an encoder",
    f"nothing above {UPSAMPLED_SHARE:.0%} of half its rate, or of half the training's where that "
    "is lower",
    "Take the originals; between dull recordings and bright ones a voice wavers.",
)
DC = audio_warning(
    "dc-offset",
    "A constant offset",
    f"a mean beyond {DC_OFFSET:g} of full scale",
    "Subtract the mean, or filter out what is below 20 Hz; the edges click otherwise.",
)
QUIET = audio_warning(
    "quiet",
    "Very quiet",
    f"the loudest 50 ms below {QUIET_DB:.0f} dB",
    "Amplify it; a voice speaks as loud as its recordings.",
)
NOISE = audio_warning(
    "noise",
    "Noise behind the speech",
    f"less than {NOISE_DB:.0f} dB below the speech",
    "Record it again in a quieter room, or leave it out; a voice learns the noise.",
)
START_SILENCE = audio_warning(
    "start-silence",
    "A long silence before the speech",
    f"more than {EDGE_SILENCE_SECONDS:g} s",
    "Training cuts it, unless --data.trim_silence=false; listen whether a word is lost in it.",
)
END_SILENCE = audio_warning(
    "end-silence",
    "A long silence after the speech",
    f"more than {EDGE_SILENCE_SECONDS:g} s",
    "Training cuts it, unless --data.trim_silence=false; listen whether a word is lost in it.",
)
INNER_SILENCE = audio_warning(
    "inner-silence",
    "A long silence within the speech",
    f"more than {INNER_SILENCE_SECONDS:g} s",
    "Shorten it or split the recording there; no trimming reaches it.",
)
TOO_SHORT = audio_warning(
    "too-short",
    "Very short",
    f"less than {MIN_SECONDS:g} s, or than a segment of the training",
    "Make sure that it holds all of its text; training pads it with silence.",
)
CUT_START = audio_warning(
    "cut-start",
    "Begins within a sound",
    f"the first 10 ms less than {CUT_BELOW_SPEECH_DB:.0f} dB below the speech",
    "Cut it from the source anew, a little earlier, or take the half word out of the text.",
)
CUT_END = audio_warning(
    "cut-end",
    "Ends within a sound",
    f"the last 10 ms less than {CUT_BELOW_SPEECH_DB:.0f} dB below the speech",
    "Cut it from the source anew, a little later, or take the half word out of the text.",
)
UNREADABLE = audio_error(
    "unreadable",
    "A recording that cannot be read",
    "not decodable, empty, or with NaN",
    "Replace or convert the recording, or remove the line.",
)
MIXED_RATES = audio_warning(
    "mixed-rates",
    "Another sample rate than most recordings have",
    "unlike the most frequent one",
    "Make sure that it is of the same session; training brings all to one rate.",
)
LOUDNESS_SPREAD = audio_warning(
    "loudness-spread",
    "Far louder or quieter than the speaker's other recordings",
    f"more than {SPREAD_DB:.0f} dB off their median",
    "Bring the recordings to one loudness; a voice's own wavers otherwise.",
)
TOO_LONG = audio_warning(
    "too-long",
    "Very long",
    f"more than {LONG_SECONDS:.0f} s, or than {LONG_TIMES:.0f} times the median and "
    f"{MIN_LONG_SECONDS:.0f} s",
    "Split it in its pauses with its text, or leave it out by --data.max_seconds: it takes most "
    "memory.",
)
SAME_AUDIO = audio_warning(
    "same-audio",
    "The same audio under two names",
    "equal sample by sample, with the same text",
    "Remove one of the two lines.",
)
SAME_AUDIO_OTHER_TEXT = audio_error(
    "same-audio-other-text",
    "The same audio with two texts",
    "equal sample by sample, with another text or speaker",
    "Listen, and keep the line that is right.",
)
RATE = match_warning(
    "rate",
    "Spoken much faster or slower than the speaker's other recordings",
    f"phonemes a second {OFF:g} spreads off the speaker's median",
    "Listen: words may be missing in the text or in the recording.",
)
WRONG_RATE = match_error(
    "wrong-rate",
    "Text and recording cannot belong together",
    f"phonemes a second {FAR_OFF:g} spreads off the speaker's median",
    "Listen, and give the recording its own text, or remove the line.",
)
TOO_SHORT_FOR_TEXT = match_error(
    "too-short-for-text",
    "Fewer frames than phoneme ids",
    "each id needs a frame of its own",
    "Text and recording do not belong together; correct or remove the line.",
)
_Measured = Sequence[tuple[Entry, AudioMeasures]]


def find_in_audio(
    entries: Sequence[Entry], errors: Mapping[Path, str], settings: DataSettings
) -> list[Issue]:
    """Find what is wrong with the recordings; `errors` says why some could not be measured.

    What is so for every recording of the set (not mono, a low rate) is one issue without a line.
    """
    issues = [
        UNREADABLE.at(entry, errors[entry.audio_path], 1.0)
        for entry in entries
        if entry.audio_path is not None and entry.audio_path in errors
    ]
    measured = [(entry, entry.audio) for entry in entries if entry.audio]
    for entry, audio in measured:
        issues += _check_recording(entry, audio, settings)
    issues = _say_once(issues, len(measured))
    issues += _check_rates(measured, settings.sample_rate)
    issues += _check_loudness(measured)
    issues += _check_lengths(measured)
    issues += _check_doubles(measured)
    return issues


def _check_recording(entry: Entry, audio: AudioMeasures, settings: DataSettings) -> Iterator[Issue]:
    yield from _check_format(entry, audio, settings.sample_rate)
    if audio.loud_db < SILENCE_DB:
        yield SILENCE.at(entry, f"at most {audio.loud_db:.0f} dB", -audio.loud_db)
        return  # every other level is one of silence
    variation = audio.loud_db - audio.floor_db
    speech = audio.seconds - audio.start_silence_seconds - audio.end_silence_seconds
    if variation < VARIATION_DB:
        yield NO_SPEECH.at(entry, f"the level varies by {variation:.1f} dB", 1.0)
    elif speech < SPEECH_SECONDS:
        yield NO_SPEECH.at(entry, f"{speech:.2f} s of sound", 1.0)
    else:
        yield from _check_clipping(entry, audio)
        yield from _check_levels(entry, audio)
        yield from _check_bandwidth(entry, audio, settings.sample_rate)
        yield from _check_silences(entry, audio)
        yield from _check_edges(entry, audio)
    if audio.seconds < max(MIN_SECONDS, settings.segment_size / settings.sample_rate):
        yield TOO_SHORT.at(entry, f"{audio.seconds:.2f} s", -audio.seconds)


def _check_format(entry: Entry, audio: AudioMeasures, sample_rate: int) -> Iterator[Issue]:
    if not audio.has_all_data:
        message = f"the file ends after {audio.seconds:.2f} s, its header promises more"
        yield TRUNCATED.at(entry, message, 1.0)
    if audio.channels != 1:
        yield NOT_MONO.at(entry, f"{audio.channels} channels", audio.channels)
    if audio.sample_rate < sample_rate:
        message = f"{audio.sample_rate:,} Hz, the training has {sample_rate:,} Hz"
        yield LOWER_RATE.at(entry, message, -audio.sample_rate)


def _check_clipping(entry: Entry, audio: AudioMeasures) -> Iterator[Issue]:
    clipped, crowding = audio.clipped_share, audio.crowding
    if clipped > CLIPPED_SHARE:
        rule = HEAVY_CLIPPING if clipped > HEAVILY_CLIPPED_SHARE else CLIPPING
        message = f"{clipped:.2%} of the samples, at {audio.peak:.2f} of full scale"
        yield rule.at(entry, message, clipped)
    elif crowding > CROWDING:
        rule = HEAVY_CLIPPING if crowding > HEAVY_CROWDING else CLIPPING
        message = (
            f"{crowding:.1f} times more samples at {audio.crowded_level:.2f} of full "
            "scale than at a quieter level: clipped before it was encoded"
        )
        yield rule.at(entry, message, CLIPPED_SHARE * crowding)


def _check_levels(entry: Entry, audio: AudioMeasures) -> Iterator[Issue]:
    if abs(audio.dc_offset) > DC_OFFSET:
        yield DC.at(entry, f"{audio.dc_offset:+.3f} of full scale", abs(audio.dc_offset))
    if audio.loud_db < QUIET_DB:
        yield QUIET.at(entry, f"at most {audio.loud_db:.0f} dB", -audio.loud_db)
    noise = audio.floor_db
    if audio.seconds < SHORT_SECONDS:
        noise = min(noise, audio.start_edge_db, audio.end_edge_db)
    below = audio.speech_db - noise
    if below < NOISE_DB:
        yield NOISE.at(entry, f"{below:.0f} dB below the speech", -below)


def _check_bandwidth(entry: Entry, audio: AudioMeasures, sample_rate: int) -> Iterator[Issue]:
    # What lies above half the training's rate is lost anyway: an MP3 of 44.1 kHz that ends at
    # 16 kHz is as good as any for a training at 22,050 Hz.
    wanted = min(audio.sample_rate, sample_rate) / 2
    if audio.bandwidth_hertz < UPSAMPLED_SHARE * wanted:
        found, whole = audio.bandwidth_hertz / 1000, wanted / 1000
        message = f"nothing above {found:.1f} kHz, where {whole:.1f} kHz are possible"
        yield UPSAMPLED.at(entry, message, 1 - found / whole)


def _check_silences(entry: Entry, audio: AudioMeasures) -> Iterator[Issue]:
    start, end = audio.start_silence_seconds, audio.end_silence_seconds
    inner, inner_start = audio.inner_silence_seconds, audio.inner_silence_start
    if start > EDGE_SILENCE_SECONDS:
        yield START_SILENCE.at(entry, f"{start:.1f} s of silence at the start", start, (0.0, start))
    if end > EDGE_SILENCE_SECONDS:
        span = (audio.seconds - end, audio.seconds)
        yield END_SILENCE.at(entry, f"{end:.1f} s of silence at the end", end, span)
    if inner > INNER_SILENCE_SECONDS:
        message = f"{inner:.1f} s of silence from {inner_start:.1f} s on"
        yield INNER_SILENCE.at(entry, message, inner, (inner_start, inner_start + inner))


def _check_edges(entry: Entry, audio: AudioMeasures) -> Iterator[Issue]:
    shown = min(0.5, audio.seconds)
    edges = [(CUT_START, audio.start_edge_db, (0.0, shown))]
    if audio.has_all_data:  # else it was said already
        edges.append((CUT_END, audio.end_edge_db, (audio.seconds - shown, audio.seconds)))
    for rule, level, span in edges:
        below = audio.speech_db - level
        if below < CUT_BELOW_SPEECH_DB and level - audio.floor_db > CUT_ABOVE_FLOOR_DB:
            yield rule.at(entry, f"{below:.0f} dB below the speech at the very edge", -below, span)


def _say_once(issues: list[Issue], num_measured: int) -> list[Issue]:
    """Replace what all recordings have by one issue about the set."""
    for rule in (NOT_MONO, LOWER_RATE, UPSAMPLED):
        found = [issue for issue in issues if issue.rule is rule]
        if len(found) == num_measured >= WHOLE_SET:
            first = found[0]
            message = f"all {num_measured} recordings, such as {first.name}: {first.message}"
            issues = [issue for issue in issues if issue.rule is not rule] + [Issue(rule, message)]
    return issues


def _check_rates(measured: _Measured, sample_rate: int) -> Iterator[Issue]:
    counts = Counter(audio.sample_rate for _, audio in measured)
    usual = max(counts, key=lambda rate: (counts[rate], rate == sample_rate, rate), default=0)
    for entry, audio in measured:
        rate = audio.sample_rate
        if rate != usual:
            message = f"{rate:,} Hz, most have {usual:,} Hz"
            yield MIXED_RATES.at(entry, message, abs(rate - usual))


def _check_loudness(measured: _Measured) -> Iterator[Issue]:
    levels: dict[str | None, list[float]] = defaultdict(list)
    for entry, audio in measured:
        if audio.loud_db >= SILENCE_DB:
            levels[entry.speaker].append(audio.speech_db)
    known = {who: median(of) for who, of in levels.items() if len(of) >= SPREAD_RECORDINGS}
    for entry, audio in measured:
        # A very quiet one has been found already.
        if audio.loud_db < QUIET_DB or entry.speaker not in known:
            continue
        off = audio.speech_db - known[entry.speaker]
        if abs(off) > SPREAD_DB:
            message = f"{abs(off):.0f} dB {'louder' if off > 0 else 'quieter'} than the median"
            yield LOUDNESS_SPREAD.at(entry, message, abs(off))


def _check_lengths(measured: _Measured) -> Iterator[Issue]:
    usual = median(audio.seconds for _, audio in measured) if measured else 0.0
    most = min(LONG_SECONDS, max(MIN_LONG_SECONDS, LONG_TIMES * usual))
    for entry, audio in measured:
        if audio.seconds > most:
            message = f"{audio.seconds:.1f} s, the median is {usual:.1f} s"
            yield TOO_LONG.at(entry, message, audio.seconds)


def _check_doubles(measured: _Measured) -> Iterator[Issue]:
    groups: dict[str, dict[Path | None, Entry]] = defaultdict(dict)
    for entry, audio in measured:
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
                yield SAME_AUDIO_OTHER_TEXT.at(entry, message, 1.0)
        else:
            for entry in others:
                yield SAME_AUDIO.at(entry, f"as line {first.line} ({first.name})", 1.0)


def find_in_matches(entries: Sequence[Entry], settings: DataSettings) -> list[Issue]:
    """Return recordings that their texts do not fit, by length and pace."""
    issues = []
    rates: dict[str | None, list[tuple[Entry, float]]] = defaultdict(list)
    for entry in entries:
        if not entry.audio or not entry.read:
            continue
        frames = entry.audio.seconds * settings.sample_rate / settings.hop_length
        num_ids = entry.read.num_ids
        if num_ids > frames:
            message = f"{frames:.0f} frames for {num_ids} phoneme ids"
            issues.append(TOO_SHORT_FOR_TEXT.at(entry, message, num_ids / max(frames, 1)))
        count = sum(phoneme.isalpha() for phoneme in entry.read.phonemes)
        seconds = entry.audio.speech_seconds
        if count >= MIN_PHONEMES and seconds > 0:
            rates[entry.speaker].append((entry, count / seconds))
    short = {issue.line for issue in issues}
    for of_speaker in rates.values():
        issues += [one for one in _check_paces(of_speaker) if one.line not in short]
    return issues


def _check_paces(rates: Sequence[tuple[Entry, float]]) -> Iterator[Issue]:
    """Yield the recordings of a speaker that have another pace, in phonemes a second."""
    if len(rates) < FEWEST:
        return
    logs = [math.log(rate) for _, rate in rates]
    middle = median(logs)
    spread = max(MIN_SPREAD, DEVIATION * median(abs(log - middle) for log in logs))
    for (entry, rate), log in zip(rates, logs, strict=True):
        off = abs(log - middle) / spread
        if off >= OFF:
            how = "faster" if log > middle else "slower"
            message = f"{rate:.1f} phonemes a second, {off:.1f} spreads {how} than usual"
            yield (WRONG_RATE if off >= FAR_OFF else RATE).at(entry, message, off)
