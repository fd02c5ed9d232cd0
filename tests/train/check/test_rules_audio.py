"""Each defect is planted in a recording among sound ones, and found there and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from made_reports import SETTINGS, found, read_dataset

from piper.errors import DatasetError
from piper.train.check.entries import Entry
from piper.train.check.issues import Group, Issue, Severity
from piper.train.check.measuring import measure_recording
from piper.train.check.rules_audio import find_in_audio
from piper.train.check.run import RULES

RATE = 22050
PLANTED = "planted.wav"
Planted = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def entries(speech_dataset: Path) -> list[Entry]:
    return [
        replace(entry, audio=measure_recording(entry.audio_path))
        for entry in read_dataset(speech_dataset)
        if entry.audio_path is not None
    ]


@pytest.fixture(scope="module")
def speech(entries: list[Entry]) -> np.ndarray:
    assert entries[3].audio_path is not None
    samples, _ = soundfile.read(entries[3].audio_path, dtype="float32")
    return samples


Check = Callable[..., list[Issue]]


def find(entries: Sequence[Entry], training_rate: int = RATE) -> list[Issue]:
    return find_in_audio(entries, {}, replace(SETTINGS, sample_rate=training_rate))


@pytest.fixture
def check(entries: list[Entry], tmp_path: Path) -> Check:
    """Check the sound recordings and, in another line, a planted one."""

    def check(
        planted: np.ndarray | Path, rate: int = RATE, training_rate: int = RATE
    ) -> list[Issue]:
        path = planted if isinstance(planted, Path) else tmp_path / PLANTED
        if not isinstance(planted, Path):
            soundfile.write(path, planted, rate)
        line = Entry(99, PLANTED, path, None, "Не такой, как остальные.")
        errors = {}
        try:
            line = replace(line, audio=measure_recording(path))
        except DatasetError as error:
            errors[path] = str(error)
        settings = replace(SETTINGS, sample_rate=training_rate)
        return find_in_audio([*entries, line], errors, settings)

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


def knock(_: np.ndarray) -> np.ndarray:
    samples = silence(1.5)
    tone = np.sin(2 * np.pi * 300 * np.arange(1000) / RATE)
    samples[15000:16000] += 0.3 * np.hanning(1000) * tone
    return samples


@pytest.mark.parametrize(
    ("spoil", "rules"),
    [
        (lambda x: x * 0.9, set()),
        (lambda _: silence(3), {"silence"}),
        (lambda _: np.zeros(3 * RATE, np.float32), {"silence"}),
        # Channels that cancel each other out are silence when they are mixed.
        (lambda x: np.stack([x, -x], axis=1), {"silence", "not-mono"}),
        (lambda x: np.stack([x, x * 0.8], axis=1), {"not-mono"}),
        (lambda _: 0.2 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE), {"no-speech"}),
        (lambda _: add_noise(np.zeros(2 * RATE), -25), {"no-speech"}),
        (knock, {"no-speech"}),
        (lambda x: x * 0.8 - 0.05, {"dc-offset"}),
        (lambda x: x * 0.8 - 0.005, set()),
        (lambda x: x * 0.05, {"quiet"}),
        (lambda x: add_noise(x * 0.9, -42), {"noise"}),
        (lambda x: add_noise(x, -30), {"noise"}),  # also at the edges, which is no cut
        (lambda x: add_noise(x * 0.9, -55), set()),
        # Cut to the word, a short recording's quietest tenth is a quiet sound, and no noise.
        (lambda x: cut_out(x, 0.6), set()),
    ],
)
def test_what_is_wrong_with_a_signal(
    check: Check, speech: np.ndarray, spoil: Planted, rules: set[str]
) -> None:
    assert names_of(check(spoil(speech))) == rules


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


@pytest.mark.parametrize("gain_db", [-11, 11])
def test_loudness_spread(check: Check, speech: np.ndarray, gain_db: float) -> None:
    # Limited softly, so that the louder one has no flat tops.
    issues = check(np.tanh(speech * 10 ** (gain_db / 20)))
    assert names_of(issues) == {"loudness-spread"}
    assert ("louder" if gain_db > 0 else "quieter") in issues[0].message


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
    assert issues[0].span[0] == pytest.approx(len(speech) / RATE - 0.6, abs=0.1)


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


def test_the_same_audio_twice(check: Check, entries: list[Entry], speech: np.ndarray) -> None:
    issues = check(speech)
    assert found(issues) == [("same-audio-other-text", 4), ("same-audio-other-text", 99)]
    assert issues[0].rule.severity is Severity.ERROR
    assert "line 99 (planted.wav), which says 'Не такой" in issues[0].message
    copy = replace(entries[3], line=99, name=PLANTED, audio_path=Path(PLANTED))
    issues = find([*entries, copy])
    assert names_of(issues) == {"same-audio"}
    assert issues[0].message == f"as line 4 ({entries[3].name})"
    # One file in two lines is found in the CSV.
    assert find([*entries, replace(entries[3], line=99)]) == []


def test_a_speaker_is_compared_with_himself(entries: list[Entry]) -> None:
    speakers = [replace(e, speaker="ab"[n % 2]) for n, e in enumerate(entries)]
    for n, entry in enumerate(speakers):
        assert entry.audio is not None
        if entry.speaker == "b":
            quieter = replace(entry.audio, speech_db=entry.audio.speech_db - 12)
            speakers[n] = replace(entry, audio=quieter)
    assert find(speakers) == []
    some = [*speakers[::2], speakers[1]]
    assert find(some) == []  # one recording of "b" says nothing
    assert [f.line for f in find([replace(entry, speaker=None) for entry in some])] == [2]


def test_what_all_have_is_said_once(entries: list[Entry]) -> None:
    issues = find(entries, 44100)
    assert found(issues) == [("lower-rate", None)]
    assert issues[0].message.startswith("all 16 recordings, such as ")
    assert "22,050 Hz, the training has 44,100 Hz" in issues[0].message


def test_no_recordings(entries: list[Entry]) -> None:
    assert find([replace(entry, audio_path=None, audio=None) for entry in entries]) == []
    assert find([replace(entry, audio=None) for entry in entries]) == []
