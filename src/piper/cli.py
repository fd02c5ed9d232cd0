"""`python -m piper`: flags and texts to speech in a sink. Knows nothing of how either works."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from piper.config import SynthesisConfig
from piper.errors import PiperError
from piper.options import parse_arguments

if TYPE_CHECKING:
    from piper.audio.sinks import Sink
    from piper.voice.voice import PiperVoice

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, what other programs of a pipe end with


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Args:
        argv: The arguments after the program's name; None means those of the process.
    """
    args = parse_arguments(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.DEBUG if args.debug else logging.INFO, format="%(message)s")
    try:
        _speak(args)
    except PiperError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes standard output once more when it ends; let it do so in vain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return 0


def _speak(args: argparse.Namespace) -> None:
    # NumPy and ONNX Runtime take a moment to load; --help need not wait for them.
    from piper.audio.sinks import OutputNaming, create_sink
    from piper.voice.speakers import find_speaker
    from piper.voice.voice import PiperVoice
    from piper.voices import find_voice

    files = find_voice(args.model, data_dirs=args.data_dir, config_path=args.config)
    voice = PiperVoice.load(files.model, files.config, use_cuda=args.cuda, seed=args.seed)
    syn_config = SynthesisConfig(
        speaker_id=find_speaker(voice.config, args.speaker),
        length_scale=args.length_scale,
        noise_scale=args.noise_scale,
        noise_w_scale=args.noise_w_scale,
        normalize_audio=not args.no_normalize,
        volume=args.volume,
    )
    sink = create_sink(
        voice.config.sample_rate,
        sys.stdout.buffer,
        output_file=args.output_file,
        output_dir=args.output_dir,
        naming=OutputNaming(args.output_dir_naming),
        is_raw=args.output_raw,
    )
    with sink:
        has_spoken = False
        for text in read_utterances(args):
            has_spoken |= _speak_utterance(voice, text, syn_config, args.sentence_silence, sink)
        if not has_spoken:
            raise PiperError(
                "There was nothing to speak: give a text after --, with --input-file, "
                "or on standard input."
            )


def _speak_utterance(
    voice: PiperVoice,
    text: str,
    syn_config: SynthesisConfig,
    silence_seconds: float,
    sink: Sink,
) -> bool:
    """Speak one utterance; return whether there was anything in it to speak."""
    from piper.audio.encode import create_silence

    silence = create_silence(silence_seconds, voice.config.sample_rate)
    has_spoken = False
    for chunk in voice.synthesize(text, syn_config):
        if has_spoken:
            sink.write(silence)
        else:
            sink.begin(text)
            has_spoken = True
        sink.write(chunk.audio_int16_array)
    if has_spoken:
        sink.end()
    return has_spoken


def read_utterances(args: argparse.Namespace) -> Iterator[str]:
    """Yield the texts to speak: the command line's, or the lines of files or standard input.

    Raises:
        PiperError: A file cannot be read, or is not UTF-8.
    """
    if args.text:
        yield " ".join(args.text)
        return
    if not args.input_file:
        yield from _decode_lines(sys.stdin.buffer, "standard input")
    for path in args.input_file:
        try:
            stream = Path(path).open("rb")  # noqa: SIM115 - only opening may fail like this
        except OSError as error:
            reason = error.strerror or str(error)
            raise PiperError(f"{path} cannot be read ({reason}); check --input-file.") from None
        with stream:
            yield from _decode_lines(stream, path)


def _decode_lines(lines: Iterable[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            # A byte order mark, as some editors write it, would be read aloud.
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise PiperError(f"{name}, line {number}: not UTF-8 text; convert it.") from None
        if text:
            yield text


if __name__ == "__main__":
    sys.exit(main())
