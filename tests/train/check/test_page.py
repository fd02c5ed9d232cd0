"""report.html and report.json: whole in one file, escaped, within their budget, to be heard."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_reports import LEVELS, MISSING, SILENCE, find_all, make_report, read_dataset
from PIL import Image

from piper.train.check.distributions import find_distributions
from piper.train.check.entries import Entry
from piper.train.check.excerpts import (
    MAX_SECONDS,
    PALETTE,
    find_excerpt,
    levels_to_png,
    samples_to_audio,
    samples_to_levels,
)
from piper.train.check.findings import Finding
from piper.train.check.page import write_report_json, write_report_page
from piper.train.check.page_drawings import draw_histogram, draw_wave, format_number
from piper.train.check.report import CheckReport
from piper.train.check.rules_audio import LONG_SECONDS
from piper.train.check.rules_recording import LEAST_SECONDS

VOID = {"meta", "br", "img", "link", "input", "hr"}
DATA = re.compile(r"data:([a-z/]+);base64,([A-Za-z0-9+/=]+)")
EVIL = '<script>alert(1)</script> & "quoted" <img src=x onerror=alert(2)>'


class Page(HTMLParser):
    """A page's elements, attributes and text; open and close tags must agree."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    def find(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture(scope="module")
def entries(speech_dataset: Path) -> list[Entry]:
    return read_dataset(speech_dataset)


@pytest.fixture(scope="module")
def report(speech_dataset: Path, entries: list[Entry]) -> CheckReport:
    evil = [replace(entries[0], text=EVIL), *entries[1:]]
    first = Finding(LEVELS, EVIL, 1, entries[0].name, 9.0, (0.1, 0.2))
    return make_report(speech_dataset, [*find_all(entries), first], evil)


@pytest.fixture(scope="module")
def source(report: CheckReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report_page(report, path)
    assert [other.name for other in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_verdict_facts_tables_and_rules(page: Page, report: CheckReport) -> None:
    text = page.text
    assert "Not ready" in text
    assert "1 rule stands in the way: missing-file" in text
    for said in ("16 recordings, 0.01 hours", "held out", "ʑ", "1,204", "50.0 %"):
        assert said in text
    for finding in report.findings:
        rule = finding.rule
        for said in (rule.name, rule.summary, rule.threshold, rule.advice, finding.message):
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


def test_texts_show_as_they_are(source: str, page: Page) -> None:
    assert not page.find("script", "img", "iframe", "object", "link", "base")
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    assert page.text.count(EVIL) == 2  # as the text and as the message
    assert "<script" not in source


def test_nothing_is_loaded_from_elsewhere(source: str, page: Page) -> None:
    assert "http://" not in source
    assert "https://" not in source
    assert "@import" not in source
    assert "url(" not in source
    addresses = [
        attributes[name] or ""
        for _, attributes in page.tags
        for name in ("src", "href", "srcset", "poster", "data", "action")
        if name in attributes
    ]
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    (policy,) = [m["content"] for m in page.find("meta") if "http-equiv" in m]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")


def test_headings_are_in_order_and_pictures_have_words(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(a["role"] == "img" and a["aria-label"] for a in page.find("svg"))
    assert all(a["aria-label"] and "controls" in a for a in page.find("audio"))
    assert len(page.find("thead")) == len(page.find("table"))
    assert all(a["scope"] == "col" for a in page.find("th"))
    assert page.tags[0] == ("html", {"lang": "en"})


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
    assert f"too-short {LEAST_SECONDS}, too-long {LONG_SECONDS:g}" in page.text


def test_the_budget_is_kept_and_what_is_left_out_is_said(
    report: CheckReport, source: str, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    silent = replace(report, findings=[])
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
    unread = make_report(report.folder, [Finding(MISSING, "cannot be read", 3, "broken.wav")])
    write_report_page(replace(unread, entries=[entry]), tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "The recording cannot be decoded." in text
    assert "cannot be read" in text


def test_a_set_without_recordings_and_findings(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report_page(CheckReport(tmp_path, [], {}, {}, []), path)
    page = Page(path.read_text(encoding="utf-8"))
    assert "Ready" in page.text
    assert f"python -m piper.train fit --data.dataset_dir={tmp_path}" in page.text
    assert not page.find("table", "figure", "audio")


def test_names_that_are_no_utf8(report: CheckReport, tmp_path: Path) -> None:
    finding = Finding(MISSING, "not in wavs/", 99, "a\udcff\x00.wav")
    odd = replace(report, findings=[finding])
    write_report_page(odd, tmp_path / "report.html")
    assert "a\ufffd\ufffd.wav" in (tmp_path / "report.html").read_text(encoding="utf-8")
    write_report_json(odd, tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert read["rules"][0]["findings"][0]["name"] == finding.name


def test_json_is_the_report(report: CheckReport, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    write_report_json(report, path)
    text = path.read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(json.dumps(report.to_dict()))
    assert "ʑ is heard 3 times" in text
    assert [other.name for other in path.parent.iterdir()] == ["report.json"]


def test_of_a_long_recording_the_surroundings_are_shown(report: CheckReport) -> None:
    path = Path("a.wav")
    assert find_excerpt(path, 12.0, None).seconds == 12.0
    assert find_excerpt(path, 600.0, None).start_seconds == 0.0
    around = find_excerpt(path, 600.0, (300.0, 310.0))
    assert (around.start_seconds, around.seconds) == (290.0, MAX_SECONDS)
    assert find_excerpt(path, 600.0, (599.0, 600.0)).start_seconds == 570.0


def test_a_long_recording_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    tone = np.zeros(16000 * 50, dtype=np.float32)
    tone[16000 * 45 :] = 0.3 * np.sin(np.arange(16000 * 5) / 5)
    soundfile.write(tmp_path / "wavs" / "long.wav", tone, 16000)
    (tmp_path / "metadata.csv").write_text("long.wav|Текст.\n", encoding="utf-8")
    finding = Finding(SILENCE, "45 s", 1, "long.wav", span=(40.0, 45.0))
    write_report_page(make_report(tmp_path, [finding]), tmp_path / "report.html")
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "20.00 to 50.00 s of 50.0 s at 16,000 Hz; marked: 40.00 to 45.00 s" in source
    (audio,) = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', source)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(audio)))
    assert len(samples) == MAX_SECONDS * rate
    # It begins at second 20, so the tone begins after 25 of its 30 seconds.
    assert np.abs(samples[: 24 * rate]).max() < 0.01 < 0.2 < np.abs(samples[26 * rate :]).max()


@pytest.mark.parametrize("rate", [8000, 11025, 18000, 22050, 44100, 96000])
@pytest.mark.parametrize("encoding", ["MP3", "FLAC"])
def test_every_rate_can_be_heard_at_its_length(rate: int, encoding: str) -> None:
    samples = (1.5 * np.sin(np.arange(rate) * 2 * np.pi * 300 / rate)).astype(np.float32)
    read, read_rate = soundfile.read(io.BytesIO(samples_to_audio(samples, rate, encoding)))
    assert len(read) / read_rate == pytest.approx(1.0, abs=1e-3)
    assert np.abs(read).max() > 0.9


def test_the_spectrogram_shows_pitch_and_time() -> None:
    rate = 16000
    samples = np.zeros(2 * rate, dtype=np.float32)
    samples[rate:] = 0.5 * np.sin(np.arange(rate) * 2 * np.pi * 6000 / rate)
    levels = samples_to_levels(samples, rate)
    assert levels.shape == (80, 320)
    row, column = np.unravel_index(int(levels.argmax()), levels.shape)
    assert row == pytest.approx(80 * (1 - 6000 / 8000), abs=1)
    assert column >= 158
    assert levels[:, :150].max() == 0
    image = Image.open(io.BytesIO(levels_to_png(levels)))
    assert image.size == (320, 80)
    colours = np.asarray(image.convert("RGB"))
    assert colours[row, column].tobytes() == PALETTE[-3:]
    assert colours[0, 0].tobytes() == PALETTE[:3]


@pytest.mark.parametrize("count", [1, 100, 5000])
def test_spectrograms_of_silence_and_of_clicks(count: int) -> None:
    samples = np.zeros(count, dtype=np.float32)
    assert samples_to_levels(samples, 16000).max() == 0
    samples[count // 2] = 1.0
    assert samples_to_levels(samples, 16000).max() == 15
    # Noise that is hardly there must not look louder than speech.
    noise = 0.0001 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    assert np.median(samples_to_levels(noise, 16000)) < 8
    assert np.median(samples_to_levels(100 * noise, 16000)) > 11


def test_a_histogram_counts_all_values() -> None:
    values = [float(value) for value in np.random.default_rng(1).normal(9.0, 2.0, 500)]
    svg = draw_histogram([*values, 3600.0], "s", {}, "a label")
    counts = [int(count) for count in re.findall(r" s: (\d+)</title>", svg)]
    assert sum(counts) == 501
    # One far off does not press all others into one bar.
    assert len(counts) > 10
    assert re.search(r">≥ \d+</text>", svg)
    assert ">≤" not in svg


@pytest.mark.parametrize("values", [[-69.0] * 5, [0.0], [1e-6, 2e-6], [0.0, 1e5]])
def test_histograms_of_odd_values(values: list[float]) -> None:
    svg = draw_histogram(values, "dB", {"limit": values[0]}, "a label")
    assert sum(map(int, re.findall(r" dB: (\d+)</title>", svg))) == len(values)
    assert "nan" not in svg
    assert 'class="limit"' in svg
    widths = [float(width) for width in re.findall(r'class="bar".*? width="([\d.]+)"', svg)]
    assert max(widths) < 100


def test_waves_are_thinned_but_keep_their_peaks() -> None:
    outline = [0.0] * 1000
    outline[501] = 1.0
    path = re.search(r' d="M([^"]+)Z"', draw_wave(outline, (0.5, 0.5), "a label"))
    assert path is not None
    points = [tuple(map(int, point.split())) for point in path[1].split("L")]
    assert len(points) == 500
    assert min(y for _, y in points) == 0
    assert draw_wave([], None, "a label").count("<path") == 0


def test_numbers_are_short() -> None:
    numbers = {0.254: "0.25", 9.61: "9.61", 18.04: "18", -0.001: "0", 1250.0: "1,250"}
    assert {value: format_number(value) for value in numbers} == numbers


def test_characters_are_counted_where_there_are_no_phonemes(report: CheckReport) -> None:
    with_texts = find_distributions(report)
    without = find_distributions(replace(report, texts={}))
    assert (with_texts[-1].unit, without[-1].unit) == ("phonemes a second", "characters a second")
    # What is no number (digital silence between the words) is not drawn.
    odd = {path: replace(m, floor_db=float("-inf")) for path, m in report.audio.items()}
    titles = {distribution.title for distribution in with_texts}
    left = {distribution.title for distribution in find_distributions(replace(report, audio=odd))}
    assert titles - left == {"Noise below the speech"}
