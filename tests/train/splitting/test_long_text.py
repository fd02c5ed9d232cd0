"""A long text as words: pieces of it give, one after the other, all of its words."""

from __future__ import annotations

from itertools import pairwise

import pytest
from training_examples import russian_frontend

from piper.errors import DatasetError
from piper.train.splitting.split import LongText, Pause, read_long_text

TEXT = """Глава первая

— Куда ты? — спросил он. «Домой», — ответила она; потом, помолчав: "Завтра (в семь) приду!"

В 1905 году г. Иванов… уехал. Да?
"""


@pytest.fixture(scope="module")
def text() -> LongText:
    return read_long_text(TEXT, russian_frontend())


def words_of(text: str) -> list[str]:
    stripped = (word.strip(" -–—.,;:!?…«»\"'()\n") for word in text.split())
    return [word for word in stripped if word]


def test_words_lie_where_they_are_written(text: LongText) -> None:
    for word in text.words:
        assert text.text[word.start : word.end].strip(' —«»"().,!?…:;') != ""
    assert [text.text[word.start : word.end] for word in text.words[:4]] == [
        "Глава",
        "первая",
        "Куда",
        "ты",
    ]


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_excerpts_hold_each_word_once(text: LongText, step: int) -> None:
    borders = [*range(0, len(text.words), step), len(text.words)]
    excerpts = [text.excerpt(a, b) for a, b in pairwise(borders)]
    assert words_of(" ".join(excerpts)) == words_of(TEXT)


def test_signs_stay_with_the_word_that_they_touch(text: LongText) -> None:
    written = [text.text[word.start : word.end] for word in text.words]
    first = written.index("Завтра")
    assert text.excerpt(first, first + 2) == '"Завтра (в'
    assert text.excerpt(first + 2, first + 4) == 'семь) приду!"'
    home = written.index("Домой")
    assert text.excerpt(home, home + 1) == "«Домой»,"
    assert text.excerpt(0, 2) == "Глава первая"


def test_pauses_follow_the_marks(text: LongText) -> None:
    after = {text.text[word.start : word.end]: word.pause for word in text.words}
    assert after["первая"] is Pause.PARAGRAPH
    assert after["ты"] is Pause.SENTENCE
    assert after["помолчав"] is Pause.CLAUSE
    assert after["спросил"] is Pause.NONE


def test_a_text_of_signs_is_refused() -> None:
    with pytest.raises(DatasetError, match="holds no words"):
        read_long_text(" … — ! \n", russian_frontend())
