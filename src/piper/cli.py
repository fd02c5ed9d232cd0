"""`python -m piper`: flags and texts to speech in a sink."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from piper.config import SynthesisConfig, VoiceConfig
from piper.errors import PiperError, VoiceNotFoundError
from piper.files import refuse_overwriting
from piper.jobs import (
    find_exit_code,
    stops_as_interrupt,
    warn_about_conflict,
)
from piper.messages import configure_logging, say, take_language
from piper.options import parse_arguments
from piper.progress import FILE_INTERVAL_SECONDS, ProgressLine
from piper.system import open_standard_streams
from piper.text.markup import JSON, PLAIN, Utterance, find_kind, parse_text, read_utterances
from piper.text.pieces import Piece
from piper.voices import VoiceFiles, find_voice

# NumPy and ONNX Runtime take a moment to load; --help need not wait for them.
if TYPE_CHECKING:
    from piper.audio.output import Sink
    from piper.audio.subtitles import SubtitleTrack
    from piper.text.frontend import TextOptions
    from piper.voice.voice import PiperVoice

NOTHING_TO_SPEAK = (
    "There was nothing to speak: give a text after --, with --input-file, or on standard input."
)
EXIT_SIGNAL = 128
"""Plus the signal's number: 130 after Ctrl+C, 143 after SIGTERM."""
QUIET_SECONDS = 1.0
"""A run that is done sooner needs no progress."""
_LOGGER = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code.

    Args:
        argv: The arguments after the program's name; None means those of the process.
    """
    open_standard_streams()
    args = parse_arguments(take_language(sys.argv[1:] if argv is None else argv))
    quiet = logging.ERROR if args.quiet else logging.INFO
    configure_logging(logging.DEBUG if args.debug else quiet)
    warn_about_conflict()
    if args.left_out:
        _LOGGER.warning(
            "--output-raw writes to standard output, so %s is left out; --output-format raw writes "
            "samples to a file.",
            args.left_out,
        )
    with stops_as_interrupt() as received:
        return find_exit_code(lambda: _speak_until_stopped(args, received))


def _speak_until_stopped(args: argparse.Namespace, received: list[signal.Signals]) -> int:
    try:
        _speak(args)
    except KeyboardInterrupt as stop:
        number = received[0] if received else signal.SIGINT
        if args.is_batch:
            say(_describe_stop(number, stop), sys.stderr)
        return EXIT_SIGNAL + number
    return 0


def _describe_stop(number: signal.Signals, stop: KeyboardInterrupt) -> str:
    from piper.voice.batch import InterruptedBatchError

    if not isinstance(stop, InterruptedBatchError):
        return f"Stopped by {number.name} before anything was spoken; run it again to begin."
    done = stop.report.spoken + stop.report.skipped
    return (
        f"Stopped by {number.name}: {stop.report.count(done)} done and kept, {stop.left} left; "
        "run the same command again to go on."
    )


def _speak(args: argparse.Namespace) -> None:
    if args.espeak_data is not None:
        from piper.text.phonemizers import DATA_VARIABLE

        os.environ[DATA_VARIABLE] = str(args.espeak_data)  # the processes of --jobs read it, too
    files = _find_voice(args)
    # Each line of JSON says where its speech goes.
    if args.input_format != JSON and _is_sent_on(args):
        args.output_file = "-"
        _LOGGER.info("Writing WAV to standard output; --output-file names a file.")
    _check_output(args, files)
    if args.is_batch:
        _speak_batch(args, files)
    else:
        _speak_in_order(args, files)


def _find_voice(args: argparse.Namespace) -> VoiceFiles:
    folders = [*args.data_dir, *([args.download_dir] if args.download_dir else [])]
    try:
        return find_voice(args.model, data_dirs=folders, config_path=args.config)
    except VoiceNotFoundError:
        if args.download_dir is None or Path(args.model).name != args.model:
            raise
    from piper.download_voices import download_voice

    download_voice(args.model, args.download_dir)
    return find_voice(args.model, data_dirs=[args.download_dir], config_path=args.config)


def _is_sent_on(args: argparse.Namespace) -> bool:
    """Return whether standard output, a pipe or a file, is where speech goes without an option."""
    if args.output_file is not None or args.output_dir is not None or args.output_raw:
        return False
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):  # a program has put something else in its place
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _check_output(args: argparse.Namespace, files: VoiceFiles) -> None:
    """Refuse to write over what is read: the voice, the text or the lexicon."""
    outputs = {"--output-file": args.output_file, "--subtitles": args.subtitles}
    if args.output_file == "-":
        outputs["--output-file"] = "/dev/stdout"
    if args.is_batch:
        from piper.voice.batch import MANIFEST_NAME

        outputs["--output-dir"] = args.output_dir / MANIFEST_NAME
    refuse_overwriting(outputs, _list_inputs(args, files))


def _list_inputs(args: argparse.Namespace, files: VoiceFiles) -> dict[str, Path | str | None]:
    return {
        "standard input": None if args.text or args.input_file else "/dev/stdin",
        "--model": files.model,
        "--config": files.config,
        "--lexicon": args.lexicon,
        **{f"--input-file {path}": path for path in args.input_file},
    }


def _speak_batch(args: argparse.Namespace, files: VoiceFiles) -> None:
    from piper.audio.output import OutputFormat
    from piper.config import load_voice_config
    from piper.voice.batch import LineSettings, speak_lines

    report = speak_lines(
        read_inputs(args),
        files.model,
        args.output_dir,
        config_path=files.config,
        jobs=args.jobs or None,
        ray_address=args.ray,
        inputs=_list_inputs(args, files),
        settings=LineSettings(
            syn_config=_create_config(args, load_voice_config(files.config)),
            output_format=OutputFormat(args.output_format or OutputFormat.WAV),
            output_rate=args.sample_rate,
            seed=args.seed,
            text_options=_create_text_options(args),
        ),
    )
    if not (report.spoken or report.skipped or report.failures):
        raise PiperError(NOTHING_TO_SPEAK)
    say(report.describe(), file=sys.stderr)
    if report.failures:
        raise PiperError(report.describe_failures())


def _speak_in_order(args: argparse.Namespace, files: VoiceFiles) -> None:
    from piper.voice.voice import PiperVoice

    voice = PiperVoice.load(
        files,
        use_cuda=args.cuda,
        seed=args.seed,
        threads=args.threads,
        text_options=_create_text_options(args),
    )
    with ExitStack() as stack:
        speak = _speak_json if args.input_format == JSON else _speak_texts
        if not speak(args, files, voice, stack):
            raise PiperError(NOTHING_TO_SPEAK)


def _speak_texts(
    args: argparse.Namespace, files: VoiceFiles, voice: PiperVoice, stack: ExitStack
) -> float:
    """Speak all there is to one place; return its seconds."""
    sink = stack.enter_context(_create_sink(args, files, voice.config.sample_rate))
    subtitles = progress = None
    if args.subtitles is not None:
        from piper.audio.subtitles import SubtitleTrack, create_subtitle_writer

        subtitles = SubtitleTrack(stack.enter_context(create_subtitle_writer(args.subtitles)))
    utterances: Iterable[Utterance] = read_inputs(args)
    if _has_progress(args):
        utterances = known = list(utterances)
        progress = SpeechProgress(known)
        stack.callback(progress.finish)
    return speak_utterances(
        voice,
        utterances,
        _create_config(args, voice.config),
        sink,
        is_streamed=args.stream,
        is_joined=args.output_dir is None,
        is_one=args.normalize == "utterance" and _writes_one_file(args),
        subtitles=subtitles,
        progress=progress,
    )


def _speak_json(
    args: argparse.Namespace, files: VoiceFiles, voice: PiperVoice, stack: ExitStack
) -> float:
    """Speak each line by its own speaker to its own file, or where the options say."""
    rate = voice.config.sample_rate
    shared: Sink | None = None
    seconds = 0.0
    for utterance in read_inputs(args):
        own = argparse.Namespace(**vars(args))
        own.speaker = args.speaker if utterance.speaker is None else utterance.speaker
        own.pitch = args.pitch if utterance.pitch is None else utterance.pitch
        config = _create_config(own, voice.config)
        if utterance.output_file is None:
            shared = shared or stack.enter_context(_create_sink(args, files, rate))
            seconds += speak_utterances(voice, [utterance], config, shared, is_streamed=args.stream)
            continue
        own.output_file, own.output_dir, own.output_raw = utterance.output_file, None, False
        _check_output(own, files)
        with _create_sink(own, files, rate) as sink:
            seconds += speak_utterances(voice, [utterance], config, sink)
        # The C++ program's sign that the file can be fetched.
        print(utterance.output_file, flush=True)
    return seconds


class SpeechProgress:
    """How many lines, or parts of documents, are spoken; said in runs that are not short."""

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


def speak_utterances(
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

    def speak(text: str | Iterable[Piece], name: str) -> float:
        if is_streamed:
            return sink.write_utterance(voice.synthesize_stream(text, syn_config), name)
        chunks = voice.synthesize(text, syn_config, include_alignments=subtitles is not None)
        return sink.write_utterance(subtitles.follow(chunks) if subtitles else chunks, name)

    if is_one:
        return speak(_join(utterances, progress), "")
    seconds = 0.0
    for utterance in utterances:
        text = utterance.text if progress is None else progress.watch(utterance.pieces)
        if seconds and is_joined and utterance.begins_paragraph:
            pieces = [Piece(text)] if isinstance(text, str) else text
            text = chain([_create_pause(utterance, syn_config)], pieces)
        seconds += speak(text, utterance.name)
    return seconds


def _join(utterances: Iterable[Utterance], progress: SpeechProgress | None) -> Iterator[Piece]:
    for utterance in utterances:
        if utterance.begins_paragraph:
            yield Piece("", ends_paragraph=True)
        yield from utterance.pieces if progress is None else progress.watch(utterance.pieces)


def _create_pause(utterance: Utterance, syn_config: SynthesisConfig) -> Piece:
    """Return the silence before an utterance that begins a paragraph."""
    seconds = syn_config.paragraph_silence_seconds
    if seconds is None:
        # Lines have none between them in other clients, whatever is between their sentences.
        seconds = syn_config.sentence_silence_seconds if utterance.is_document else 0.0
    return Piece("", silence_seconds=seconds)


def _create_config(args: argparse.Namespace, config: VoiceConfig) -> SynthesisConfig:
    from piper.voice.synthesizer import resolve_speaker

    return SynthesisConfig(
        **({} if args.speaker is None else resolve_speaker(config, args.speaker)),
        sentence_silence_seconds=args.sentence_silence or 0.0,
        paragraph_silence_seconds=args.paragraph_silence,
        clause_silence_seconds=args.clause_silence or 0.0,
        ellipsis_silence_seconds=args.ellipsis_silence,
        length_scale=args.length_scale,
        noise_scale=args.noise_scale,
        noise_w_scale=args.noise_w_scale,
        pitch=args.pitch,
        # One way to say each thing, so that a run with --jobs finds what is done.
        normalize_audio=args.normalize != "off",
        normalize="utterance" if args.normalize == "utterance" else None,
        volume=args.volume,
        whole_ends=args.whole_ends,
    )


def _create_text_options(args: argparse.Namespace) -> TextOptions | None:
    from piper.text.frontend import load_text_options

    return load_text_options(args.lexicon, args.write_numbers, args.stress, args.abbreviations)


def _create_sink(args: argparse.Namespace, files: VoiceFiles, sample_rate: int) -> Sink:
    from piper.audio.output import OutputFormat, OutputNaming, create_sink

    naming = args.output_dir_naming
    if naming is None:
        are_lines = not {PLAIN, JSON}.isdisjoint(_find_kinds(args))
        naming = OutputNaming.TIMESTAMP if are_lines else OutputNaming.TEXT
    return create_sink(
        sample_rate,
        sys.stdout.buffer,
        output_file=args.output_file,
        output_dir=args.output_dir,
        naming=OutputNaming(naming),
        is_raw=args.output_raw,
        output_format=OutputFormat(args.output_format) if args.output_format else None,
        output_rate=args.sample_rate,
        inputs=_list_inputs(args, files),
    )


def _writes_one_file(args: argparse.Namespace) -> bool:
    from piper.audio.output import find_player

    is_open = args.output_raw or args.output_dir is not None
    return args.output_file is not None or not (is_open or find_player() is not None)


def _has_progress(args: argparse.Namespace) -> bool:
    """Return whether it can be said how much is left: not of a pipe that is still written to.

    Files in a folder are named as they come, and a player is heard, which is progress enough.
    """
    if (
        args.quiet
        or not args.input_file
        or not all(Path(path).is_file() for path in args.input_file)
    ):
        return False
    return args.output_raw or _writes_one_file(args)


def _find_kinds(args: argparse.Namespace) -> list[str]:
    """Return the kind of markup of each input file, or of the text or standard input."""
    if args.text or not args.input_file:
        return [args.input_format or PLAIN]
    return [args.input_format or find_kind(path) for path in args.input_file]


def read_inputs(args: argparse.Namespace) -> Iterator[Utterance]:
    """Yield what is to be spoken: the command line's text, lines, or whole documents."""
    kinds = _find_kinds(args)
    if args.text:
        yield parse_text(" ".join(args.text), kinds[0])
    elif not args.input_file:
        try:
            yield from read_utterances(sys.stdin.buffer, kinds[0])
        except OSError as error:
            raise PiperError(
                f"Standard input cannot be read ({error.strerror}); give a text after --, or with "
                "--input-file."
            ) from None
    for number, (path, kind) in enumerate(zip(args.input_file, kinds, strict=False)):
        try:
            stream = Path(path).open("rb")  # noqa: SIM115 - only opening may fail like this
        except OSError as error:
            reason = error.strerror or str(error)
            raise PiperError(f"{path} cannot be read ({reason}); check --input-file.") from None
        with stream:
            for place, utterance in enumerate(read_utterances(stream, kind, path)):
                is_new = number > 0 and place == 0
                yield replace(utterance, begins_paragraph=True) if is_new else utterance


if __name__ == "__main__":
    sys.exit(main())
