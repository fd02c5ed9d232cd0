"""Speaks one utterance into a sink, with subtitles where asked for. Knows nothing of flags."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from piper.audio.sinks import Sink
from piper.config import SynthesisConfig
from piper.text.piece import Piece
from piper.voice.voice import PiperVoice

if TYPE_CHECKING:
    from piper.voice.subtitle_track import SubtitleTrack


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
