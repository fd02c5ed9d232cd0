"""What is spoken: held-out sentences of a dataset, lines of a file, single words and letters.

Speaks nothing and measures nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from piper.errors import ConfigError, DatasetError
from piper.json_reader import read_bounded
from piper.train.data.metadata import Row, load_metadata
from piper.train.data.settings import DataSettings
from piper.train.data.split import count_held_out, rank_recordings
from piper.train.evaluate.results import Kind, Sentence

SPLIT, ALL = "split", "all"
MOST_LETTERS = 40
"""An alphabet; of writing with more signs those that are met most often."""


def load_rows(settings: DataSettings) -> list[Row]:
    """Return the lines of a dataset.

    Raises:
        DatasetError: A file is missing or a line is wrong.
    """
    return load_metadata(
        settings.csv_path,
        settings.audio_dir,
        num_speakers=settings.num_speakers,
        dataset_type=settings.dataset_type,
        has_stress_marks=settings.has_stress_marks,
    )


def split_rows(
    rows: Sequence[Row], held_out: str, settings: DataSettings
) -> tuple[list[Row], list[Row]]:
    """Return the lines that may be learnt on, and those that are held out, in a fixed order.

    Args:
        rows: Of the dataset.
        held_out: `split` (those that training holds out), `all`, or a file of recordings' names.
        settings: Share and seed of the split.

    Raises:
        ConfigError: The file of names cannot be read, or names what is not there.
        DatasetError: Nothing is held out.
    """
    if held_out == ALL:
        return [], list(rows)
    if held_out == SPLIT:
        ranked = rank_recordings([(row.audio_path.name, row.text) for row in rows], settings.seed)
        places = ranked[: count_held_out(len(rows), settings.validation_split)]
        if not places:
            raise DatasetError(
                f"Nothing is held out of {len(rows)} recordings; pass --held-out all where none of "
                "them was trained on."
            )
        chosen = set(places)
        return (
            [row for place, row in enumerate(rows) if place not in chosen],
            [rows[place] for place in places],
        )
    names = load_names(Path(held_out))
    by_name = {name: row for row in rows for name in (row.audio_path.name, row.audio_path.stem)}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise ConfigError(
            f"{held_out} names {', '.join(missing[:5])}, which the dataset lacks; name recordings "
            "as metadata.csv does, one a line."
        )
    lines = {by_name[name].line for name in names}
    return [row for row in rows if row.line not in lines], [by_name[name] for name in names]


def load_names(path: Path) -> list[str]:
    """Return the recordings' names in a file, one a line; lines that begin with `#` are left out.

    Raises:
        ConfigError: It cannot be read, or names none.
    """
    wish = "give split, all, or a file with a recording's name in each line"
    names = _read_lines(path, "--held-out", wish)
    found = list(dict.fromkeys(name for name in names if not name.startswith("#")))
    if not found:
        raise ConfigError(f"--held-out: {path} names no recording.")
    return found


def rows_to_sentences(rows: Sequence[Row], most: int) -> list[Sentence]:
    """Return the first lines as something to say, with their recordings."""
    return [
        Sentence(row.audio_path.stem, row.text, Kind.SENTENCE, row.audio_path, row.speaker)
        for row in rows[:most]
    ]


def load_texts(path: Path, most: int) -> list[Sentence]:
    """Return the lines of a file as something to say.

    Raises:
        ConfigError: It cannot be read, or has no line.
    """
    wish = "give a UTF-8 file with a sentence in each line"
    texts = _read_lines(path, "--texts", wish)[:most]
    if not texts:
        raise ConfigError(f"--texts: {path} is empty; write a sentence in each line.")
    return [Sentence(f"sentence_{place:04d}", text) for place, text in enumerate(texts, 1)]


def _read_lines(path: Path, flag: str, wish: str) -> list[str]:
    """Return the lines of a file that hold something."""
    try:
        text = read_bounded(path, "text file").decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{flag}: {path} cannot be read ({reason}); {wish}.") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def find_singles(sentences: Sequence[Sentence], num_words: int) -> list[Sentence]:
    """Return single words of sentences, and the letters that they are written with.

    Short utterances are where voices fail first: a word has no context that would carry it.

    Args:
        sentences: Whose words.
        num_words: How many words, the same ones each time; 0 gives neither words nor letters.
    """
    if num_words <= 0:
        return []
    words: dict[str, None] = {}
    counts: dict[str, int] = {}
    for sentence in sentences:
        for word in _find_words(sentence.text):
            words.setdefault(word)
            for letter in word.replace("+", ""):
                counts[letter] = counts.get(letter, 0) + 1
    # Evenly over all lengths, since short and long ones fail in different ways.
    ranked = sorted(words, key=lambda word: (len(word), word))
    step = max(1.0, len(ranked) / num_words)
    chosen = dict.fromkeys(
        ranked[int((i + 0.5) * step)] for i in range(min(num_words, len(ranked)))
    )
    letters = sorted(counts, key=lambda letter: (-counts[letter], letter))[:MOST_LETTERS]
    return [
        *(Sentence(f"word_{place:02d}", word, Kind.WORD) for place, word in enumerate(chosen, 1)),
        *(
            Sentence(f"letter_{place:02d}", letter, Kind.LETTER)
            for place, letter in enumerate(sorted(letters), 1)
        ),
    ]


def _find_words(text: str) -> list[str]:
    signs = "".join(sign if _is_of_word(sign) else " " for sign in text.lower())
    return [word for word in signs.split() if any(sign.isalpha() for sign in word)]


def _is_of_word(sign: str) -> bool:
    return sign == "+" or unicodedata.category(sign)[0] in "LM"
