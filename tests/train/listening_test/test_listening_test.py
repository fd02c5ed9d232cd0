"""Pairs are balanced, sounds alike, results become preferences; the command does both."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_evaluations import EVIL, make_evaluation

from piper.errors import DatasetError, EvaluationError
from piper.files import write_json
from piper.train.command import run_subcommand
from piper.train.data.audio import measure_loudness
from piper.train.listening_test import make_listening_test, summarise_listening_test
from piper.train.listening_test.making import (
    LOUDNESS_LUFS,
    SILENCE_SECONDS,
    match_sounds,
    plan_pairs,
)
from piper.train.listening_test.preferences import (
    compare_with_half,
    summary_to_text,
)

RATE = 16000
HEADS = ["test", "listener", "pair", "sentence", "left", "right", "choice", "seconds", "comment"]


def babble(seconds: float, level: float, silence_seconds: float = 0.0) -> np.ndarray:
    """Noise in syllables, quiet at both ends."""
    dice = np.random.default_rng(0)
    times = np.arange(round(seconds * RATE)) / RATE
    sound = level * dice.standard_normal(len(times)) * np.abs(np.sin(8 * times))
    quiet = 1e-5 * dice.standard_normal(round(silence_seconds * RATE))
    return np.concatenate([quiet, sound, quiet]).astype(np.float32)


def write_systems(folder: Path, labels: str, count: int) -> dict[str, list[Path]]:
    systems: dict[str, list[Path]] = {}
    for level, label in enumerate(labels, start=1):
        systems[label] = [folder / f"{label}{number}.wav" for number in range(count)]
        for number, path in enumerate(systems[label]):
            soundfile.write(path, babble(0.5 + number / 10, 0.03 * level), RATE)
    return systems


def read_data(path: Path) -> dict[str, object]:
    found = re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


def write_result(path: Path, rows: list[list[object]], heads: list[str] = HEADS) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([heads, *rows])
    return path


@pytest.mark.parametrize("labels", ["ab", "abc", "abcd"])
@pytest.mark.parametrize("most", [None, 7])
def test_pairs_are_balanced_and_a_sentence_comes_back_late(labels: str, most: int | None) -> None:
    pairs = plan_pairs(labels, 9, seed=1, most=most)
    num_systems = math.comb(len(labels), 2)
    assert len(pairs) == (most or 9 * num_systems)
    assert len({(p.sentence, frozenset((p.left, p.right))) for p in pairs}) == len(pairs)
    systems = Counter(frozenset((p.left, p.right)) for p in pairs)
    assert max(systems.values()) - min(systems.values()) <= 1 or most is None
    for system in systems:
        left = Counter(p.left for p in pairs if {p.left, p.right} == system)
        counts = [left[label] for label in system]
        assert abs(counts[0] - counts[1]) <= 1
    assert all(before.sentence != after.sentence for before, after in pairwise(pairs))


def test_the_seed_alone_gives_the_order() -> None:
    first, again, other = (plan_pairs("ab", 12, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert [pair.sentence for pair in first] != list(range(12))
    # No side and no order that could be guessed: neither all alike nor in turns.
    sides = "".join(pair.left for pair in first)
    assert sides not in ("ab" * 6, "ba" * 6)


def test_sounds_are_alike_in_loudness_and_silence() -> None:
    quiet, loud = babble(1.5, 0.01, 0.8), babble(1.5, 0.2, 0.1)
    matched = match_sounds([(quiet, RATE), (loud, RATE)])
    silence = round(SILENCE_SECONDS * RATE)
    for sound in matched:
        assert measure_loudness(sound, RATE) == pytest.approx(LOUDNESS_LUFS, abs=0.3)
        first, last = np.flatnonzero(np.abs(sound) > 0.01)[[0, -1]]
        assert silence < first < silence + 0.12 * RATE
        assert silence < len(sound) - last < silence + 0.12 * RATE
        assert not sound[:silence].any()
    assert len(matched[0]) == pytest.approx(len(matched[1]), abs=0.05 * RATE)


def test_peaks_bring_all_down_to_the_same_loudness() -> None:
    sharp = babble(1.5, 0.001)
    sharp[::800] = 0.9
    matched = match_sounds([(sharp, RATE), (babble(1.5, 0.1), RATE)])
    loudness = [measure_loudness(sound, RATE) for sound in matched]
    assert loudness[0] == pytest.approx(loudness[1], abs=0.3)
    assert loudness[0] < LOUDNESS_LUFS - 1
    assert max(float(np.abs(sound).max()) for sound in matched) <= 1.0


def test_silence_stays_silence() -> None:
    silent, heard = match_sounds([(np.zeros(RATE, np.float32), RATE), (babble(1.0, 0.1), RATE)])
    assert not silent.any()
    assert measure_loudness(heard, RATE) == pytest.approx(LOUDNESS_LUFS, abs=0.3)


def test_the_page_holds_each_sound_once_and_no_names(tmp_path: Path) -> None:
    systems = write_systems(tmp_path, "xyz", 3)
    systems = {f"voice-{label}": files for label, files in systems.items()}
    path = tmp_path / "new" / "listen.html"
    assert make_listening_test(systems, path, texts=["One.", EVIL, "Three."]) == 9
    assert [other.name for other in path.parent.iterdir()] == ["listen.html"]
    source, data = path.read_text(encoding="utf-8"), read_data(path)
    assert len(data["sounds"]) == 9  # type: ignore[arg-type]
    assert not re.search(r"voice-[xyz]", source)
    assert "http" not in source.replace("http-equiv", "")
    assert "<script>alert" not in source
    pairs: list[dict[str, object]] = data["pairs"]  # type: ignore[assignment]
    assert {pair["text"] for pair in pairs} == {"One.", EVIL, "Three."}
    heard = {}
    for pair in pairs:
        name, *sides = json.loads(base64.b64decode(str(pair["about"])))
        heard |= {
            (name[-1], side): index for side, index in zip(sides, pair["sounds"], strict=True)
        }  # type: ignore[call-overload]
    assert sorted(heard.values()) == list(range(9))
    # Sentences differ in length, so what is heard is what was given.
    for (number, _), index in heard.items():
        kind, content = data["sounds"][index].split(",")  # type: ignore[index]
        assert kind == "data:audio/flac;base64"
        samples, _ = soundfile.read(io.BytesIO(base64.b64decode(content)))
        assert len(samples) / RATE == pytest.approx(0.9 + int(number) / 10, abs=0.06)


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    systems = write_systems(tmp_path, "xy", 2)
    page = tmp_path / "listen.html"
    for wrong, said in (
        ({"x": systems["x"]}, "two systems or more"),
        ({"x": systems["x"], "y": systems["y"][:1]}, "there are x 2, y 1"),
        ({"x": [], "y": []}, "a sentence that all systems spoke"),
    ):
        with pytest.raises(EvaluationError, match=said):
            make_listening_test(wrong, page)
    with pytest.raises(EvaluationError, match="there are 1 and 2"):
        make_listening_test(systems, page, names=["one"])
    systems["y"][1].write_bytes(b"RIFF")
    with pytest.raises(DatasetError, match="cannot be decoded"):
        make_listening_test(systems, page)
    assert not page.exists()


def test_preferences_have_intervals_and_a_verdict_where_p_is_small(
    tmp_path: Path,
) -> None:
    def answer(pair: int, choice: str, *, is_turned: bool = False) -> list[object]:
        sides = ["b", "a"] if is_turned else ["a", "b"]
        return ["t1", "ann", pair, f"s{pair}", *sides, choice, 3.2, 'so, "so"']

    rows = [answer(number, "right") for number in range(7)]
    rows += [answer(number, "left", is_turned=True) for number in range(7, 12)]
    rows += [answer(12, "left"), answer(13, "none"), answer(14, "none")]
    first = write_result(tmp_path / "first.csv", rows)
    summary = summarise_listening_test([first])
    (one,) = summary.preferences
    assert (one.first, one.second) == ("a", "b")
    assert (one.num_first, one.num_second, one.num_none) == (1, 12, 2)
    assert one.share == pytest.approx(12 / 13)
    assert one.p_value == pytest.approx(2 * 14 / 2**13)
    assert one.better == "b"
    assert summary.left_share == pytest.approx(6 / 13)
    # A result given again counts once, its later answers win; another listener counts beside.
    again = write_result(tmp_path / "again.csv", [*rows[:-1], answer(14, "left")])
    other = write_result(tmp_path / "other.csv", [["t1", "bob", 1, "s1", "a", "b", "left", 1, ""]])
    more = summarise_listening_test([first, again, str(other)])
    assert (more.num_listeners, more.num_choices) == (2, 16)
    assert (more.preferences[0].num_first, more.preferences[0].num_none) == (3, 1)
    text = summary_to_text(summary)
    assert "a: 1, b: 12, no difference: 2; b 92 % (67 to 99 %)" in text.replace(" % to", " to")
    assert "sign test 0.003: b is better" in text
    few = summarise_listening_test([write_result(tmp_path / "few.csv", rows[:5])])
    assert few.preferences[0].better is None
    assert "no difference shown" in summary_to_text(few)


def test_a_share_has_the_interval_and_the_p_value_of_the_books() -> None:
    for count, total, share in ((0, 5, 2 / 2**5), (3, 10, 352 / 2**10), (12, 13, 28 / 2**13)):
        low, high, p_value = compare_with_half(count, total)
        assert p_value == pytest.approx(share)
        # E. B. Wilson, 1927, by the formula.
        square, part = 1.959964**2, count / total
        half = 1.959964 * (part * (1 - part) / total + square / (4 * total**2)) ** 0.5
        middle = part + square / (2 * total)
        ends = [(middle + sign * half) / (1 + square / total) for sign in (-1, 1)]
        assert [low, high] == pytest.approx(ends, abs=1e-6)
    assert compare_with_half(0, 0) == (0.0, 1.0, 1.0)


def test_results_that_are_none(tmp_path: Path) -> None:
    good = ["t1", "ann", 1, "s1", "a", "b", "left", 1, ""]
    for rows, heads, said in (
        ([], HEADS, "no answer"),
        ([[*good[:6], "middle", 1, ""]], HEADS, 'line 2 says "middle"'),
        ([good], ["other", *HEADS[1:]], "line 2 has no test"),
    ):
        path = write_result(tmp_path / "result.csv", rows, heads)
        with pytest.raises(EvaluationError, match=said):
            summarise_listening_test([path])
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EvaluationError, match="no CSV in UTF-8"):
        summarise_listening_test([path])


def test_the_command_reads_a_report_and_results(
    speech_dataset: Path,
    tiny_voice: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*arguments: str) -> str:
        assert run_subcommand(["listening-test", *arguments]) == 0
        return capsys.readouterr().out

    made = tmp_path / "made"
    made.mkdir()
    write_json(
        made / "report.json", make_evaluation(speech_dataset, tiny_voice, made).to_dict(made)
    )
    # What lies beside a report is named from there, so that the folder can be moved.
    report, page = made.rename(tmp_path / "moved") / "report.json", tmp_path / "listen.html"
    result = run("--report", str(report), "-o", str(page), "--most", "3")
    assert result == f"{page}: 3 pairs of anna, boris\n"
    assert len(read_data(page)["pairs"]) == 3  # type: ignore[arg-type]
    result = run("--report", str(report), "-o", str(page), "--systems", "recordings,anna,boris")
    # Four sentences with three pairs of systems; words and letters are left out.
    assert result == f"{page}: 12 pairs of recordings, anna, boris\n"
    before = report.read_bytes()
    assert run_subcommand(["listening-test", "--report", str(report), "-o", str(report)]) == 1
    assert "report.json is read by this run (--report)" in capsys.readouterr().err
    assert report.read_bytes() == before
    # The page is given away: it carries no recording of this machine that a report merely names.
    said = json.loads(before)
    said["systems"][1]["sentences"][0]["audio"] = str(speech_dataset / "wavs" / "utterance009.wav")
    report.write_text(json.dumps(said), encoding="utf-8")
    page.unlink()
    assert run_subcommand(["listening-test", "--report", str(report), "-o", str(page)]) == 1
    assert "utterance009.wav lies outside of" in capsys.readouterr().err
    said["systems"][1]["sentences"][0]["audio"] = "gone.wav"
    report.write_text(json.dumps(said), encoding="utf-8")
    assert run_subcommand(["listening-test", "--report", str(report), "-o", str(page)]) == 1
    assert "names gone.wav, which is not there" in capsys.readouterr().err
    assert not page.exists()
    csv_path = write_result(
        tmp_path / "r.csv", [["t", "l", 1, "s", "anna", "boris", "left", 1, ""]]
    )
    result = run("--results", str(csv_path))
    assert result.startswith("1 answer of 1 listener; A was chosen in 100 %")


def test_the_command_s_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        assert run_subcommand(["listening-test", *arguments]) == 1
        return capsys.readouterr().err

    report = tmp_path / "report.json"
    report.write_text('{"systems": [{"label": "a"}]}', encoding="utf-8")
    none = run("--report", str(report), "-o", str(tmp_path / "x.html"))
    assert none.startswith(f"error: {report} is no report of an evaluation; give the")
    unknown = run("--report", str(report), "--systems", "a,z")
    assert unknown == f"error: {report} has no system z; there are a.\n"
    assert run("--report", str(tmp_path / "none.json")).count("\n") == 1
    assert not (tmp_path / "x.html").exists()
