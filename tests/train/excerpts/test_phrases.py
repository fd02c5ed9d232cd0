"""Which words stand between two pauses, and what is written for them, by spans made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from piper.config import PhonemeType
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.frontend import Frontend
from piper.train.aligner.aligner import GroupSpan
from piper.train.excerpts.excerpts import Phrase, find_phrases
from piper.train.splitting.split import LongText, read_long_text

WORD_SECONDS = 0.5
LEAD_SECONDS = 0.4


@pytest.fixture(scope="module")
def frontend() -> Frontend:
    return Frontend(PhonemeType.ESPEAK, "ru", DEFAULT_PHONEME_ID_MAP)


def lay(text: LongText, pauses: dict[int, float]) -> tuple[list[GroupSpan | None], np.ndarray]:
    """Return spans of half a second a word, and what is loud: all but pauses before some words."""
    spans: list[GroupSpan | None] = []
    seconds = LEAD_SECONDS
    is_loud = [False] * round(seconds / 0.02)
    for number in range(len(text.words)):
        pause = pauses.get(number, 0.0)
        is_loud += [False] * round(pause / 0.02) + [True] * round(WORD_SECONDS / 0.02)
        seconds += pause
        spans.append(GroupSpan(seconds, seconds + WORD_SECONDS, -0.2))
        seconds += WORD_SECONDS
    return spans, np.asarray([*is_loud, *[False] * 20])


def find(
    frontend: Frontend, text: str, pauses: dict[int, float], *, words: int = 3, own: bool = False
) -> list[Phrase]:
    long_text = read_long_text(text, frontend)
    spans, is_loud = lay(long_text, pauses)
    return list(find_phrases(long_text, spans, is_loud, most_words=words, has_own_marks=own))


def test_a_phrase_keeps_silence_and_stays_away_from_the_words_beyond(frontend: Frontend) -> None:
    (first, second) = find(frontend, "Тихо было кругом, снег лежал высоко.", {3: 0.26})
    assert [first.text, second.text] == ["Тихо было кругом.", "снег лежал высоко."]
    assert (first.start_seconds, first.end_seconds) == pytest.approx((0.1, 1.9 + 0.21))
    assert (second.start_seconds, second.end_seconds) == pytest.approx((2.16 - 0.21, 3.66 + 0.3))
    assert [first.ends_sentence, second.ends_sentence] == [False, True]
    assert [first.num_words, first.score] == [3, -0.2]


def test_a_pause_that_is_short_or_loud_bounds_nothing(frontend: Frontend) -> None:
    text = "Тихо было кругом, снег лежал высоко."
    assert find(frontend, text, {3: 0.18}, words=5) == []
    long_text = read_long_text(text, frontend)
    spans, is_loud = lay(long_text, {3: 0.4})
    assert len(list(find_phrases(long_text, spans, is_loud, most_words=3))) == 2
    is_loud[round(2.06 / 0.02)] = True  # something between the words
    assert list(find_phrases(long_text, spans, is_loud, most_words=3)) == []


def test_a_recording_may_begin_and_end_with_its_speech(frontend: Frontend) -> None:
    text = read_long_text("Тихо было кругом, снег лежал высоко.", frontend)
    spans, is_loud = lay(text, {3: 0.4})
    trimmed = [
        span and GroupSpan(span.start_seconds - 0.4, span.end_seconds - 0.4, span.score)
        for span in spans
    ]
    first, second = find_phrases(text, trimmed, is_loud[20:-20], most_words=3)
    assert (first.start_seconds, first.end_seconds) == pytest.approx((0.0, 1.8))
    assert (second.start_seconds, second.end_seconds) == pytest.approx((1.6, 3.4))


def test_too_many_words_and_whole_recordings_are_no_phrases(frontend: Frontend) -> None:
    assert find(frontend, "Тихо было кругом, снег лежал высоко.", {3: 0.4}, words=2) == []
    assert find(frontend, "Спасибо, друзья.", {}) == []
    assert find(frontend, "Тихо было кругом, всюду ночь.", {3: 0.4})[1].text == "всюду ночь."


def test_badly_heard_and_squeezed_words_are_refused(frontend: Frontend) -> None:
    text = read_long_text("Тихо было кругом, снег лежал высоко.", frontend)
    spans, is_loud = lay(text, {3: 0.4})
    first, last = spans[0], spans[5]
    assert first is not None
    assert last is not None
    spans[0] = GroupSpan(first.start_seconds, first.end_seconds, -4.5)
    spans[5] = GroupSpan(last.end_seconds - 0.06, last.end_seconds, -0.2)
    assert list(find_phrases(text, spans, is_loud, most_words=3)) == []


def test_a_single_sound_beside_a_pause_may_belong_to_its_other_side(frontend: Frontend) -> None:
    assert find(frontend, "Тихо было кругом, и снег лежал.", {3: 0.4}) == []
    assert find(frontend, "Тихо было там и, снег лежал высоко.", {4: 0.4}, words=4) == []
    inner = find(frontend, "Тихо и темно, снег лежал высоко.", {3: 0.4})
    assert [phrase.text for phrase in inner] == ["Тихо и темно.", "снег лежал высоко."]


def test_what_ends_a_text(frontend: Frontend) -> None:
    text = "Было тихо, правда? Снег лежал... Слава богу!"
    pauses = {2: 0.4, 3: 0.4, 5: 0.4}
    said = ["Было тихо.", "правда?", "Снег лежал.", "Слава богу!"]
    assert [phrase.text for phrase in find(frontend, text, pauses)] == said
    own = ["Было тихо,", "правда?", "Снег лежал...", "Слава богу!"]
    assert [phrase.text for phrase in find(frontend, text, pauses, own=True)] == own


def test_marks_around_words_do_not_stay_and_stress_does(frontend: Frontend) -> None:
    text = "«+Окна домов», серый дым, (сказал он) громко."
    found = find(frontend, text, {2: 0.4, 4: 0.4})
    # A bracket inside a phrase is of neither half.
    assert [phrase.text for phrase in found] == ["+Окна домов.", "серый дым."]
    marked = find(frontend, text, {2: 0.4, 4: 0.4}, own=True)
    assert [phrase.text for phrase in marked] == ["+Окна домов,", "серый дым,"]
