"""Speaks one utterance into a sink, with subtitles where asked for. Knows nothing of flags."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from piper.audio.chunk import AudioChunk, WordTiming
from piper.audio.sinks import Sink
from piper.audio.subtitles import PhonemeTiming, SubtitleWriter, TimedSentence
from piper.config import SynthesisConfig
from piper.text.piece import Piece
from piper.voice.voice import PiperVoice


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

    Raises:
        PiperError: The voice cannot speak so, or the sink cannot write.
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


class SubtitleTrack:
    """Places sentences on the clock of the audio that they stand in.

    Args:
        writer: Takes the timed sentences.
        sample_rate: Hertz of the speech.
    """

    def __init__(self, writer: SubtitleWriter, sample_rate: int) -> None:
        self._writer = writer
        self._sample_rate = sample_rate
        self._num_samples = 0

    def add_chunk(self, chunk: AudioChunk) -> None:
        """Write the sentence that begins now."""
        start = self._num_samples / self._sample_rate
        # Pauses are zeros around the sentence's sound, and no reason to show it.
        sound = np.flatnonzero(chunk.audio_float_array)
        ends = (sound[0], sound[-1] + 1) if len(sound) else (0, len(chunk.audio_float_array))
        begin, end = (start + int(place) / self._sample_rate for place in ends)
        phonemes, first = [], start
        for alignment in chunk.phoneme_alignments or ():
            last = first + alignment.num_samples / self._sample_rate
            times = (min(max(seconds, begin), end) for seconds in (first, last))
            phonemes.append(PhonemeTiming(alignment.phoneme, *times))
            first = last
        words = [
            WordTiming(word.text, start + word.start_seconds, start + word.end_seconds)
            for word in chunk.word_timings or ()
        ]
        self._num_samples += len(chunk.audio_float_array)
        text = " ".join((chunk.text or "".join(chunk.phonemes)).split())
        self._writer.add(TimedSentence(text, begin, end, words, phonemes))


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

    Raises:
        PiperError: The voice cannot speak so, or the sink cannot write.
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
