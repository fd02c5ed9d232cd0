"""Each defect is planted in a recording among sound ones, and found there and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from piper.errors import DatasetError
from piper.train.check.entries import AudioMeasures, Entry, add_measures
from piper.train.check.issues import Group, Issue, Severity
from piper.train.check.measuring import measure_recording
from piper.train.check.rules_audio import find_in_audio
from piper.train.check.run import RULES

RATE = 22050
SEGMENT_SECONDS = 8192 / RATE
PLANTED = "planted.wav"


@pytest.fixture(scope="module")
def entries(speech_dataset: Path) -> list[Entry]:
    lines = (speech_dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()
    columns = [line.split("|") for line in lines]
    return [
        Entry(n, name, speech_dataset / "wavs" / name, None, text)
        for n, (name, text) in enumerate(columns, start=1)
    ]


@pytest.fixture(scope="module")
def measures(entries: list[Entry]) -> dict[Path, AudioMeasures]:
    return {path: measure_recording(path) for e in entries if (path := e.audio_path) is not None}


@pytest.fixture(scope="module")
def speech(entries: list[Entry]) -> np.ndarray:
    assert entries[3].audio_path is not None
    samples, _ = soundfile.read(entries[3].audio_path, dtype="float32")
    return samples


Check = Callable[..., list[Issue]]


@pytest.fixture
def check(entries: list[Entry], measures: dict[Path, AudioMeasures], tmp_path: Path) -> Check:
    """Check the sound recordings and, in another line, a planted one."""

    def check(
        planted: np.ndarray | Path, rate: int = RATE, training_rate: int = RATE
    ) -> list[Issue]:
        path = planted if isinstance(planted, Path) else tmp_path / PLANTED
        if not isinstance(planted, Path):
            soundfile.write(path, planted, rate)
        known, errors = dict(measures), {}
        try:
            known[path] = measure_recording(path)
        except DatasetError as error:
            errors[path] = str(error)
        line = Entry(99, PLANTED, path, None, "Не такой, как остальные.")
        return find_in_audio(
            add_measures([*entries, line], known, {}),
            errors,
            sample_rate=training_rate,
            segment_seconds=SEGMENT_SECONDS,
        )

    return check


def names_of(issues: list[Issue]) -> set[str]:
    """Return the rules' names, having made sure that they are about the planted one."""
    assert {(f.line, f.name) for f in issues} <= {(99, PLANTED)}
    assert len({f.rule for f in issues}) == len(issues)
    return {issue.rule.name for issue in issues}


def add_noise(samples: np.ndarray, level_db: float) -> np.ndarray:
    noise = np.random.default_rng(5).standard_normal(len(samples)) * 10 ** (level_db / 20)
    return (samples + noise).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return add_noise(np.zeros(round(seconds * RATE), np.float32), -70)


def resample(samples: np.ndarray, *rates: int) -> np.ndarray:
    rate = RATE
    for wanted in rates:
        samples, rate = soxr.resample(samples, rate, wanted), wanted
    return samples


def cut_out(samples: np.ndarray, seconds: float) -> np.ndarray:
    """Cut out what surrounds the loudest sample, with 100 ms of fading at either end."""
    size, fade = round(seconds * RATE), round(0.1 * RATE)
    start = int(np.abs(samples).argmax()) - size // 2
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    gain = np.concatenate([ramp, np.ones(size - 2 * fade, np.float32), ramp[::-1]])
    return samples[start : start + size] * gain


def test_rules_have_names_of_their_own_and_tell_their_figures() -> None:
    assert {rule.group for rule in RULES} == set(Group)
    assert len({rule.name for rule in RULES}) == len(RULES) > 40
    assert all(rule.summary and rule.threshold and rule.advice.endswith(".") for rule in RULES)


def test_nothing_is_wrong_with_sound_recordings(check: Check, speech: np.ndarray) -> None:
    assert names_of(check(speech * 0.9)) == set()


def test_not_audio(check: Check, tmp_path: Path) -> None:
    (tmp_path / PLANTED).write_bytes(b"not audio " * 100)
    issues = check(tmp_path / PLANTED)
    assert names_of(issues) == {"unreadable"}
    assert "cannot be decoded" in issues[0].message


def test_cut_off_by_a_broken_copy(check: Check, speech: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / PLANTED
    soundfile.write(path, speech, RATE)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    # It ends within a word too, which is the same mistake.
    assert names_of(check(path)) == {"truncated"}


def test_silence(check: Check, speech: np.ndarray) -> None:
    assert names_of(check(silence(3))) == {"silence"}
    assert names_of(check(np.zeros(3 * RATE, np.float32))) == {"silence"}
    # Channels that cancel each other out are silence when they are mixed.
    assert names_of(check(np.stack([speech, -speech], axis=1))) == {"silence", "not-mono"}


def test_a_tone_noise_and_a_knock(check: Check) -> None:
    time = np.arange(2 * RATE) / RATE
    assert names_of(check(0.2 * np.sin(2 * np.pi * 440 * time))) == {"no-speech"}
    assert names_of(check(add_noise(np.zeros(2 * RATE), -25))) == {"no-speech"}
    knock = silence(1.5)
    knock[15000:16000] += 0.3 * np.hanning(1000) * np.sin(2 * np.pi * 300 * time[:1000])
    assert names_of(check(knock)) == {"no-speech"}


@pytest.mark.parametrize(
    ("gain", "rule"), [(1.5, "clipping"), (3, "clipping"), (10, "heavy-clipping")]
)
@pytest.mark.parametrize("turned_down_to", [1.0, 0.5])
def test_clipping(
    check: Check, speech: np.ndarray, gain: float, rule: str, turned_down_to: float
) -> None:
    loud = speech / np.abs(speech).max() * gain
    # Turned down so far that it is not far louder than the others, which is another rule.
    clipped = np.clip(loud, -1, 1) * turned_down_to
    assert names_of(check(clipped)) - {"loudness-spread"} == {rule}


def test_constant_offset(check: Check, speech: np.ndarray) -> None:
    assert names_of(check(speech * 0.8 - 0.05)) == {"dc-offset"}
    assert names_of(check(speech * 0.8 - 0.005)) == set()


def test_very_quiet(check: Check, speech: np.ndarray) -> None:
    assert names_of(check(speech * 0.05)) == {"quiet"}


@pytest.mark.parametrize("gain_db", [-11, 11])
def test_loudness_spread(check: Check, speech: np.ndarray, gain_db: float) -> None:
    # Limited softly, so that the louder one has no flat tops.
    issues = check(np.tanh(speech * 10 ** (gain_db / 20)))
    assert names_of(issues) == {"loudness-spread"}
    assert ("louder" if gain_db > 0 else "quieter") in issues[0].message


@pytest.mark.parametrize("level_db", [-42, -35, -30])
def test_noise(check: Check, speech: np.ndarray, level_db: float) -> None:
    assert names_of(check(add_noise(speech * 0.9, level_db))) == {"noise"}


def test_a_little_noise(check: Check, speech: np.ndarray) -> None:
    assert names_of(check(add_noise(speech * 0.9, -55))) == set()


def test_speech_without_a_pause_is_no_noise(check: Check, speech: np.ndarray) -> None:
    """Cut to the word, a short recording's quietest tenth is a quiet sound."""
    assert names_of(check(cut_out(speech, 0.6))) == set()


def test_silences(check: Check, speech: np.ndarray) -> None:
    issues = check(np.concatenate([silence(2), speech]))
    assert names_of(issues) == {"start-silence"}
    assert issues[0].message == "2.4 s of silence at the start"
    assert issues[0].span == (0, pytest.approx(2.4, abs=0.05))
    issues = check(np.concatenate([speech, silence(2)]))
    assert names_of(issues) == {"end-silence"}
    seconds = len(speech) / RATE + 2
    assert issues[0].span == (pytest.approx(seconds - 2.6, abs=0.1), pytest.approx(seconds))
    issues = check(np.concatenate([speech, silence(1), speech]))
    assert names_of(issues) == {"inner-silence"}
    assert issues[0].span is not None
    assert issues[0].span[1] - issues[0].span[0] == pytest.approx(2, abs=0.1)


def test_too_short(check: Check, speech: np.ndarray) -> None:
    issues = check(cut_out(speech, 0.3))
    assert names_of(issues) == {"too-short"}
    assert issues[0].message == "0.30 s"


def test_too_long(check: Check, speech: np.ndarray) -> None:
    assert names_of(check(np.tile(speech, 9))) == {"too-long"}
    # 13 s are long only beside recordings of 3 s.
    assert 13 < 4 * len(speech) / RATE < 20
    assert names_of(check(np.tile(speech, 4))) == {"too-long"}
    assert names_of(check(np.tile(speech, 3))) == set()


def test_cut_within_a_word(check: Check, speech: np.ndarray) -> None:
    loudest = int(np.abs(speech).argmax())
    issues = check(speech[loudest:])
    assert names_of(issues) == {"cut-start"}
    assert issues[0].span == (0, 0.5)
    assert names_of(check(speech[:loudest])) == {"cut-end"}
    both = np.concatenate([speech[loudest:], speech[:loudest]])
    assert names_of(check(both)) == {"cut-start", "cut-end"}


def test_noise_at_the_edge_is_no_cut(check: Check, speech: np.ndarray) -> None:
    assert names_of(check(add_noise(speech, -30))) == {"noise"}


def test_not_mono(check: Check, speech: np.ndarray) -> None:
    issues = check(np.stack([speech, speech * 0.8], axis=1))
    assert names_of(issues) == {"not-mono"}
    assert issues[0].message == "2 channels"


def test_another_rate(check: Check, speech: np.ndarray) -> None:
    issues = check(resample(speech, 44100, 48000), 48000)
    assert names_of(issues) == {"mixed-rates"}
    assert issues[0].message == "48,000 Hz, most have 22,050 Hz"
    assert names_of(check(resample(speech, 16000), 16000)) == {"mixed-rates", "lower-rate"}
    assert names_of(check(resample(speech, 16000), 16000, 16000)) == {"mixed-rates"}


@pytest.mark.parametrize("low", [8000, 11025, 16000])
def test_upsampled_before(check: Check, speech: np.ndarray, low: int) -> None:
    issues = check(resample(speech, low, RATE))
    assert names_of(issues) == {"upsampled"}
    assert issues[0].message.startswith("nothing above ")


def test_only_what_training_would_hear_counts(check: Check, speech: np.ndarray) -> None:
    """An MP3 of 44.1 kHz ends at 16 kHz or so: a training at 22,050 Hz hears all that it would."""
    # Played at twice its speed, as 44.1 kHz, there is energy up to 22 kHz.
    low_passed = soxr.resample(soxr.resample(speech, 44100, 32000), 32000, 44100)
    assert "upsampled" not in names_of(check(low_passed, 44100))
    assert "upsampled" in {f.rule.name for f in check(low_passed, 44100, 44100)}


def test_the_same_audio_twice(
    check: Check, entries: list[Entry], measures: dict[Path, AudioMeasures], speech: np.ndarray
) -> None:
    issues = check(speech)
    assert [(f.rule.name, f.line) for f in issues] == [
        ("same-audio-other-text", 4),
        ("same-audio-other-text", 99),
    ]
    assert issues[0].rule.severity is Severity.ERROR
    assert "line 99 (planted.wav), which says 'Не такой" in issues[0].message
    copy = replace(entries[3], line=99, name=PLANTED, audio_path=Path(PLANTED))
    known = {**measures, Path(PLANTED): measures[entries[3].audio_path]}  # type: ignore[index]
    settings = {"sample_rate": RATE, "segment_seconds": SEGMENT_SECONDS}
    issues = find_in_audio(add_measures([*entries, copy], known, {}), {}, **settings)
    assert names_of(issues) == {"same-audio"}
    assert issues[0].message == f"as line 4 ({entries[3].name})"
    # One file in two lines is found in the CSV.
    twice = replace(entries[3], line=99)
    assert find_in_audio(add_measures([*entries, twice], measures, {}), {}, **settings) == []


def test_a_speaker_is_compared_with_himself(
    entries: list[Entry], measures: dict[Path, AudioMeasures]
) -> None:
    speakers = [replace(e, speaker="ab"[n % 2]) for n, e in enumerate(entries)]
    known = {
        path: replace(known, speech_db=known.speech_db - 12 * (entry.speaker == "b"))
        for entry in speakers
        for path, known in measures.items()
        if path == entry.audio_path
    }
    settings = {"sample_rate": RATE, "segment_seconds": SEGMENT_SECONDS}
    assert find_in_audio(add_measures(speakers, known, {}), {}, **settings) == []
    issues = find_in_audio(add_measures([*speakers[::2], speakers[1]], known, {}), {}, **settings)
    assert issues == []  # one recording of "b" says nothing
    one = [replace(entry, speaker=None) for entry in [*speakers[::2], speakers[1]]]
    found = find_in_audio(add_measures(one, known, {}), {}, **settings)
    assert [f.line for f in found] == [2]


def test_what_all_have_is_said_once(
    entries: list[Entry], measures: dict[Path, AudioMeasures]
) -> None:
    settings = {"sample_rate": 44100, "segment_seconds": 0.2}
    issues = find_in_audio(add_measures(entries, measures, {}), {}, **settings)
    assert [(f.rule.name, f.line) for f in issues] == [("lower-rate", None)]
    assert issues[0].message.startswith("all 16 recordings, such as ")
    assert "22,050 Hz, the training has 44,100 Hz" in issues[0].message


def test_no_recordings(entries: list[Entry]) -> None:
    missing = [replace(entry, audio_path=None) for entry in entries]
    settings = {"sample_rate": RATE, "segment_seconds": SEGMENT_SECONDS}
    assert find_in_audio(add_measures(missing, {}, {}), {}, **settings) == []
    assert find_in_audio(add_measures(entries, {}, {}), {}, **settings) == []
