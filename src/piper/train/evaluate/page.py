"""The report as a page that opens without a network. Measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from piper.atomic import replace_on_success
from piper.train.evaluate.page_scores import (
    draw_distributions,
    draw_meanings,
    draw_scores,
    draw_verdict,
)
from piper.train.evaluate.page_sentences import draw_sentence, find_spoken, name_sentence
from piper.train.evaluate.page_style import STYLE
from piper.train.evaluate.page_words import draw_words
from piper.train.evaluate.results import Evaluation, Kind
from piper.train.evaluate.worst import ORDER, RankedSentence, rank_sentences
from piper.train.pages.document import PAGE_BYTES, draw_document
from piper.train.pages.parts import draw_table, escape, fold

WORDS_SHARE = 0.25
"""Of the page's room for single words and letters: theirs are short, sentences matter more."""


def write_report_page(
    evaluation: Evaluation, path: Path, *, budget_bytes: int = PAGE_BYTES
) -> None:
    """Write `report.html`: one file with all that it shows, audio included.

    Args:
        evaluation: What was found; the files of its speech are decoded again.
        path: The file.
        budget_bytes: What the file may take. The worst sentences get sound and pictures first;
            those that come when the page is full are listed, and the page says so.

    Raises:
        OSError: The file cannot be written.
    """
    ranked = rank_sentences(evaluation)
    room = budget_bytes - len(_draw_page(evaluation, "", "", ranked))
    words = draw_words(evaluation, round(WORDS_SHARE * room))
    room -= len(words.encode())
    spoken = find_spoken(evaluation, [Kind.SENTENCE])
    sentences = []
    for number, one in enumerate(ranked, start=1):
        sentence = draw_sentence(evaluation, one, spoken[one.sentence.name], number)
        room -= len(sentence.encode())
        if room < 0:
            break
        sentences.append(sentence)
    page = _draw_page(evaluation, "".join(sentences), words, ranked[len(sentences) :])
    with replace_on_success(path) as temporary:
        temporary.write_bytes(page)


def _draw_page(
    evaluation: Evaluation, sentences: str, words: str, listed: list[RankedSentence]
) -> bytes:
    parts = [
        draw_verdict(evaluation),
        draw_scores(evaluation),
        _draw_missing(evaluation),
        _draw_facts(evaluation),
        draw_distributions(evaluation),
        f"<h2>Sentences</h2>\n<p>{ORDER}</p>\n" if sentences or listed else "",
        sentences,
        _draw_listed(listed),
        words,
        draw_meanings(evaluation.scores),
    ]
    return draw_document(f"Voice: {_name(evaluation)}", "".join(parts), STYLE)


def _name(evaluation: Evaluation) -> str:
    return ", ".join(system.label for system in evaluation.systems)


def _draw_missing(evaluation: Evaluation) -> str:
    if not evaluation.missing:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in evaluation.missing)
    return f"<h2>What is missing</h2>\n<ul>\n{items}</ul>\n"


def _draw_listed(listed: list[RankedSentence]) -> str:
    if not listed:
        return ""
    rows = [
        [name_sentence(one.sentence), one.sentence.text, f"{one.badness:.2f}"] for one in listed
    ]
    table = draw_table("Other sentences", ["sentence", "text", "mean rank, 1 is worst"], rows)
    return fold(
        f"Sentences without sound and pictures, since the page would grow too large: {len(rows):,}",
        table,
    )


def _draw_facts(evaluation: Evaluation) -> str:
    parts = [_draw_list("How it was done", evaluation.facts)] if evaluation.facts else []
    for system in evaluation.systems:
        source = {} if system.source is None else {"file": str(system.source)}
        if source or system.details:
            parts.append(_draw_list(system.label, {**source, **system.details}))
    return f"<h2>Facts</h2>\n{''.join(parts)}" if parts else ""


def _draw_list(title: str, facts: Mapping[str, str]) -> str:
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in facts.items()
    )
    return f"<h3>{escape(title)}</h3>\n<dl>\n{items}</dl>\n"
