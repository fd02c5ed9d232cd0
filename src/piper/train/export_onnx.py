"""`python -m piper.train.export_onnx --checkpoint C --output-file O`: the command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from piper.messages import say
from piper.options import CommandParser
from piper.train.command import run_command


def create_parser() -> argparse.ArgumentParser:
    """Return the flags of the export."""
    parser = CommandParser(
        prog="python -m piper.train.export_onnx",
        description="Write a checkpoint as a voice: ONNX, JSON and tokens.txt, checked.",
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        help="checkpoint (.ckpt) to read, a path or s3://… and the like; of a run's folder the "
        "newest; last: the newest below the working folder",
    )
    parser.add_argument(
        "--output-file", "--output_file", required=True, type=Path, help="voice (.onnx) to write"
    )
    parser.add_argument(
        "--config", type=Path, help="the voice's JSON, for checkpoints that do not carry it"
    )
    parser.add_argument(
        "--espeak-voice",
        "--espeak_voice",
        help="espeak-ng's voice that it was trained with, such as ru; with Piper's own phonemes it "
        "makes the JSON of a checkpoint that carries none",
    )
    parser.add_argument(
        "--trained-weights",
        "--trained_weights",
        action="store_true",
        help="take the weights of the last update instead of their EMA",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Export a checkpoint; return the exit code."""
    arguments = create_parser().parse_args(argv)
    return run_command(lambda: _export(arguments), "Stopped; no voice was written.")


def _export(arguments: argparse.Namespace) -> int:
    # Here, so that Ctrl+C during the seconds that torch takes ends as quietly as later.
    from piper.train.export import export_voice

    report = export_voice(
        arguments.checkpoint,
        arguments.output_file,
        arguments.config,
        use_averages=not arguments.trained_weights,
        espeak_voice=arguments.espeak_voice,
    )
    size = report.model_path.stat().st_size / 1e6
    say(f"voice:   {report.model_path} ({size:.1f} MB)")
    if report.config_path is None:
        say(
            f"config:  none is known, and programs that speak want one, {report.model_path}.json: "
            "export again with --config and the config.json that the voice was trained with, or "
            "with --espeak-voice and its language where its phonemes are Piper's own"
        )
    else:
        found = f" (as {report.source} has it)" if report.source else ""
        say(f"config:  {report.config_path}{found}")
        say(f"tokens:  {report.tokens_path}")
    say(
        f"check:   network and voice differ by at most {report.difference:.1e} in a sample, "
        f"over {report.seconds:.1f} s of speech without noise"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
