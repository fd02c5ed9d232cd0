"""The report's page: figures with intervals, verdicts, the worst sentences first, to be heard."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_evaluations import CLICK, EVIL
from page_reader import Page, check_page, find_english, show_in
from playwright.sync_api import Browser

from piper.files import write_json
from piper.train.evaluate.page import rank_sentences, write_report_page
from piper.train.evaluate.results import Comparison, Evaluation


@pytest.fixture(scope="module")
def path(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report_page(evaluation, path)
    assert [other.name for other in path.parent.iterdir()] == ["report.html"]
    return path


@pytest.fixture(scope="module")
def source(path: Path) -> str:
    return show_in("en", path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def find_row(source: str, title: str) -> str:
    (row,) = re.findall(rf"<tr><th scope=\"row\">(?:(?!</tr>).)*>{title}</a>.*?</tr>", source, re.S)
    return str(row)


def test_figures_stand_beside_those_of_the_recordings(source: str, page: Page) -> None:
    row = find_row(source, "DistillMOS")
    cells = re.findall(r'<td class="figure">([\d.–]+)<span class="interval">([^<]+)', row)
    assert cells == [
        ("4.04", "4.03 to 4.05"),
        ("3.45", "3.44 to 3.46"),
        ("2.96", "2.95 to 2.96"),
    ]
    size = find_row(source, "size, MB")
    assert re.findall(r'class="figure">([^<]+)<', size) == ["–", "63.2", "63.2"]
    for said in ("seed", "1234", "install pyloudnorm", "anna.onnx", "medium"):
        assert said in page.text


def test_better_and_worse_stand_only_where_the_interval_excludes_zero(
    source: str, page: Page
) -> None:
    assert ">▼ worse<" in find_row(source, "DistillMOS")
    assert ">▲ better<" in find_row(source, "speaker similarity")
    row = find_row(source, "phoneme error rate")
    assert "better<" not in row.replace("lower is better", "")
    assert "worse" not in row
    assert source.count('class="mark') == 2
    assert (
        "boris beside anna: better in speaker similarity; worse in DistillMOS; "
        "no difference shown in phoneme error rate." in page.text
    )
    assert 'title="than anna: −0.50 (−0.60 to −0.40)"' in source


def test_every_figure_is_explained_on_the_page(source: str, page: Page) -> None:
    links = {attributes["href"] for attributes in page.find("a")}
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link} <= set(ids)
    assert len(links) == 6
    assert "a scale from 1 (bad) to 5 (excellent)" in page.text
    assert "A predictor of your own. Higher is better." in page.text


def test_the_worst_sentence_comes_first(evaluation: Evaluation, source: str) -> None:
    ranked = rank_sentences(evaluation)
    names = [one.sentence.name for one in ranked]
    # Each value gets worse from sentence to sentence, and the second has a click.
    said = [one.sentence.name for one in evaluation.systems[0].spoken][:4]
    assert names == [said[3], said[2], said[1], said[0]]
    # The second: a third of the way to the worst in three groups, the worst in trouble.
    assert [one.badness for one in ranked] == pytest.approx([5 / 6, 7 / 12, 1 / 2, 1 / 12])
    heads = re.findall(r"<h3[^>]*>(\d)\. ([^<]+)</h3>", source)
    assert heads == [(str(number), name) for number, name in enumerate(names, start=1)]
    (second,) = (one for one in ranked if one.sentence.name == said[1])
    assert {(label, score.name) for label, score in second.stands_out} == {
        ("anna", "clicks"),
        ("boris", "clicks"),
    }
    assert "Among the worst by: clicks 1.00 (anna), clicks 1.00 (boris)." in Page(source).text


def test_troubles_are_marked_at_their_times(source: str) -> None:
    assert source.count(f"<li>{CLICK.message}, at 0.10 s</li>") == 2
    assert source.count('class="span"') == 2
    assert f"marked: {CLICK.message}" in source


def test_what_was_heard_is_shown_against_what_was_to_be_said(source: str) -> None:
    assert source.count('d a <del title="was to be said">ʂ</del> a</p>') == 3
    assert "d a ʂ a, as wanted</p>" in source


def test_words_and_letters_have_a_table_of_their_own(source: str) -> None:
    section = source[source.index("<h2>Words and letters</h2>") :]
    assert section.count("<audio") == 4
    assert ">да</span>" in section
    assert ">А</span>" in section


def test_texts_show_as_they_are_and_nothing_is_loaded(source: str, page: Page) -> None:
    assert page.text.count(EVIL) == 2  # as a sentence and as a fact
    check_page(page, source)


def test_audio_is_what_was_spoken(evaluation: Evaluation, source: str) -> None:
    found = dict(re.findall(r'aria-label="([^"]+)" src="data:audio/mpeg;base64,([^"]+)"', source))
    assert len(found) == 4 * 3 + 2 * 2
    spoken = evaluation.systems[1].spoken[0]
    original, rate = soundfile.read(spoken.audio)
    data = base64.b64decode(found[f"boris, {spoken.sentence.name}"])
    samples, heard_rate = soundfile.read(io.BytesIO(data))
    assert (len(samples), heard_rate) == (len(original), rate)
    assert np.corrcoef(samples, original)[0, 1] > 0.9


def test_the_budget_is_kept_and_what_is_left_out_is_listed(
    evaluation: Evaluation, path: Path, tmp_path: Path
) -> None:
    full = path.stat().st_size
    small = tmp_path / "report.html"
    write_report_page(evaluation, small, budget_bytes=full * 2 // 3)
    source = show_in("en", small.read_text(encoding="utf-8"))
    assert small.stat().st_size <= full * 2 // 3
    shown = len(re.findall(r"<h3[^>]*>\d\. ", source))
    assert 1 <= shown < 4
    assert f"the page would grow too large: {4 - shown}</summary>" in source
    write_report_page(evaluation, small, budget_bytes=0)
    source = show_in("en", small.read_text(encoding="utf-8"))
    assert "<audio" not in source
    assert "Some have no player" in source


def test_one_system_without_recordings_and_sound(evaluation: Evaluation, tmp_path: Path) -> None:
    system = evaluation.systems[0]
    gone = tuple(replace(spoken, audio=tmp_path / "gone.wav") for spoken in system.spoken)
    alone = replace(
        evaluation,
        recordings=None,
        systems=(replace(system, spoken=gone),),
        comparisons=(),
        missing=(),
    )
    write_report_page(alone, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "The sound cannot be decoded." in page.text
    assert "What is missing" not in page.text
    assert "anna: DistillMOS 3.45, phoneme error rate 0.102, speaker similarity 0.788." in page.text


def test_an_evaluation_that_found_nothing(evaluation: Evaluation, tmp_path: Path) -> None:
    system = replace(evaluation.systems[0], spoken=(), figures={})
    empty = Evaluation(tmp_path, None, (system,), (), (), (), {})
    write_report_page(empty, tmp_path / "report.html")
    assert "anna: no figures." in Page((tmp_path / "report.html").read_text("utf-8")).text


def test_equal_sentences_have_no_worst_one(evaluation: Evaluation) -> None:
    spoken = tuple(
        replace(one, values={"per": 0.1, "distillmos": float("nan")})
        for one in evaluation.systems[0].spoken
    )
    equal = replace(evaluation, systems=(replace(evaluation.systems[0], spoken=spoken),))
    assert {(one.badness, one.stands_out) for one in rank_sentences(equal)} == {(0.5, ())}


def test_json_is_the_evaluation(evaluation: Evaluation, tmp_path: Path) -> None:
    write_json(tmp_path / "report.json", evaluation.to_dict())
    read = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(evaluation.to_dict()))
    assert [system["label"] for system in read["systems"]] == ["recordings", "anna", "boris"]
    assert read["systems"][1]["sentences"][0]["wanted"] == "d a ʂ a"


@pytest.fixture(params=[(1280, "light"), (360, "dark")])
def width_and_scheme(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    yield request.param


def test_it_fits_a_phone_and_asks_for_nothing(
    path: Path, browser: Browser, width_and_scheme: tuple[int, str]
) -> None:
    width, scheme = width_and_scheme
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    length = page.evaluate(
        "() => { const audio = document.querySelector('audio'); audio.preload = 'metadata';"
        " return new Promise(done => audio.addEventListener('loadedmetadata',"
        " () => done(audio.duration))); }"
    )
    assert length > 0.1
    # The keyboard reaches the table, its explanations, the players.
    focused = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        focused.add(page.evaluate("document.activeElement.tagName"))
    assert {"DIV", "A", "SUMMARY"} <= focused
    context.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []


def test_comparisons_of_other_scores_are_left_out(evaluation: Evaluation, tmp_path: Path) -> None:
    other = Comparison("anna", "boris", "wer", 1.0, 0.5, 1.5, "anna", 4)
    odd = replace(evaluation, comparisons=(other,))
    write_report_page(odd, tmp_path / "report.html", budget_bytes=0)
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "boris beside anna: nothing to compare." in text


def test_in_russian_no_english_is_left_and_the_switch_shows_it(
    evaluation: Evaluation, tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGUAGE", "ru")
    plain = replace(evaluation, missing=(), facts={"seed": "1234"})
    write_report_page(plain, tmp_path / "report.html")
    # The trouble's message is the maker's.
    data = {"anna", "boris", "DistillMOS", "medium", "seed", *CLICK.message.split()}
    assert find_english((tmp_path / "report.html").read_text(encoding="utf-8")) <= data
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    for language, there, not_there in (
        (None, "Метрики", "Scores"),
        ("English", "Scores", "Метрики"),
        ("Русский", "Метрики", "Scores"),
    ):
        if language:
            page.get_by_label(language).check()
        shown = page.inner_text("main")
        assert there in shown
        assert not_there not in shown
    page.close()
