"""A blind comparison by people, as one page with all its sound. Judges nothing itself.

The page holds which side is which system only in disguise: who looks at it does not see it, who
wants to know can find out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from piper.atomic import replace_on_success
from piper.errors import EvaluationError
from piper.train.data.audio import decode
from piper.train.listening_test.pairs import Pair, plan_pairs
from piper.train.listening_test.sound import match_sounds
from piper.train.pages.excerpts import find_media_type, samples_to_audio

_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


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
        path: The page.
        texts: What is said, shown above each pair; None shows nothing.
        names: Of the sentences, in the result; None takes the file names of the first system.
        seed: Of order and sides.
        most: Pairs at most; None asks for each sentence with each pair of systems.

    Raises:
        EvaluationError: There is nothing to compare.
        DatasetError: A file cannot be decoded.
        OSError: The page cannot be written.
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
        temporary.write_text(_fill_page(data), encoding="utf-8")
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
            sounds[places[label, sentence]] = _encode(
                samples_to_audio(samples, one.sample_rate, "FLAC")
            )
    shown = [
        {
            "text": texts[pair.sentence],
            "sounds": [places[side, pair.sentence] for side in (pair.left, pair.right)],
            "about": _disguise([names[pair.sentence], pair.left, pair.right]),
        }
        for pair in pairs
    ]
    content = json.dumps([sounds, shown]).encode()
    return {"test": hashlib.sha256(content).hexdigest()[:12], "sounds": sounds, "pairs": shown}


def _encode(audio: bytes) -> str:
    return f"data:{find_media_type(audio)};base64,{base64.b64encode(audio).decode('ascii')}"


def _disguise(words: Sequence[str]) -> str:
    return base64.b64encode(json.dumps(words).encode()).decode("ascii")


def _fill_page(data: Mapping[str, Any]) -> str:
    """Return the page with its data, and with a policy that lets no other script run."""
    page = resources.files("piper.train.listening_test").joinpath("page.html")
    text = page.read_text(encoding="utf-8")
    script = _SCRIPT.search(text)
    assert script is not None, "the page has a script"
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode("ascii")
    # In an element of data `</script>` would end it.
    content = json.dumps(data).replace("<", "\\u003c")
    return text.replace("SCRIPT-DIGEST", f"sha256-{digest}").replace("TEST-DATA", content)
