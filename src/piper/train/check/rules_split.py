"""What will be held out for validation, and whom or what training or validation then lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from piper.progress import count_things
from piper.train.check.entries import AudioMeasures, Entry, TextMeasures
from piper.train.check.findings import Finding, Group, Severity, create_rule
from piper.train.check.measuring import find_trained_text
from piper.train.data.layout import are_speakers
from piper.train.data.settings import DataSettings
from piper.train.data.split import count_held_out, rank_recordings

_rule = partial(create_rule, Group.SET)

UNTRAINED_SPEAKER = _rule(
    "untrained-speaker",
    Severity.WARNING,
    "A speaker of whom nothing is trained on",
    "all recordings are held out for validation",
    "Record more of this speaker, leave him out, or take another --data.seed.",
)
UNVALIDATED_SPEAKER = _rule(
    "unvalidated-speaker",
    Severity.WARNING,
    "A speaker who is not validated",
    "no recording is held out",
    "Record more of this speaker, or raise --data.validation_split.",
)
UNTRAINED_PHONEMES = _rule(
    "untrained-phonemes",
    Severity.NOTE,
    "Phonemes that training never hears",
    "only in recordings that are held out",
    "Record sentences with them, or take another --data.seed.",
)
RULES = (UNTRAINED_SPEAKER, UNVALIDATED_SPEAKER, UNTRAINED_PHONEMES)

NAMED_AT_MOST = 5


def find_usable(
    entries: Sequence[Entry],
    audio: Mapping[Path, AudioMeasures],
    texts: Mapping[int, TextMeasures],
) -> list[Entry]:
    """Return the lines whose recording and text can be used: training refuses a set with others.

    So the split is that of the set once those lines are mended or removed.
    """
    return [entry for entry in entries if entry.audio_path in audio and entry.line in texts]


def choose_held_out(usable: Sequence[Entry], settings: DataSettings) -> list[Entry]:
    """Return what training would hold out, in the order in which it is listened to.

    Args:
        usable: The lines that can be used.
        settings: Of the dataset.
    """
    names = [(_find_file_name(entry), find_trained_text(entry, settings)) for entry in usable]
    count = count_held_out(len(usable), settings.validation_split)
    return [usable[place] for place in rank_recordings(names, settings.seed)[:count]]


def _find_file_name(entry: Entry) -> str:
    return entry.audio_path.name if entry.audio_path is not None else entry.name


def find_in_split(
    training: Sequence[Entry], held_out: Sequence[Entry], texts: Mapping[int, TextMeasures]
) -> list[Finding]:
    """Return what one part of the split lacks.

    Args:
        training: The lines that are trained on.
        held_out: Those that are validated on.
        texts: Measures by line.
    """
    if not held_out:
        return []
    return [
        *_check_speakers(training, held_out),
        *_check_phonemes(training, held_out, texts),
    ]


def _check_speakers(training: Sequence[Entry], held_out: Sequence[Entry]) -> Iterator[Finding]:
    trained, validated = ({entry.speaker for entry in part} for part in (training, held_out))
    if not are_speakers(trained | validated, len(training) + len(held_out)):
        return
    for speaker in sorted(str(speaker) for speaker in validated - trained):
        yield Finding(UNTRAINED_SPEAKER, speaker)
    for speaker in sorted(str(speaker) for speaker in trained - validated):
        count = sum(str(entry.speaker) == speaker for entry in training)
        recordings = count_things(count, "recording")
        yield Finding(UNVALIDATED_SPEAKER, f"{speaker}: {recordings}", score=count)


def _check_phonemes(
    training: Sequence[Entry], held_out: Sequence[Entry], texts: Mapping[int, TextMeasures]
) -> Iterator[Finding]:
    trained = {phoneme for entry in training for phoneme in texts[entry.line].phonemes}
    unheard: dict[str, Entry] = {}
    for entry in held_out:
        for phoneme in texts[entry.line].phonemes:
            if phoneme not in trained and phoneme.isalpha():
                unheard.setdefault(phoneme, entry)
    for phoneme, entry in sorted(unheard.items()):
        yield Finding(UNTRAINED_PHONEMES, f"{phoneme!r} in {entry.text!r:.60}", name=entry.name)


def describe_split(
    held_out: Sequence[Entry], audio: Mapping[Path, AudioMeasures], num_examples: int
) -> dict[str, str]:
    """Return what is good to know of the validation, by name."""
    if not held_out:
        return {"held out": "none: val_loss will be that of recordings which are trained on"}
    paths = [entry.audio_path for entry in held_out if entry.audio_path is not None]
    seconds = sum(audio[path].seconds for path in paths)
    count = count_things(len(held_out), "recording")
    facts = {"held out": f"{count}, {seconds / 60:.1f} minutes (--data.validation_split)"}
    if num_examples:
        names = ", ".join(entry.name for entry in held_out[: min(num_examples, NAMED_AT_MOST)])
        facts["spoken at each validation"] = names
    return facts
