"""What a voice is asked to say so that a copy is trained on all its sounds."""

from __future__ import annotations

import random
import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from piper.errors import ConfigError
from piper.files import read_bounded
from piper.text.frontend import Frontend, Sentence
from piper.text.phonemizers import find_espeak_data
from piper.train.evaluate.systems import read_lines

MAX_IDS = 400
"""Longer sentences are cut: what is trained on is pieces of two seconds."""
MIN_SENTENCES = 20
MIN_WORDS = 150
MADE_SENTENCES = 3000
MAX_SENTENCES = 8000
"""That are phonemised, a millisecond each, to choose from."""
CHOICE = 12
"""Sentences that the next one is the best of."""
PHRASES = 10
"""Each so many-th is followed by a few words of it, without a mark: voices are asked for those,
too."""


def load_sentences(
    path: Path | None, frontend: Frontend, language: str, seed: int
) -> list[Sentence]:
    """Return different sentences in a random order.

    Args:
        path: A text file; None makes sentences of the words that espeak-ng has a list of.
        frontend: Of the voice.
        language: Its espeak-ng voice.
        seed: Of the order, and of what is made.

    Raises:
        ConfigError: The file cannot be read, or there is too little.
    """
    rng = random.Random(seed)
    if path is None:
        words = load_words(language, find_espeak_data())
        if len(words) < MIN_WORDS:
            raise ConfigError(
                f"espeak-ng lists {len(words)} words of the language {language}, too few to make "
                "sentences of; give text in it, such as a book, with --texts FILE."
            )
        lines = [_make_sentence(words, rng) for _ in range(MADE_SENTENCES)]
    else:
        lines = read_lines(path, "--texts", "give a UTF-8 file with text in the voice's language")
        rng.shuffle(lines)
    found: dict[tuple[int, ...], Sentence] = {}
    for line in lines:
        for sentence in frontend.text_to_sentences(line, MAX_IDS):
            found.setdefault(tuple(sentence.ids), sentence)
        if len(found) >= MAX_SENTENCES:
            break
    if len(found) < MIN_SENTENCES:
        raise ConfigError(
            f"--texts: {path} has {len(found)} different sentences, but a copy wants at least "
            f"{MIN_SENTENCES}, better some hundreds; give a longer text."
        )
    return list(found.values())


def _make_sentence(words: Sequence[str], rng: random.Random) -> str:
    """Return words that mean nothing together, among them short ones and numbers, and marks."""
    short = [word for word in words if len(word) < 5] or words
    made = []
    for _ in range(rng.randint(2, 14)):
        draw = rng.random()
        chosen = rng.choice(short if draw < 0.4 else words)
        made.append(str(int(10 ** rng.uniform(0, 4))) if draw > 0.93 else chosen)
        made[-1] += "," if rng.random() < 0.1 else ""
    text = " ".join(made).rstrip(",")
    return text[0].upper() + text[1:] + rng.choices(".?!", (8, 2, 1))[0]


def choose_sentences(
    sentences: Sequence[Sentence], frontend: Frontend, seed: int
) -> Iterator[Sentence]:
    """Give the sentences, those with seldom pairs of phonemes sooner, and some phrases of them."""
    rng = random.Random(seed)
    seen: Counter[tuple[int, int]] = Counter()
    left = list(sentences)
    for number in range(len(sentences)):
        places = rng.sample(range(len(left)), min(CHOICE, len(left)))
        best = max(places, key=lambda place: _rarity(left[place].ids, seen))
        sentence = left[best]
        left[best] = left[-1]
        left.pop()
        seen.update(pairwise(sentence.ids[::2]))
        yield sentence
        if number % PHRASES == 0:
            yield from _cut_phrase(sentence, frontend, rng)


def _rarity(ids: Sequence[int], seen: Counter[tuple[int, int]]) -> float:
    pairs = list(pairwise(ids[::2]))  # each second one is padding
    return sum(1.0 / (1 + seen[pair]) for pair in pairs) / max(1, len(pairs))


def _cut_phrase(sentence: Sentence, frontend: Frontend, rng: random.Random) -> Iterable[Sentence]:
    words = sentence.text.split()
    start = rng.randrange(max(1, len(words)))
    phrase = " ".join(words[start : start + rng.randint(1, 3)]).rstrip(".,;:!?…")
    return frontend.text_to_sentences(phrase)[:1]


# -- words of espeak-ng


_CODES = "abcdefghijklmnopqrstuvwxyzàáâåæçèéêëíîóöøúüăąćčđęłńśšţźżž"
_CYRILLIC_CODES = (
    *"абвгдежзийклмнопрстуфхцчшщъыьэюя_ё",
    *re.findall("..", "ланатаавовнеревиакокалиланенинннонынворосоопрпарерирортсяс"),
)
_WITH_CYRILLIC_CODES = ("bg", "ru", "tt", "uk")
"""What the six bits from 1 on mean in the dictionaries' packed words, found by compiling some."""
_WITH_OTHER_CODES = ("ar", "be", "fa")
_PACKED = 0x40
"""Bit of an entry's first byte: its word is packed; the six bits below it are its bytes."""
_HEADER = struct.Struct("<ii")
_WORD = re.compile(r"[^\W\d_]{1,14}")
_UNPACKED_BYTES = 500_000
"""Of larger dictionaries a word in several is taken."""


def load_words(language: str, data: Path) -> list[str]:
    """Return words of espeak-ng's dictionary: those whose sounds its rules do not give.

    Args:
        language: An espeak-ng voice, such as `en-us`.
        data: Its data folder.

    Returns:
        In a fixed order; none where there is no dictionary, or one of another layout.
    """
    code = language.partition("-")[0].lower()
    path = data / f"{code}_dict"
    if code in _WITH_OTHER_CODES or not path.is_file():
        return []
    content = read_bounded(path, "dictionary")
    codes = _CYRILLIC_CODES if code in _WITH_CYRILLIC_CODES else tuple(_CODES)
    entries = []
    with suppress(IndexError, struct.error):  # cut off, or of another layout
        count, _ = _HEADER.unpack_from(content)
        place = _HEADER.size
        for _ in range(count):  # a hash table: entries of one hash end with a 0
            while length := content[place]:
                entries.append(content[place + 1 : place + length])
                place += length
            place += 1
    step = 1 + len(content) // _UNPACKED_BYTES
    words = {_unpack_word(entry, codes) for entry in entries[::step] if entry}
    words = {word for word in words if _WORD.fullmatch(word)}
    # Letters of other scripts are named, and not read.
    scripts = Counter(map(_find_script, words))
    own = max(scripts, key=lambda script: scripts[script], default="")
    return sorted(word for word in words if _find_script(word) == own)


def _unpack_word(entry: bytes, codes: Sequence[str]) -> str:
    packed = entry[1 : 1 + entry[0] % _PACKED]
    if not entry[0] & _PACKED:
        return packed.decode("utf-8", "replace")
    bits = "".join(f"{byte:08b}" for byte in packed)
    numbers = [int(bits[start : start + 6], 2) for start in range(0, len(bits) - 5, 6)]
    return "".join(codes[number - 1] for number in numbers if 0 < number <= len(codes))


def _find_script(word: str) -> str:
    return unicodedata.name(word[0], "").partition(" ")[0]
