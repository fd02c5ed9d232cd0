"""Gives a sentence's ids room at both ends, so that no sound there is cut. Knows no networks.

Voices were trained on recordings whose silence was trimmed, often with the quiet beginning of an
s, sh or t, and on sentences that ended in a mark. So they begin such a sound at full strength with
the first sample, and swallow the last consonant of a text without a mark.
`benchmarks/short_utterances.py` measures both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from piper.text.frontend import Sentence
from piper.text.ids import BOS, EOS, PAD

RUN_UP_PADS = 2
"""Fewest pads more that let all of 165 short utterances of the voice joe begin below -50 dB; with
one, 5 still began above -40 dB; more only add silence."""
FULL_STOP = "."
_MARKS = frozenset(".?!,:;…。．？！、，：；।۔؟،؛")


def is_wanted(sentence: Sentence, whole_ends: bool | None) -> bool:
    """Return whether a sentence gets the room: None means where it has no more than one word."""
    if whole_ends is None:
        # Not by `sentence.words`, which takes 10 ms of a long sentence to find.
        return len(sentence.text.split()) <= 1
    return whole_ends


def widen_ends(sentence: Sentence, id_map: Mapping[str, Sequence[int]]) -> Sentence:
    """Return the sentence with pads more after BOS, and with a full stop where it has no mark.

    Args:
        sentence: Its phonemes and ids; without phonemes the ids are somebody's own and stay.
        id_map: Phoneme to ids; what it lacks is not added.
    """
    bos, pad, eos = (list(id_map.get(symbol, ())) for symbol in (BOS, PAD, EOS))
    ids, phonemes = sentence.ids, sentence.phonemes
    if not (phonemes and bos and pad and eos):
        return sentence
    if ids[: len(bos)] != bos or ids[-len(eos) :] != eos:
        return sentence
    inner = ids[len(bos) : -len(eos)]
    spoken = [phoneme for phoneme in phonemes if phoneme in id_map and not phoneme.isspace()]
    if FULL_STOP in id_map and spoken and spoken[-1] not in _MARKS:
        inner = [*inner, *id_map[FULL_STOP], *pad]
        phonemes = [*phonemes, FULL_STOP]
    return replace(sentence, phonemes=phonemes, ids=[*bos, *(pad * RUN_UP_PADS), *inner, *eos])
