"""Which column holds the recording, the text and the speaker. Knows no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from piper.errors import DatasetError

AUDIO = "audio"
TEXT = "text"
SPEAKER = "speaker"
USUAL_NAMES: Mapping[str, Sequence[str]] = {
    AUDIO: (
        *("audio_path", "audio_filepath", "audio_file", "file_name", "filename", "filepath"),
        *("file_path", "file", "path", "wav", "wav_path", "wav_filename", "audio"),
        *("имя_файла", "файл", "путь", "аудио", "запись"),
    ),
    TEXT: (
        *("text", "sentence", "transcript", "transcription", "raw_text", "prompt"),
        *("текст", "фраза", "предложение", "расшифровка"),
    ),
    SPEAKER: (
        *("speaker", "speaker_id", "speaker_name", "client_id"),
        *("диктор", "имя_диктора", "голос", "спикер"),
    ),
}
"""The more telling name first: of `path` and `audio_path` it is the latter."""
NORMALISED_NAMES = ("normalized_text", "normalised_text", "text_normalized", "normalized")


def parse_columns(words: str) -> dict[str, str]:
    """Return what `audio=…,text=…,speaker=…` says.

    Raises:
        DatasetError: It says something else.
    """
    columns = {}
    for word in words.split(","):
        key, sign, name = word.partition("=")
        if key.strip() not in USUAL_NAMES or not sign or not name.strip():
            raise DatasetError(
                f"--columns has {word.strip()!r}, but audio=NAME,text=NAME,speaker=NAME is "
                "wanted (each may be left out)."
            )
        columns[key.strip()] = name.strip()
    return columns


def find_columns(
    names: Sequence[str], given: Mapping[str, str], *, use_original_text: bool = False
) -> dict[str, str]:
    """Return the name of each column that is there, by `audio`, `text`, `speaker`.

    Args:
        names: The columns' names; letters' case does not matter.
        given: Names that the user gave; these are taken or nothing.
        use_original_text: Whether a normalised text counts less than the other.
    """
    by_lower = {_normalise(name): name for name in reversed(names)}
    found = {}
    for key, usual in USUAL_NAMES.items():
        wanted: Sequence[str] = [given[key]] if key in given else usual
        if key == TEXT and key not in given:
            normalised = NORMALISED_NAMES
            wanted = (*usual, *normalised) if use_original_text else (*normalised, *usual)
        keys = map(_normalise, wanted)
        match = next((by_lower[name] for name in keys if name in by_lower), None)
        if match is not None:
            found[key] = match
    return found


def _normalise(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def check_columns(
    where: str, names: Sequence[str], found: Mapping[str, str], given: Mapping[str, str]
) -> None:
    """Check that recording, text and whatever the user named were found.

    Raises:
        DatasetError: Something is missing; the text names all of it, and the columns there are.
    """
    missing = [key for key in (AUDIO, TEXT, *given) if key not in found]
    if not missing:
        return
    missing = list(dict.fromkeys(missing))
    whats = [
        f'column "{given[key]}"' if key in given else f"column for the {key}" for key in missing
    ]
    flag = ",".join(f"{key}=NAME" for key in missing)
    named = ", ".join(names) or "none"
    raise DatasetError(
        f"{where} has no {' and no '.join(whats)}; name what is missing with --columns {flag} "
        f"(there are: {named})."
    )
