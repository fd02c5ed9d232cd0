"""Streaming, seeds, threads, mixed speakers, pauses and times, on small real voices."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from piper import PiperVoice, SynthesisConfig
from piper.errors import PiperError
from piper.text.markup import parse_markup
from piper.voice.incoming import IncomingDocument, pace_parts
from piper.voice.synthesizer import pace_sentences, parse_speaker_mix

LONG = "One, two, three; four: five and six were walking along the river when it began to rain."
TEXT = f"Hello there. {LONG} Bye!"
SEEDED = SynthesisConfig(seed=5, normalize="off", length_scale=6.0)


@pytest.fixture(scope="module", params=["tiny", "quick"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def any_voice(request: pytest.FixtureRequest, family: str) -> PiperVoice:
    """A voice of each family of networks."""
    return PiperVoice.load(request.getfixturevalue(f"{family}_voice"))


@pytest.fixture(scope="module")
def several(request: pytest.FixtureRequest, family: str) -> Path:
    path: Path = request.getfixturevalue(f"{family}_voice_multi_speaker")
    return path


@pytest.fixture(scope="module")
def speakers(several: Path) -> PiperVoice:
    return PiperVoice.load(several)


@pytest.fixture(scope="module")
def original(tiny_voice_without_durations: Path) -> PiperVoice:
    return PiperVoice.load(tiny_voice_without_durations, cache_dir=False)


def whole(voice: PiperVoice, text: str, config: SynthesisConfig) -> np.ndarray:
    return np.concatenate([chunk.audio_float_array for chunk in voice.synthesize(text, config)])


def streamed(voice: PiperVoice, text: str, config: SynthesisConfig) -> list[np.ndarray]:
    return [chunk.audio_float_array for chunk in voice.synthesize_stream(text, config)]


@pytest.mark.parametrize("text", ["A.", "One two three.", TEXT])
@pytest.mark.parametrize("length_scale", [0.3, 1.0, 3.3, 9.1])
def test_streamed_equals_unstreamed(any_voice: PiperVoice, text: str, length_scale: float) -> None:
    config = replace(SEEDED, length_scale=length_scale)
    joined = np.concatenate(streamed(any_voice, text, config))
    np.testing.assert_allclose(joined, whole(any_voice, text, config), atol=3e-5)


@pytest.mark.parametrize("speaker", [0, 2])
def test_streamed_equals_unstreamed_with_speakers(speakers: PiperVoice, speaker: int) -> None:
    config = replace(SEEDED, speaker_id=speaker)
    joined = np.concatenate(streamed(speakers, TEXT, config))
    np.testing.assert_allclose(joined, whole(speakers, TEXT, config), atol=3e-5)


def test_it_equals_the_voice_s_own_graph(several: Path) -> None:
    quiet = replace(SEEDED, noise_scale=0.0, noise_w_scale=0.0, speaker_id=1)
    own = PiperVoice.load(several, cache_dir=False)
    clean = PiperVoice.load(several)
    assert not own.network.can_seed
    np.testing.assert_allclose(whole(clean, TEXT, quiet), whole(own, TEXT, quiet), atol=1e-4)


def test_the_first_piece_is_small_and_later_ones_grow(any_voice: PiperVoice) -> None:
    pieces = [
        len(piece) // 256 for piece in streamed(any_voice, LONG, replace(SEEDED, length_scale=20))
    ]
    assert pieces[0] == 16
    assert len(pieces) > 4
    assert all(first < second for first, second in pairwise(pieces[:4]))


def test_a_sentence_is_spoken_as_soon_as_it_is_complete(voice: PiperVoice) -> None:
    taken: list[str] = []

    def write() -> Iterator[str]:
        for piece in ("Hel", "lo there", ".", " How are", " you? ", "Fine"):
            taken.append(piece)
            yield piece

    chunks = voice.synthesize_stream(write(), SEEDED)
    seen: dict[str, str] = {}
    for chunk in chunks:
        seen.setdefault(chunk.text, taken[-1])
    assert seen == {"Hello there.": " How are", "How are you?": " you? ", "Fine": "Fine"}


def test_pieces_of_a_text_give_the_same_as_the_text(voice: PiperVoice) -> None:
    pieces = [TEXT[i : i + 3] for i in range(0, len(TEXT), 3)]
    chunks = voice.synthesize_stream(iter(pieces), SEEDED)
    joined = np.concatenate([chunk.audio_float_array for chunk in chunks])
    np.testing.assert_allclose(joined, whole(voice, TEXT, SEEDED), atol=3e-5)


@pytest.mark.parametrize(
    "text",
    [
        "This is a\nlong sentence over\ntwo lines. And another one.",
        "He works at Acme Corp. and likes it. In 1000. place he came.",
        "Hmm… well then. ok",
        'He said "Go!" to me. Dr. No? Yes! (Really.) Fine\n\nA paragraph. e.g. this one.',
    ],
)
def test_a_text_by_letters_has_the_sentences_of_the_whole(voice: PiperVoice, text: str) -> None:
    """A language model's parts end anywhere; its lines and short forms end no sentence."""
    expected = [sentence.phonemes for sentence in voice.frontend.text_to_sentences(text)]
    found = [paced.sentence.phonemes for paced in pace_parts(voice.frontend, iter(text))]
    assert found == expected


MARKDOWN = """Sure! Here is a list. I like it, it is 5. 6 is more:

- **bold** item one
- item `two`

```python
print("no")

x = 1
```

The end. It is *over*. Good bye!
Yes.

# Head
Last line
goes on. 5. April was cold."""


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_markdown_by_parts_has_the_sentences_of_the_whole(voice: PiperVoice, size: int) -> None:
    incoming = IncomingDocument(voice.frontend, "markdown")
    parts = [MARKDOWN[at : at + size] for at in range(0, len(MARKDOWN), size)]
    found = [paced for part in parts for paced in incoming.add(part)]
    assert len(found) >= 9
    found += incoming.finish()
    expected = list(pace_sentences(voice.frontend, parse_markup(MARKDOWN, "markdown")))
    assert [paced.sentence.phonemes for paced in found] == [
        paced.sentence.phonemes for paced in expected
    ]
    begins = [paced.sentence.text for paced in found if paced.begins_paragraph]
    assert begins == ["bold item one", "The end.", "Head", "Last line goes on."]


def test_a_long_block_of_code_is_neither_kept_nor_read(voice: PiperVoice) -> None:
    incoming = IncomingDocument(voice.frontend, "markdown")
    found = incoming.add("Look:\n\n```\n")
    for _ in range(500):
        found += incoming.add("a = 1  # a line of code\n\n")
        assert len(incoming.rest) < 2100
    found += incoming.add("```\n\nDone.")
    found += incoming.finish()
    assert [paced.sentence.text for paced in found] == ["Look:", "Done."]


ENDLESS = "and then the boat went down the river to the sea " * 60


def test_a_text_without_stops_is_spoken_while_it_comes(voice: PiperVoice) -> None:
    read: list[int] = []

    def write() -> Iterator[str]:
        for place, word in enumerate(ENDLESS.split()):
            read.append(place)
            yield f"{word} "

    sentences = (paced.sentence for paced in pace_parts(voice.frontend, write()))
    first = next(sentences)
    assert first.goes_on
    assert len(read) < 150
    texts = [first.text, *(sentence.text for sentence in sentences)]
    assert " ".join(texts) == ENDLESS.strip()


def test_parts_of_a_long_sentence_have_no_silence_of_sentences(voice: PiperVoice) -> None:
    text = f"{ENDLESS[:2000].strip()}. Yes."
    fast = replace(SEEDED, length_scale=0.5)
    plain = list(voice.synthesize(text, fast))
    assert len(plain) > 5
    config = replace(fast, sentence_silence_seconds=0.5, clause_silence_seconds=0.1)
    paused = list(voice.synthesize(text, config))
    lengths = [len(chunk.audio_float_array) for chunk in plain]
    silences = [0] + [1600] * (len(plain) - 2) + [8000]
    assert [len(chunk.audio_float_array) for chunk in paused] == list(
        map(sum, zip(lengths, silences, strict=True))
    )


def test_ids_of_a_long_sentence_are_spoken_in_parts(any_voice: PiperVoice) -> None:
    [sentence] = any_voice.frontend.text_to_sentences(ENDLESS[:1400])
    assert len(sentence.ids) > 2000
    config = replace(SEEDED, length_scale=0.5)
    audio, samples = any_voice.phoneme_ids_to_audio(sentence.ids, config, include_alignments=True)
    assert samples is not None
    assert len(samples) == len(sentence.ids)
    assert samples.sum() == len(audio)


def measure_memory(voice: Path, text: str) -> int:
    """Return the highest resident memory of the command, in kilobytes."""
    code = (
        "import sys; from pathlib import Path; from piper.cli import main; main(sys.argv[1:]);"
        "print(Path('/proc/self/status').read_text(), file=sys.stderr)"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "-m",
        str(voice),
        "--output-raw",
        "--length-scale",
        "0.3",
    ]
    child = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    assert child.stdout
    [kilobytes] = re.findall(r"VmHWM:\s+(\d+) kB", child.stderr.decode())
    return int(kilobytes)


def test_a_text_without_stops_takes_no_more_memory_than_a_sentence(tiny_voice: Path) -> None:
    sentence = ENDLESS[:220]
    ordinary = measure_memory(tiny_voice, sentence)
    assert measure_memory(tiny_voice, ENDLESS * 2) < 1.3 * ordinary


def test_a_seed_repeats_each_call_and_sentences_differ(any_voice: PiperVoice) -> None:
    first = whole(any_voice, TEXT, SEEDED)
    assert np.array_equal(first, whole(any_voice, TEXT, SEEDED))
    other = whole(any_voice, TEXT, replace(SEEDED, seed=6))
    assert len(other) != len(first) or not np.array_equal(first, other)
    [one, two] = any_voice.synthesize("Hi. Hi.", SEEDED)
    size = min(len(one.audio_float_array), len(two.audio_float_array))
    assert not np.array_equal(one.audio_float_array[:size], two.audio_float_array[:size])


def test_many_threads_give_what_one_gives(speakers: PiperVoice) -> None:
    configs = [replace(SEEDED, seed=i, speaker_id=i % 3, length_scale=2.0) for i in range(12)]
    expected = [whole(speakers, TEXT, config) for config in configs]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda config: whole(speakers, TEXT, config), configs))
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


def test_a_planned_text_tells_its_length_first(voice: PiperVoice) -> None:
    config = SynthesisConfig(seed=1, sentence_silence_seconds=0.1)
    for normalize in ("off", "sentence"):
        config = replace(config, normalize=normalize)
        known: list[int] = []
        pieces = list(
            voice.synthesize_stream(LONG, config, max_planned_ids=10_000, watch=known.append)
        )
        audio = np.concatenate([piece.audio_float_array for piece in pieces])
        assert {piece.total_samples for piece in pieces} == {len(audio)}
        assert sum(known) == len(audio)
        plain = [piece.audio_float_array for piece in voice.synthesize_stream(LONG, config)]
        np.testing.assert_array_equal(audio, np.concatenate(plain))
    pieces = list(voice.synthesize_stream(LONG, config, max_planned_ids=10))
    assert {piece.total_samples for piece in pieces} == {None}


def test_who_watches_ends_the_speech(voice: PiperVoice) -> None:
    known = 0

    def watch(num_samples: int) -> None:
        nonlocal known
        known += num_samples
        if known > 5000:
            raise TimeoutError

    given = 0
    with pytest.raises(TimeoutError):
        for piece in voice.synthesize_stream(LONG, SEEDED, watch=watch):
            given += len(piece.audio_float_array)
    assert 0 < given <= 5000
    known = 0
    with pytest.raises(TimeoutError):
        # Before any sound is made.
        next(voice.synthesize_stream(LONG, SEEDED, max_planned_ids=10_000, watch=watch))


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same(tiny_voice: Path, threads: int) -> None:
    """Windows are cut for so many workers, and must not be heard."""
    config = replace(SEEDED, length_scale=9.0)
    found = PiperVoice.load(tiny_voice, threads=threads)
    expected = whole(PiperVoice.load(tiny_voice, threads=1), LONG, config)
    np.testing.assert_allclose(whole(found, LONG, config), expected, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(streamed(found, LONG, config)), expected, atol=1e-5)


def test_who_stops_listening_stops_the_work(voice: PiperVoice) -> None:
    config = replace(SEEDED, length_scale=30.0)
    pieces = voice.synthesize_stream(LONG, config)
    first = next(pieces).audio_float_array
    pieces.close()
    again = streamed(voice, LONG, config)[0]
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("scales", [{"length_scale": 1e9}, {"noise_w_scale": 1e4}])
def test_a_wrong_scale_does_not_take_all_memory(
    any_voice: PiperVoice, scales: dict[str, float]
) -> None:
    with pytest.raises(PiperError, match=r"frames of sound; lower the length scale"):
        whole(any_voice, LONG, replace(SEEDED, **scales))


def test_a_mixture_lies_between_its_speakers(speakers: PiperVoice) -> None:
    def speak(mix: dict[int, float]) -> np.ndarray:
        return whole(speakers, "Hi.", replace(SEEDED, speaker_mix=mix))

    pure = whole(speakers, "Hi.", replace(SEEDED, speaker_id=2))
    np.testing.assert_allclose(speak({2: 3.0}), pure, atol=1e-6)
    np.testing.assert_allclose(speak({2: 1.0, 0: 0.0}), pure, atol=1e-6)
    mixed = speak({2: 0.5, 0: 0.5})
    assert len(mixed) != len(pure) or np.abs(mixed - pure).max() > 1e-4


def test_mixtures_that_make_no_sense(speakers: PiperVoice, original: PiperVoice) -> None:
    assert parse_speaker_mix(speakers.config, "vera:3, 0:1") == {2: 0.75, 0: 0.25}
    for text, message in [
        ("1", "is no mixture"),
        ("1:x", "is no mixture"),
        ("7:1", "no speaker 7"),
        ("1:0", "shares"),
        ("1:-1,2:3", "shares"),
    ]:
        with pytest.raises(PiperError, match=message):
            parse_speaker_mix(speakers.config, text)


def test_a_mixture_needs_the_optimised_model(tiny_voice_multi_speaker: Path) -> None:
    own = PiperVoice.load(tiny_voice_multi_speaker, cache_dir=False)
    with pytest.raises(PiperError, match="cannot be mixed"):
        whole(own, "Hi.", SynthesisConfig(speaker_mix={0: 1, 1: 1}))


def test_the_original_streams_by_sentences(
    original: PiperVoice, caplog: pytest.LogCaptureFixture
) -> None:
    chunks = list(original.synthesize_stream("Hi. Ho!", SynthesisConfig(seed=1)))
    assert [(chunk.sentence, chunk.is_first) for chunk in chunks] == [(0, True), (1, True)]
    list(original.synthesize("Hi.", SynthesisConfig(seed=1)))
    assert [record.message for record in caplog.records] == [
        "This voice speaks by its own graph, whose noise takes no seed at each call; "
        "give the seed to PiperVoice.load()."
    ]


def test_pauses_between_sentences_and_paragraphs(voice: PiperVoice) -> None:
    text = "Hi. Ho.\n\nHa."
    plain = [c.audio_float_array for c in voice.synthesize(text, SEEDED)]
    config = replace(SEEDED, sentence_silence_seconds=0.25, paragraph_silence_seconds=0.5)
    chunks = list(voice.synthesize(text, config, include_alignments=True))
    silences = (0, 4000, 8000)
    for chunk, old, silence in zip(chunks, plain, silences, strict=True):
        audio = chunk.audio_float_array
        assert not audio[:silence].any()
        assert np.array_equal(audio[silence:], old)
        assert chunk.phoneme_id_samples is not None
        assert chunk.phoneme_id_samples.sum() == len(audio)


def test_pauses_inside_a_sentence(voice: PiperVoice) -> None:
    config = replace(SEEDED, clause_silence_seconds=0.1)
    [plain] = voice.synthesize(LONG, SEEDED, include_alignments=True)
    [paused] = voice.synthesize(LONG, config, include_alignments=True)
    assert len(paused.audio_float_array) == len(plain.audio_float_array) + 4 * 1600
    assert paused.phoneme_id_samples is not None
    assert plain.phoneme_id_samples is not None
    longer = paused.phoneme_id_samples - plain.phoneme_id_samples
    assert sorted(longer[longer > 0]) == [1600] * 4
    ends = np.cumsum(paused.phoneme_id_samples)[longer > 0]
    for end in ends:
        assert not paused.audio_float_array[end - 1600 : end].any()
    joined = np.concatenate(streamed(voice, LONG, config))
    np.testing.assert_allclose(joined, paused.audio_float_array, atol=1e-5)


def test_pauses_after_an_ellipsis(voice: PiperVoice) -> None:
    config = replace(SEEDED, ellipsis_silence_seconds=0.5)
    text = "Well… maybe, yes."
    added = len(whole(voice, text, config)) - len(whole(voice, text, SEEDED))
    assert added == 8000


@pytest.mark.parametrize("name", ["sentence", "paragraph", "clause", "ellipsis"])
def test_a_pause_that_makes_no_sense(voice: PiperVoice, name: str) -> None:
    config = SynthesisConfig(**{f"{name}_silence_seconds": -1.0})  # type: ignore[arg-type]
    with pytest.raises(PiperError, match=f"{name}_silence_seconds is -1.0"):
        list(voice.synthesize("Hi.", config))


def test_words_follow_each_other_within_the_sentence(any_voice: PiperVoice) -> None:
    [chunk] = any_voice.synthesize("Hello, my friends.", SEEDED, include_alignments=True)
    assert chunk.word_timings is not None
    assert [word.text for word in chunk.word_timings] == ["Hello", "my", "friends"]
    times = [t for word in chunk.word_timings for t in (word.start_seconds, word.end_seconds)]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] <= chunk.duration_seconds
    first = next(iter(any_voice.synthesize_stream("Hello, my friends.", SEEDED, True)))
    assert first.word_timings == chunk.word_timings
    assert first.phoneme_alignments == chunk.phoneme_alignments


def test_loudness_by_sentence_by_utterance_and_off(voice: PiperVoice) -> None:
    def peaks(normalize: str) -> list[float]:
        config = replace(SEEDED, normalize=normalize)  # type: ignore[arg-type]
        return [float(np.abs(c.audio_float_array).max()) for c in voice.synthesize(TEXT, config)]

    raw, sentence, utterance = peaks("off"), peaks("sentence"), peaks("utterance")
    assert sentence == pytest.approx([1.0] * 3)
    assert utterance == pytest.approx([peak / max(raw) for peak in raw], rel=1e-5)
    for normalize in ("sentence", "utterance"):
        config = replace(SEEDED, normalize=normalize)  # type: ignore[arg-type]
        pieces = streamed(voice, TEXT, config)
        assert len(pieces) == 3
        np.testing.assert_allclose(np.concatenate(pieces), whole(voice, TEXT, config), atol=1e-6)
    with pytest.raises(PiperError, match="normalize is 'loud'"):
        voice.synthesize("Hi.", SynthesisConfig(normalize="loud"))  # type: ignore[arg-type]
