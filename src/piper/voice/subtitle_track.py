"""Places what is spoken on the clock of the audio for subtitles. Knows no formats of them."""

from __future__ import annotations

import numpy as np

from piper.audio.chunk import AudioChunk, WordTiming
from piper.audio.subtitles import PhonemeTiming, SubtitleWriter, TimedSentence


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
