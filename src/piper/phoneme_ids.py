"""Phonemes to ids: the default map, and the rule. Other programs import its names from here."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container, Mapping, Sequence

from piper.errors import PhonemizeError

_LOGGER = logging.getLogger(__name__)

BOS = "^"
EOS = "$"
PAD = "_"

# The id of each is its place, as in Piper's voices of 2023 and later. `^`, `$`, `_` come first; the
# five diphthongs are never reached by single code points, but their rows are in the embedding.
_SYMBOLS = (
    "_^$ !'(),-.:;?abcdefhijklmnopqrstuvwxyzæçðøħŋœǀǁǂǃɐɑɒɓɔɕɖɗɘəɚɛɜɞɟɠɡɢɣɤɥɦɧɨɪɫɬɭɮɯ"
    "ɰɱɲɳɴɵɶɸɹɺɻɽɾʀʁʂʃʄʈʉʊʋʌʍʎʏʐʑʒʔʕʘʙʛʜʝʟʡʢʲˈˌːˑ˞βθχᵻⱱ0123456789\u0327\u0303\u032a"
    '\u032f\u0329ʰˤε↓#"↑\u033a\u033bgʦX\u031d\u030aɝʷ'
)
_DIPHTHONGS = ("aɪ", "aʊ", "ɔɪ", "eɪ", "oʊ")

DEFAULT_PHONEME_ID_MAP: dict[str, list[int]] = {
    symbol: [index] for index, symbol in enumerate((*_SYMBOLS, *_DIPHTHONGS))
}
"""Phoneme to ids of new voices (166 entries)."""

_MAX_MISSING = 1000
"""More are no mistake of a voice's map; a server's texts could have a million."""


def phonemes_to_ids(
    phonemes: Sequence[str],
    id_map: Mapping[str, Sequence[int]] | None = None,
    *,
    missing: Counter[str] | None = None,
    padded: Container[str] | None = None,
) -> list[int]:
    """Turn the phonemes of one sentence into ids.

    The rule of Piper's voices: BOS, PAD, then each phoneme followed by PAD, then EOS. Chinese
    voices have PAD only after whole syllables and marks, and none after BOS.

    Args:
        phonemes: As the map has them, mostly single code points. Those that it lacks are dropped.
        id_map: Phoneme to its ids; None takes the default map.
        missing: Counts the dropped phonemes, a thousand different ones; each is warned about when
            it is first counted. None warns about each once in this call.
        padded: The phonemes that PAD follows, where it does not follow all and BOS.

    Raises:
        PhonemizeError: The map lacks BOS, PAD or EOS.
    """
    id_map = DEFAULT_PHONEME_ID_MAP if id_map is None else id_map
    missing = Counter() if missing is None else missing
    bos, pad, eos = (_find_ids(id_map, symbol) for symbol in (BOS, PAD, EOS))
    ids = [*bos, *(pad if padded is None else ())]
    for phoneme in phonemes:
        phoneme_ids = id_map.get(phoneme)
        if phoneme_ids is None:
            _count_missing(phoneme, missing)
        else:
            ids.extend(phoneme_ids)
            if padded is None or phoneme in padded:
                ids.extend(pad)
    ids.extend(eos)
    return ids


def _find_ids(id_map: Mapping[str, Sequence[int]], symbol: str) -> Sequence[int]:
    ids = id_map.get(symbol)
    if not ids:
        raise PhonemizeError(
            f'The phoneme_id_map lacks "{symbol}", which every sentence needs; '
            f'add "{BOS}" (start), "{EOS}" (end) and "{PAD}" (padding) with their ids.'
        )
    return ids


def _count_missing(phoneme: str, missing: Counter[str]) -> None:
    if phoneme not in missing:
        if len(missing) >= _MAX_MISSING:
            return
        names = " ".join(f"U+{ord(character):04X}" for character in phoneme)
        _LOGGER.warning(
            "The phoneme %r (%s) has no id in this voice's phoneme_id_map and is dropped.",
            phoneme,
            names,
        )
    missing[phoneme] += 1
