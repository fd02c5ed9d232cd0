"""Where is cut: in pauses, best where sentences end, with pieces of 2 to 12 seconds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from piper.train.splitting.split import (
    KEEP_SECONDS,
    MAX_SECONDS,
    Gap,
    Pause,
    choose_cuts,
    compute_wrong_score,
    find_edges,
)


def create_gap(word: int, start: float, length: float, pause: Pause) -> Gap:
    return Gap(word, start, start + length, pause, start + length, start)


def test_sentences_are_parted_and_short_ones_stay_together() -> None:
    gaps = [
        create_gap(0, 0.0, 0.5, Pause.PARAGRAPH),
        create_gap(5, 5.0, 0.6, Pause.SENTENCE),
        create_gap(6, 6.1, 0.6, Pause.SENTENCE),  # `Да.` in half a second
        create_gap(10, 8.0, 0.3, Pause.CLAUSE),
        create_gap(15, 12.0, 0.6, Pause.SENTENCE),
        create_gap(30, 18.0, 0.5, Pause.PARAGRAPH),
    ]
    words = [gap.word for gap in choose_cuts(gaps)]
    assert words[0] == 0
    assert words[-1] == 30
    assert 15 in words
    assert 10 not in words  # no need to cut inside a sentence of 6 s
    assert {5, 6} & set(words)
    edges = [
        find_edges(a, b) for a, b in zip(choose_cuts(gaps), choose_cuts(gaps)[1:], strict=False)
    ]
    assert min(end - start for start, end in edges) >= 1.9


def test_a_long_sentence_is_cut_in_its_longest_pauses() -> None:
    pauses = [(4.0, 0.15), (7.0, 0.4), (9.0, 0.15), (12.0, 0.2), (15.0, 0.45)]
    gaps = [create_gap(0, 0.0, 0.3, Pause.PARAGRAPH)]
    gaps += [create_gap(n, at, long, Pause.CLAUSE) for n, (at, long) in enumerate(pauses, 1)]
    gaps.append(create_gap(9, 21.0, 0.3, Pause.PARAGRAPH))
    cuts = choose_cuts(gaps)
    assert [gap.word for gap in cuts] == [0, 2, 5, 9]
    lengths = [find_edges(a, b) for a, b in pairwise(cuts)]
    assert max(end - start for start, end in lengths) <= MAX_SECONDS


def test_a_piece_keeps_silence_and_nothing_that_the_text_lacks() -> None:
    left = create_gap(0, 1.0, 1.0, Pause.SENTENCE)
    # From 6.1 to 7.8 s something is said that nobody wrote.
    right = Gap(4, 6.0, 8.0, Pause.SENTENCE, 6.1, 7.8)
    assert find_edges(left, right) == (2.0 - KEEP_SECONDS, 6.1)
    after = find_edges(right, create_gap(9, 12.0, 1.0, Pause.SENTENCE))
    assert after == (7.8, 12.0 + KEEP_SECONDS)
    assert right.worth > left.worth


@pytest.mark.parametrize(("wrong", "spread"), [(0, 0.05), (10, 0.05), (30, 0.1)])
def test_wrong_texts_lie_below_the_limit(wrong: int, spread: float) -> None:
    chance = np.random.default_rng(3)
    right = -0.4 + spread * chance.standard_normal(100)
    scores = np.concatenate([right, chance.uniform(-3.5, -1.7, wrong)])
    limit = compute_wrong_score(scores)
    assert np.sum(scores < limit) == wrong
