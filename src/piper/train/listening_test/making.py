"""A blind comparison by people, as one page with all its sound."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from piper.errors import EvaluationError
from piper.files import is_own_file, load_json_object, replace_on_success
from piper.train.data.audio import (
    PEAK,
    FloatArray,
    TrimSettings,
    decode,
    measure_loudness,
    trim_silence,
)
from piper.train.evaluate.results import Kind
from piper.train.pages.document import load_dictionary, read_template, render
from piper.train.pages.drawings import data_address
from piper.train.pages.excerpts import find_media_type, samples_to_audio


@dataclass(frozen=True)
class Pair:
    """Two systems that say a sentence.

    Attributes:
        left: Label of what is heard first.
    """

    sentence: int
    left: str
    right: str


def plan_pairs(labels: Sequence[str], count: int, seed: int, most: int | None = None) -> list[Pair]:
    """Return pairs in the order in which they are heard, all or the first `most`.

    Each round has every sentence once, with another pair of systems in the next round, so that a
    sentence comes back late. Pairs of systems take turns: wherever the list is cut, they are as
    often in it, but for one. Of each pair of systems, each is as often at the left, but for one.
    """
    rng = random.Random(seed)
    systems = list(combinations(labels, 2))
    places = list(range(count))
    rng.shuffle(places)
    heard: list[tuple[int, tuple[str, str]]] = []
    for number in range(len(systems)):
        last = heard[-1][0] if heard else None
        heard += _plan_round(rng, systems, places, number, last)
    return _choose_sides(rng, systems, heard[:most])


def _plan_round(
    rng: random.Random,
    systems: Sequence[tuple[str, str]],
    places: Sequence[int],
    number: int,
    last: int | None,
) -> list[tuple[int, tuple[str, str]]]:
    """Return every sentence once, its pair of systems moved on by the round's number."""
    waiting: list[list[int]] = [[] for _ in systems]
    for place, sentence in enumerate(places):
        waiting[(place + number) % len(systems)].append(sentence)
    for sentences in waiting:
        rng.shuffle(sentences)
    planned: list[tuple[int, tuple[str, str]]] = []
    while any(waiting):
        turn = [index for index, sentences in enumerate(waiting) if sentences]
        rng.shuffle(turn)
        planned += [(waiting[index].pop(), systems[index]) for index in turn]
    # Nobody is to hear a sentence again at once.
    if len(planned) > 1 and planned[0][0] == last:
        planned[0], planned[1] = planned[1], planned[0]
    return planned


def _choose_sides(
    rng: random.Random,
    systems: Sequence[tuple[str, str]],
    heard: Sequence[tuple[int, tuple[str, str]]],
) -> list[Pair]:
    sides: dict[tuple[str, str], list[bool]] = {}
    for pair in systems:
        count = sum(other == pair for _, other in heard)
        half = (count + rng.randrange(2)) // 2
        sides[pair] = [True] * half + [False] * (count - half)
        rng.shuffle(sides[pair])
    return [
        Pair(sentence, *(pair if sides[pair].pop() else pair[::-1])) for sentence, pair in heard
    ]


LOUDNESS_LUFS = -23.0
"""Broadcasting's level (EBU R 128): speech's peaks have room above it."""
SILENCE_SECONDS = 0.2
"""Of digital silence before and after, the same for all."""
KEPT_SECONDS = 0.05
"""Of the sound's own quiet around the speech: a start may be found 28 ms late."""
FADE_SECONDS = 0.02
"""A room's noise that begins at once is a click."""


def match_sounds(sounds: Sequence[tuple[FloatArray, int]]) -> list[FloatArray]:
    """Return the same sentence by several systems at one loudness, with equal silence around it.

    Of two equal sounds the louder one is preferred, and a late start is heard as a slow voice;
    neither is what is asked. All get the loudness of the one whose peaks allow the least, at most
    `LOUDNESS_LUFS`. Sounds that are nothing but silence stay as they are.
    """
    framed = [_frame(samples, rate) for samples, rate in sounds]
    measured = [
        measure_loudness(sound, rate) for sound, (_, rate) in zip(framed, sounds, strict=True)
    ]
    highest = [
        loudness + 20 * math.log10(PEAK / float(np.abs(sound).max()))
        for sound, loudness in zip(framed, measured, strict=True)
        if math.isfinite(loudness)
    ]
    wanted = min([LOUDNESS_LUFS, *highest])
    return [
        sound * np.float32(10 ** ((wanted - loudness) / 20)) if math.isfinite(loudness) else sound
        for sound, loudness in zip(framed, measured, strict=True)
    ]


def _frame(samples: FloatArray, rate: int) -> FloatArray:
    """Return the speech, faded at both ends, with silence around it."""
    trim = TrimSettings(keep_seconds_before=KEPT_SECONDS, keep_seconds_after=KEPT_SECONDS)
    speech = trim_silence(samples, rate, trim)
    fade = np.minimum(1.0, np.arange(len(speech)) / max(1, round(FADE_SECONDS * rate)))
    faded = speech * (fade * fade[::-1])
    return np.pad(faded, round(SILENCE_SECONDS * rate)).astype(np.float32)


SCRIPTS = ("page.js", "listening_test.js")
SECONDS_A_PAIR = 20
"""With two of usual sentences, and a moment to think."""
_POLICY = (
    "default-src 'none'; media-src data:; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'sha256-{}'; base-uri 'none'; form-action 'none'"
)


def make_listening_test(
    systems: Mapping[str, Sequence[Path]],
    path: Path | str,
    *,
    texts: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    seed: int = 1234,
    most: int | None = None,
) -> int:
    """Write a page on which people say which of two systems sounds better; return its pairs.

    The page is one file and needs no network. Sound is lossless (FLAC), alike in loudness and in
    the silence around it.

    Args:
        systems: Files by label; the same sentences in the same order for each, two labels or more.
        texts: What is said, shown above each pair; None shows nothing.
        names: Of the sentences, in the result; None takes the file names of the first system.
        most: Pairs at most; None asks for each sentence with each pair of systems.
    """
    files = {label: [Path(file) for file in some] for label, some in systems.items()}
    count = _count_sentences(files)
    names = names or [file.stem for file in next(iter(files.values()))]
    texts = texts or [""] * count
    if len(names) != count or len(texts) != count:
        raise EvaluationError(
            f"A listening test of {count} sentences needs as many names and texts; there are "
            f"{len(names)} and {len(texts)}."
        )
    pairs = plan_pairs(list(files), count, seed, most)
    data = _collect_data(files, pairs, names, texts)
    with replace_on_success(path) as temporary:
        temporary.write_text(_render_page(data), encoding="utf-8")
    return len(pairs)


def _count_sentences(files: Mapping[str, Sequence[Path]]) -> int:
    counts = {label: len(some) for label, some in files.items()}
    if len(counts) < 2:
        raise EvaluationError("A listening test compares two systems or more; name them.")
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{label} {count}" for label, count in counts.items())
        raise EvaluationError(
            f"A listening test needs the same sentences of each system; there are {said}."
        )
    count = next(iter(counts.values()))
    if count == 0:
        raise EvaluationError("A listening test needs a sentence that all systems spoke.")
    return count


def _collect_data(
    files: Mapping[str, Sequence[Path]],
    pairs: Sequence[Pair],
    names: Sequence[str],
    texts: Sequence[str],
) -> dict[str, Any]:
    """Return what the page's script works with; each sound is in it once."""
    places: dict[tuple[str, int], int] = {}
    for pair in pairs:
        for label in (pair.left, pair.right):
            places.setdefault((label, pair.sentence), len(places))
    sounds = [""] * len(places)
    for sentence in dict.fromkeys(pair.sentence for pair in pairs):
        labels = [label for label in files if (label, sentence) in places]
        decoded = [decode(files[label][sentence]) for label in labels]
        matched = match_sounds([(one.mix(), one.sample_rate) for one in decoded])
        for label, samples, one in zip(labels, matched, decoded, strict=True):
            audio = samples_to_audio(samples, one.sample_rate, "FLAC")
            sounds[places[label, sentence]] = data_address(find_media_type(audio), audio)
    shown = [
        {
            "text": texts[pair.sentence],
            "sounds": [places[side, pair.sentence] for side in (pair.left, pair.right)],
            "about": _disguise([names[pair.sentence], pair.left, pair.right]),
        }
        for pair in pairs
    ]
    content = json.dumps([sounds, shown]).encode()
    return {
        "test": hashlib.sha256(content).hexdigest()[:12],
        "sounds": sounds,
        "pairs": shown,
        "minutes": describe_minutes(len(pairs)),
    }


def describe_minutes(count: int) -> str:
    """Return how long so many pairs take."""
    minutes = max(1, round(count * SECONDS_A_PAIR / 60))
    return "about a minute" if minutes == 1 else f"about {minutes} minutes"


def _disguise(words: Sequence[str]) -> str:
    """Hide from a glance which side is which system; who wants to know can find out."""
    return base64.b64encode(json.dumps(words).encode()).decode("ascii")


def _render_page(data: Mapping[str, Any]) -> str:
    """Return the page with its data, and with a policy that lets no other script run."""
    script = Markup().join(map(read_template, SCRIPTS))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return render(
        "listening_test.html",
        policy=_POLICY.format(digest),
        dictionary=load_dictionary(["listening_test.html", *SCRIPTS], [data["minutes"]]),
        script=script,
        data=data,
    )


@dataclass(frozen=True)
class SpokenSentences:
    """Sentences that all of some systems spoke.

    Attributes:
        audio: Files by label, in the same order.
    """

    names: list[str]
    texts: list[str]
    audio: dict[str, list[Path]]


def read_spoken_sentences(path: Path, labels: Sequence[str] | None) -> SpokenSentences:
    """Return what systems of a report spoke, without single words and letters.

    Args:
        path: report.json; what it names relatively may lie beside it.
        labels: Of the systems; None takes all voices, and of one voice the recordings too.
    """
    try:
        report = load_json_object(path)
        systems = {system["label"]: system for system in report["systems"]}
        chosen = labels or _choose_labels(systems)
        unknown = [label for label in chosen if label not in systems]
        if unknown:
            raise EvaluationError(
                f"{path} has no system {unknown[0]}; there are {', '.join(systems)}."
            )
        return _collect(path.parent, {label: systems[label] for label in chosen})
    except (LookupError, TypeError, AttributeError):
        raise EvaluationError(
            f"{path} is no report of an evaluation; give the report.json that it wrote."
        ) from None


def _choose_labels(systems: dict[str, dict[str, Any]]) -> list[str]:
    voices = [label for label, system in systems.items() if system["source"] is not None]
    return voices if len(voices) > 1 else list(systems)


def _collect(folder: Path, systems: dict[str, dict[str, Any]]) -> SpokenSentences:
    spoken = {
        label: {
            one["name"]: one for one in system["sentences"] if one["kind"] == Kind.SENTENCE.value
        }
        for label, system in systems.items()
    }
    first = next(iter(spoken.values()), {})
    names = [name for name in first if all(name in some for some in spoken.values())]
    return SpokenSentences(
        names,
        [first[name]["text"] for name in names],
        {
            label: [_find_file(folder, some[name]) for name in names]
            for label, some in spoken.items()
        },
    )


def _find_file(folder: Path, spoken: dict[str, Any]) -> Path:
    """Return where a sentence's sound lies."""
    path = Path(spoken["audio"])
    # `folder / path` is `path` where that is absolute.
    places = [place for place in (path, folder / path) if place.is_file()]
    for place in places:
        if is_own_file(place, folder, spoken.get("sha256")):
            return place
    if places:
        raise EvaluationError(
            f"{places[0]} lies outside of {folder} and is not what was evaluated, as its digest "
            "would show; evaluate again."
        )
    raise EvaluationError(f"The report names {path}, which is not there; evaluate again.")
