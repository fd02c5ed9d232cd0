"""`python -m piper`: flags and texts to speech in a sink. Knows nothing of how either works."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from piper.config import SynthesisConfig, VoiceConfig
from piper.errors import PiperError
from piper.options import is_batch, parse_arguments

if TYPE_CHECKING:
    from piper.audio.sinks import Sink
    from piper.text.options import TextOptions
    from piper.voices import VoiceFiles

NOTHING_TO_SPEAK = (
    "There was nothing to speak: give a text after --, with --input-file, or on standard input."
)

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
    from piper.voices import find_voice

    files = find_voice(args.model, data_dirs=args.data_dir, config_path=args.config)
    if is_batch(args):
        _speak_batch(args, files)
    else:
        _speak_in_order(args, files)


def _speak_in_order(args: argparse.Namespace, files: VoiceFiles) -> None:
    # NumPy and ONNX Runtime take a moment to load; --help need not wait for them.
    from piper.audio.subtitles import create_subtitle_writer
    from piper.voice.utterance import SubtitleTrack, speak_utterance, stream_utterance
    from piper.voice.voice import PiperVoice

    voice = PiperVoice.load(
        files.model,
        files.config,
        use_cuda=args.cuda,
        seed=args.seed,
        threads=args.threads,
        text_options=_create_text_options(args),
    )
    syn_config = _create_config(args, voice.config)
    with ExitStack() as stack:
        sink = stack.enter_context(_create_sink(args, voice.config.sample_rate))
        subtitles = None
        if args.subtitles is not None:
            writer = stack.enter_context(create_subtitle_writer(args.subtitles))
            subtitles = SubtitleTrack(writer, voice.config.sample_rate)
        seconds = 0.0
        silence = args.sentence_silence
        for text in read_utterances(args):
            utterance = (voice, text, syn_config, sink)
            if args.stream:
                seconds += stream_utterance(*utterance, silence_seconds=silence)
            else:
                seconds += speak_utterance(*utterance, silence_seconds=silence, subtitles=subtitles)
        if not seconds:
            raise PiperError(NOTHING_TO_SPEAK)


def _speak_batch(args: argparse.Namespace, files: VoiceFiles) -> None:
    from piper.audio.formats import OutputFormat
    from piper.config import load_voice_config
    from piper.voice.batch import speak_lines
    from piper.voice.batch_line import LineSettings

    report = speak_lines(
        read_utterances(args),
        files.model,
        args.output_dir,
        config_path=files.config,
        jobs=args.jobs or None,
        ray_address=args.ray,
        settings=LineSettings(
            syn_config=_create_config(args, load_voice_config(files.config)),
            sentence_silence_seconds=args.sentence_silence,
            output_format=OutputFormat(args.output_format or OutputFormat.WAV),
            output_rate=args.sample_rate,
            seed=args.seed,
            text_options=_create_text_options(args),
        ),
    )
    if not (report.spoken or report.skipped or report.failures):
        raise PiperError(NOTHING_TO_SPEAK)
    print(report.describe(), file=sys.stderr)
    if report.failures:
        raise PiperError(report.describe_failures())


def _create_config(args: argparse.Namespace, config: VoiceConfig) -> SynthesisConfig:
    from piper.voice.speakers import find_speaker, parse_speaker_mix

    mix = None
    if args.speaker and ":" in args.speaker and args.speaker not in config.speaker_id_map:
        mix = parse_speaker_mix(config, args.speaker)
    return SynthesisConfig(
        speaker_id=find_speaker(config, None if mix else args.speaker),
        speaker_mix=mix,
        clause_silence_seconds=args.clause_silence or 0.0,
        ellipsis_silence_seconds=args.ellipsis_silence,
        length_scale=args.length_scale,
        noise_scale=args.noise_scale,
        noise_w_scale=args.noise_w_scale,
        normalize_audio=not args.no_normalize,
        volume=args.volume,
    )


def _create_text_options(args: argparse.Namespace) -> TextOptions | None:
    if args.lexicon is None and args.write_numbers is None and args.stress is None:
        return None
    from piper.text.lexicon import load_lexicon
    from piper.text.options import TextOptions

    return TextOptions(
        lexicon=None if args.lexicon is None else load_lexicon(args.lexicon),
        write_numbers=args.write_numbers,
        stress=args.stress,
    )


def _create_sink(args: argparse.Namespace, sample_rate: int) -> Sink:
    from piper.audio.formats import OutputFormat
    from piper.audio.naming import OutputNaming
    from piper.audio.sinks import create_sink

    return create_sink(
        sample_rate,
        sys.stdout.buffer,
        output_file=args.output_file,
        output_dir=args.output_dir,
        naming=OutputNaming(args.output_dir_naming),
        is_raw=args.output_raw,
        output_format=OutputFormat(args.output_format) if args.output_format else None,
        output_rate=args.sample_rate,
    )


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
