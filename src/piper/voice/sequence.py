"""Speaks utterances one after the other into one sink, with progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TextIO

from piper.audio.sinks import Sink
from piper.config import SynthesisConfig
from piper.progress import FILE_INTERVAL_SECONDS, ProgressLine
from piper.text.markup import Piece, Utterance
from piper.voice.voice import PiperVoice

if TYPE_CHECKING:
    from piper.audio.subtitles import SubtitleTrack


def stream_utterance(
    voice: PiperVoice,
    text: str | Iterable[Piece],
    syn_config: SynthesisConfig,
    sink: Sink,
    *,
    name: str = "",
) -> float:
    """Speak one utterance piece by piece, the first before its sentence is done.

    Args:
        voice: Who speaks.
        text: What.
        syn_config: How; its loudness is left as the network makes it.
        sink: Where to; nothing is begun for an utterance without words.
        name: What the sink may call it.

    Returns:
        Seconds of audio; 0 where there is nothing in it to speak.
    """
    num_samples = 0
    for piece in voice.synthesize_stream(text, syn_config):
        if not num_samples:
            sink.begin(name)
        sink.write(piece.audio_int16_array)
        num_samples += len(piece.audio_int16_array)
    if num_samples:
        sink.end()
    return num_samples / voice.config.sample_rate


def speak_utterance(
    voice: PiperVoice,
    text: str | Iterable[Piece],
    syn_config: SynthesisConfig,
    sink: Sink,
    *,
    name: str = "",
    subtitles: SubtitleTrack | None = None,
) -> float:
    """Speak one utterance; return its seconds, 0 where there is nothing in it to speak.

    Args:
        voice: Who speaks.
        text: What.
        syn_config: How.
        sink: Where to; nothing is begun for an utterance without words.
        name: What the sink may call it.
        subtitles: Takes the sentences with their times.
    """
    num_samples = 0
    for chunk in voice.synthesize(text, syn_config, include_alignments=subtitles is not None):
        if not num_samples:
            sink.begin(name)
        sink.write(chunk.audio_int16_array)
        num_samples += len(chunk.audio_float_array)
        if subtitles is not None:
            subtitles.add_chunk(chunk)
    if num_samples:
        sink.end()
    return num_samples / voice.config.sample_rate


QUIET_SECONDS = 1.0
"""A run that is done sooner needs no progress."""


class SpeechProgress:
    """How many lines, or parts of documents, are spoken; said in runs that are not short.

    Args:
        utterances: All that is to be spoken.
        stream: Where to write; None means standard error.
    """

    def __init__(self, utterances: Sequence[Utterance], stream: TextIO | None = None) -> None:
        self._total = sum(len(utterance.pieces) for utterance in utterances)
        are_lines = not any(utterance.is_document for utterance in utterances)
        unit = "lines" if are_lines else "parts"
        self._line = ProgressLine("Speaking", self._total, unit, stream)
        # Elsewhere than on a terminal each line stays, so there must be a reason for it.
        self._quiet_seconds = QUIET_SECONDS if self._line.is_terminal else FILE_INTERVAL_SECONDS
        self._start = time.monotonic()
        self._done = 0
        self._is_shown = False

    def watch(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the pieces, and count each when the next one is asked for."""
        for piece in pieces:
            yield piece
            self._done += 1
            if time.monotonic() - self._start >= self._quiet_seconds and self._total > 1:
                self._is_shown = True
                self._line.show(self._done)

    def finish(self) -> None:
        """End the line, if there is one."""
        if self._is_shown:
            self._line.finish(self._done)


def speak_sequence(
    voice: PiperVoice,
    utterances: Iterable[Utterance],
    syn_config: SynthesisConfig,
    sink: Sink,
    *,
    is_streamed: bool = False,
    is_joined: bool = True,
    is_one: bool = False,
    subtitles: SubtitleTrack | None = None,
    progress: SpeechProgress | None = None,
) -> float:
    """Speak utterances; return their seconds, 0 where there is nothing in them to speak.

    Args:
        voice: Who speaks.
        utterances: What; each is read when the one before it is spoken.
        syn_config: How.
        sink: Where to.
        is_streamed: In pieces, the first of which comes before its sentence is done.
        is_joined: Whether they are heard one after the other, so that the silence of paragraphs
            belongs between them.
        is_one: Speak them as one utterance, which has one loudness.
        subtitles: Takes the sentences with their times; not when streamed.
        progress: Is told what is done.
    """

    def speak(pieces: Iterable[Piece], name: str) -> float:
        if is_streamed:
            return stream_utterance(voice, pieces, syn_config, sink, name=name)
        return speak_utterance(voice, pieces, syn_config, sink, name=name, subtitles=subtitles)

    def watch(utterance: Utterance) -> Iterable[Piece]:
        return utterance.pieces if progress is None else progress.watch(utterance.pieces)

    if is_one:
        return speak(_join(utterances, watch), "")
    seconds = 0.0
    for utterance in utterances:
        pieces = watch(utterance)
        if seconds and is_joined and utterance.begins_paragraph:
            pieces = chain([_create_pause(utterance, syn_config)], pieces)
        seconds += speak(pieces, utterance.name)
    return seconds


def _join(
    utterances: Iterable[Utterance], watch: Callable[[Utterance], Iterable[Piece]]
) -> Iterator[Piece]:
    for utterance in utterances:
        if utterance.begins_paragraph:
            yield Piece("", ends_paragraph=True)
        yield from watch(utterance)


def _create_pause(utterance: Utterance, syn_config: SynthesisConfig) -> Piece:
    """Return the silence before an utterance that begins a paragraph."""
    seconds = syn_config.paragraph_silence_seconds
    if seconds is None:
        # Lines have none between them in other clients, whatever is between their sentences.
        seconds = syn_config.sentence_silence_seconds if utterance.is_document else 0.0
    return Piece("", silence_seconds=seconds)
