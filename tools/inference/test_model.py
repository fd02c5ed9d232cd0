"""Speaks a sentence with the voice at hand, and says how fast.

python tools/inference/test_model.py [--model M.onnx] [--text TEXT] [--output-file O.wav]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

if importlib.util.find_spec("piper") is None:
    sys.exit(
        f"The package piper is not installed for {sys.executable}; run `make install` in {ROOT} "
        "and then `source .venv/bin/activate`."
    )

from piper.errors import PiperError, VoiceNotFoundError  # noqa: E402

READY_VOICE = "felix_mirage_epoch749.onnx"
"""The voice that the quick start names."""
VOICE_FOLDERS = ("demo", "voices", "lightning_logs")
TEXTS = {"ru": "Привет, это тест."}
OTHER_TEXT = "Hello, this is a test."
EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; return its exit code.

    Args:
        argv: The arguments after the program's name; None means those of the process.
    """
    args = create_parser().parse_args(argv)
    try:
        model = args.model if args.model is not None else find_model(ROOT, Path())
        speak(model, args.config, args.text, args.output_file)
    except PiperError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def create_parser() -> argparse.ArgumentParser:
    """Return the parser of all flags."""
    parser = argparse.ArgumentParser(
        description="Speak a sentence with a voice, and say how fast that was."
    )
    add = parser.add_argument
    add(
        "-m",
        "--model",
        type=Path,
        metavar="FILE",
        help=f"the ONNX file (default: {READY_VOICE}, else the newest voice of this project)",
    )
    add("-c", "--config", type=Path, metavar="FILE", help="its JSON (default: FILE.json beside it)")
    add("-t", "--text", help="what to speak (default: a sentence in the voice's language)")
    add(
        "-f",
        "--output-file",
        "--output_file",
        type=Path,
        default=Path("output.wav"),
        metavar="FILE",
        help="the WAV to write (default: %(default)s)",
    )
    return parser


def find_model(root: Path, here: Path) -> Path:
    """Find the voice to try: the quick start's where it lies, else the newest of this project.

    Args:
        root: The repository.
        here: The current folder.

    Raises:
        VoiceNotFoundError: There is none.
    """
    for folder in (root, here):
        if (folder / READY_VOICE).is_file():
            return folder / READY_VOICE
    # Only these folders: an environment or a dataset beside them may hold ONNX files of its own.
    found = [*root.glob("*.onnx")]
    for name in VOICE_FOLDERS:
        found += (root / name).rglob("*.onnx")
    voices = [path for path in found if path.with_name(f"{path.name}.json").is_file()]
    if voices:
        return max(voices, key=lambda path: path.stat().st_mtime)
    raise VoiceNotFoundError(
        f"There is no voice in {root} yet: put {READY_VOICE} and its JSON there, train one with "
        "`make demo`, or download one with `python -m piper.download_voices NAME` and give it "
        "with --model."
    )


def speak(model: Path, config: Path | None, text: str | None, output_file: Path) -> None:
    """Speak into a WAV file and print what it took.

    Raises:
        PiperError: The voice cannot be loaded, there is nothing to speak, or the file cannot be
            written.
    """
    # NumPy and ONNX Runtime take a moment to load; --help need not wait for them.
    from piper.audio.output import AudioWriter
    from piper.voice.voice import PiperVoice

    begin = time.perf_counter()
    voice = PiperVoice.load(model, config)
    loading_seconds = time.perf_counter() - begin
    if text is None:
        text = TEXTS.get(voice.config.espeak_voice.partition("-")[0], OTHER_TEXT)
    begin = time.perf_counter()
    chunks = list(voice.synthesize(text))
    speaking_seconds = time.perf_counter() - begin
    audio_seconds = sum(chunk.duration_seconds for chunk in chunks)
    if not audio_seconds:
        raise PiperError(f"There is nothing to speak in {text!r}; give words with --text.")
    with AudioWriter(output_file, voice.config.sample_rate) as writer:
        for chunk in chunks:
            writer.write(chunk.audio_int16_array)
    print(f"voice             {_shown(model)}, loaded in {loading_seconds:.2f} s")
    print(f"text              {text}")
    print(f"duration          {audio_seconds:.2f} s")
    print(
        f"real-time factor  {speaking_seconds / audio_seconds:.3f} "
        f"({speaking_seconds:.2f} s to speak)"
    )
    print(f"file              {_shown(output_file)}")


def _shown(path: Path) -> str:
    """Return a path as a person in the present folder would type it, where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


if __name__ == "__main__":
    sys.exit(main())
