"""Speaks one utterance into a sink, with subtitles where asked for. Knows nothing of flags."""

from __future__ import annotations

from piper.audio.chunk import AudioChunk, WordTiming
from piper.audio.encode import create_silence
from piper.audio.sinks import Sink
from piper.audio.subtitles import PhonemeTiming, SubtitleWriter, TimedSentence
from piper.config import SynthesisConfig
from piper.voice.voice import PiperVoice


def stream_utterance(
    voice: PiperVoice,
    text: str,
    syn_config: SynthesisConfig,
    sink: Sink,
    *,
    silence_seconds: float = 0.0,
) -> float:
    """Speak one utterance piece by piece, the first before its sentence is done.

    Args:
        voice: Who speaks.
        text: What.
        syn_config: How; its loudness is left as the network makes it.
        sink: Where to; nothing is begun for an utterance without words.
        silence_seconds: Silence between two sentences.

    Returns:
        Seconds of audio; 0 where there is nothing in it to speak.

    Raises:
        PiperError: The voice cannot speak so, or the sink cannot write.
    """
    silence = create_silence(silence_seconds, voice.config.sample_rate)
    num_samples = 0
    has_begun = False
    for piece in voice.synthesize_stream(text, syn_config):
        if not has_begun:
            sink.begin(text)
            has_begun = True
        elif piece.is_first:
            sink.write(silence)
            num_samples += len(silence)
        sink.write(piece.audio_int16_array)
        num_samples += len(piece.audio_int16_array)
    if has_begun:
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

    def add_silence(self, num_samples: int) -> None:
        """Let time pass."""
        self._num_samples += num_samples

    def add_chunk(self, chunk: AudioChunk) -> None:
        """Write the sentence that begins now."""
        start = self._num_samples / self._sample_rate
        phonemes, first = [], self._num_samples
        for alignment in chunk.phoneme_alignments or ():
            last = first + alignment.num_samples
            phonemes.append(
                PhonemeTiming(
                    alignment.phoneme, first / self._sample_rate, last / self._sample_rate
                )
            )
            first = last
        words = [
            WordTiming(word.text, start + word.start_seconds, start + word.end_seconds)
            for word in chunk.word_timings or ()
        ]
        self._num_samples += len(chunk.audio_float_array)
        end = self._num_samples / self._sample_rate
        text = " ".join((chunk.text or "".join(chunk.phonemes)).split())
        self._writer.add(TimedSentence(text, start, end, words, phonemes))


def speak_utterance(
    voice: PiperVoice,
    text: str,
    syn_config: SynthesisConfig,
    sink: Sink,
    *,
    silence_seconds: float = 0.0,
    subtitles: SubtitleTrack | None = None,
) -> float:
    """Speak one utterance; return its seconds, 0 where there is nothing in it to speak.

    Args:
        voice: Who speaks.
        text: What.
        syn_config: How.
        sink: Where to; nothing is begun for an utterance without words.
        silence_seconds: Silence between two sentences.
        subtitles: Takes the sentences with their times.

    Raises:
        PiperError: The voice cannot speak so, or the sink cannot write.
    """
    silence = create_silence(silence_seconds, voice.config.sample_rate)
    num_samples = 0
    has_begun = False
    for chunk in voice.synthesize(text, syn_config, include_alignments=subtitles is not None):
        if has_begun:
            sink.write(silence)
            num_samples += len(silence)
            if subtitles is not None:
                subtitles.add_silence(len(silence))
        else:
            sink.begin(text)
            has_begun = True
        sink.write(chunk.audio_int16_array)
        num_samples += len(chunk.audio_float_array)
        if subtitles is not None:
            subtitles.add_chunk(chunk)
    if has_begun:
        sink.end()
    return num_samples / voice.config.sample_rate
