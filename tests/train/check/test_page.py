"""report.html and report.json: whole in one file, escaped, within their budget, to be heard."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_reports import LEVELS, MISSING, SILENCE, make_issues, make_report, read_dataset
from page_reader import Page, check_page, find_english, show_in

from piper.files import write_json
from piper.train.check.entries import Entry
from piper.train.check.issues import CheckReport, Issue
from piper.train.check.page import collect_distributions, write_report_page
from piper.train.check.rules_audio import LONG_SECONDS, MIN_SECONDS
from piper.train.check.run import RULES
from piper.train.pages.excerpts import MAX_SECONDS

DATA = re.compile(r"data:([a-z/]+);base64,([A-Za-z0-9+/=]+)")
EVIL = '<script>alert(1)</script> & "quoted" <img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def entries(speech_dataset: Path) -> list[Entry]:
    return read_dataset(speech_dataset)


@pytest.fixture(scope="module")
def report(speech_dataset: Path, entries: list[Entry]) -> CheckReport:
    evil = [replace(entries[0], text=EVIL), *entries[1:]]
    first = Issue(LEVELS, EVIL, 1, entries[0].name, 9.0, (0.1, 0.2))
    return make_report(speech_dataset, [*make_issues(entries), first], evil)


@pytest.fixture(scope="module")
def source(report: CheckReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report_page(report, path)
    assert [other.name for other in path.parent.iterdir()] == ["report.html"]
    return show_in("en", path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_verdict_facts_tables_and_rules(page: Page, report: CheckReport) -> None:
    text = page.text
    assert "Not ready" in text
    assert "1 rule stands in the way: missing-file" in text
    for said in ("16 recordings, 0.01 hours", "held out", "ʑ", "1,204", "50.0 %"):
        assert said in text
    for issue in report.issues:
        rule = issue.rule
        for said in (rule.name, rule.summary, rule.threshold, rule.advice, issue.message):
            assert said in text, said
    links = {attributes.get("href") for attributes in page.find("a")}
    assert f"#rule-{SILENCE.name}" in links
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {link[1:] for link in links if link} <= ids


def test_the_worst_five_are_shown_and_the_others_listed(source: str, page: Page) -> None:
    section = source[source.index(f'id="rule-{SILENCE.name}"') :]
    section = section[: section.index("</section>")]
    lines = re.findall(r"<h4[^>]*>utterance\d+\.wav · line (\d+)</h4>", section)
    assert lines == ["8", "7", "6", "5", "4"]
    assert "<summary>3 more</summary>" in section
    assert section.count("<audio") == 5
    assert section.count('class="span"') == 10  # over the waveform and over the spectrogram


def test_texts_show_as_they_are_and_nothing_is_loaded(source: str, page: Page) -> None:
    assert page.text.count(EVIL) == 2  # as the text and as the message
    check_page(page, source)


def test_audio_is_heard_in_full(source: str, report: CheckReport) -> None:
    found = {}
    for name, address in re.findall(r'<audio [^>]*aria-label="([^"]+)" src="([^"]+)"', source):
        kind, data = DATA.fullmatch(address).groups()  # type: ignore[union-attr]
        assert kind == "audio/mpeg"
        found[name] = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float32")
    # Five of one rule, and the first of another; the eighth is in both, but embedded once.
    assert sorted(found) == [f"utterance{number:03}.wav" for number in (1, 4, 5, 6, 7, 8)]
    for name, (samples, rate) in found.items():
        original, original_rate = soundfile.read(report.folder / "wavs" / name, dtype="float32")
        assert (len(samples), rate) == (len(original), original_rate)
        assert np.corrcoef(samples, original)[0, 1] > 0.99


def test_a_recording_shown_twice_is_embedded_once(source: str, page: Page) -> None:
    assert len(page.find("image")) == len(page.find("audio")) == 6
    (again,) = page.find("use")
    assert again["href"] in {f"#{a['id']}" for a in page.find("image")}
    assert "Listen to it above" in page.text
    assert f"at “{SILENCE.summary}”" in page.text


def test_distributions_have_axes_units_and_thresholds(source: str, page: Page) -> None:
    assert len([a for a in page.find("svg") if a["class"] == "histogram"]) == 5
    for unit in ("s", "dB", "dB of full scale", "phonemes a second"):
        assert f">{unit}</text>" in source
    # A near threshold has a line, a far one only words.
    assert "<title>too-short</title>" in source
    assert "<title>too-long</title>" not in source
    assert f"too-short {MIN_SECONDS}, too-long {LONG_SECONDS:g}" in page.text


def test_the_budget_is_kept_and_what_is_left_out_is_said(
    report: CheckReport, source: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    silent = replace(report, issues=[])
    write_report_page(silent, path)
    least = path.stat().st_size
    write_report_page(report, path, budget_bytes=0)
    without_audio = path.read_text(encoding="utf-8")
    assert "<audio" not in without_audio
    assert "Without audio: 6 recordings of those below" in without_audio
    budget = (len(without_audio.encode()) + len(source.encode())) // 2
    write_report_page(report, path, budget_bytes=budget)
    assert least < path.stat().st_size <= budget
    text = path.read_text(encoding="utf-8")
    heard = re.findall(r'<audio [^>]*aria-label="([^"]+)"', text)
    assert 1 <= len(heard) < 6
    # The worst of each rule comes before the second of any.
    assert "utterance008.wav" in heard
    assert f"Without audio: {6 - len(heard)} recording" in text
    assert text.count("Without audio, since the page is full.") >= 6 - len(heard)
    assert Page(text).find("image")


def test_what_cannot_be_shown_is_said(report: CheckReport, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF, and no more")
    entry = Entry(3, "broken.wav", broken, None, "Текст.")
    unread = make_report(report.folder, [Issue(MISSING, "cannot be read", 3, "broken.wav")])
    write_report_page(replace(unread, entries=[entry]), tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "The recording cannot be decoded." in text
    assert "cannot be read" in text


def test_a_set_without_recordings_and_issues(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report_page(CheckReport(tmp_path, [], []), path)
    page = Page(path.read_text(encoding="utf-8"))
    assert "Ready" in page.text
    assert f"python -m piper.train fit --data.dataset_dir={tmp_path}" in page.text
    assert not page.find("table", "figure", "audio")


def test_names_that_are_no_utf8(report: CheckReport, tmp_path: Path) -> None:
    issue = Issue(MISSING, "not in wavs/", 99, "a\udcff\x00.wav")
    odd = replace(report, issues=[issue])
    write_report_page(odd, tmp_path / "report.html")
    assert "a\ufffd\ufffd.wav" in (tmp_path / "report.html").read_text(encoding="utf-8")
    write_json(tmp_path / "report.json", odd.to_dict())
    read = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert read["rules"][0]["findings"][0]["name"] == issue.name


def test_a_long_recording_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    tone = np.zeros(16000 * 50, dtype=np.float32)
    tone[16000 * 45 :] = 0.3 * np.sin(np.arange(16000 * 5) / 5)
    soundfile.write(tmp_path / "wavs" / "long.wav", tone, 16000)
    (tmp_path / "metadata.csv").write_text("long.wav|Текст.\n", encoding="utf-8")
    issue = Issue(SILENCE, "45 s", 1, "long.wav", span=(40.0, 45.0))
    write_report_page(make_report(tmp_path, [issue]), tmp_path / "report.html")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "20.00 to 50.00 s of 50.0 s at 16,000 Hz; marked: 40.00 to 45.00 s" in source
    (audio,) = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', source)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(audio)))
    assert len(samples) == MAX_SECONDS * rate
    # It begins at second 20, so the tone begins after 25 of its 30 seconds.
    assert np.abs(samples[: 24 * rate]).max() < 0.01 < 0.2 < np.abs(samples[26 * rate :]).max()


def change_entries(report: CheckReport, **changes: object) -> CheckReport:
    return replace(report, entries=[replace(one, **changes) for one in report.entries])


def test_characters_are_counted_where_there_are_no_phonemes(report: CheckReport) -> None:
    with_texts = collect_distributions(report)
    without = collect_distributions(change_entries(report, read=None))
    assert (with_texts[-1].unit, without[-1].unit) == ("phonemes a second", "characters a second")
    # What is no number (digital silence between the words) is not drawn.
    odd = [
        replace(entry, audio=replace(entry.audio, floor_db=float("-inf")) if entry.audio else None)
        for entry in report.entries
    ]
    titles = {distribution.title for distribution in with_texts}
    left = {
        distribution.title for distribution in collect_distributions(replace(report, entries=odd))
    }
    assert titles - left == {"Noise below the speech"}


def test_in_russian_no_english_is_left(
    report: CheckReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGUAGE", "ru")
    issues = [
        Issue(rule, "nothing was recognised", 1 + number % 8, f"utterance{number % 8:03}.wav")
        for number, rule in enumerate(RULES)
    ]
    whole = replace(
        report,
        issues=issues,
        not_looked_at=["texts and recordings"],
        facts={"The set": {"hours": "0.01", "length": "1.0 to 2.0 s, median 1.5 s"}},
    )
    write_report_page(whole, tmp_path / "report.html", budget_bytes=400_000)
    left = find_english((tmp_path / "report.html").read_text(encoding="utf-8"))
    names = {word for rule in RULES for word in rule.name.split()}
    # A path of Windows, the bytes of a mark, what espeak-ng says, a voice's name: no words of ours.
    others = {"Windows", "BOM", "EF", "BB", "BF", "NaN", "wav", "OUT", "Chinese", "letter"}
    assert left <= names | others | {"espeak", "pinyin", report.folder.name}
