"""`python -m piper.patch_voice_with_alignment`: durations as an output, for other clients."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from piper.jobs import find_exit_code
from piper.messages import say
from piper.options import CommandParser
from piper.system import open_standard_streams

if TYPE_CHECKING:
    import onnx


def add_alignment_output(model: onnx.ModelProto, tensor_name: str | None = None) -> str:
    """Declare the durations as the second output of a model, in place; return their name.

    Args:
        model: A voice's graph, as `onnx.load` gives it.
        tensor_name: The value that holds the durations; None finds the graph's single `Ceil`.

    Raises:
        ExportError: There is no such value, or another second output.
    """
    from piper.voice.alignment_output import add_alignment_output

    add_alignment_output(model, "The model", tensor_name)
    return str(model.graph.output[1].name)


def create_parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = CommandParser(
        prog="python -m piper.patch_voice_with_alignment",
        description="Give a voice an output of durations, which other clients need for timing. "
        "This package needs no such output: it times any voice as it is.",
    )
    parser.add_argument("model", type=Path, help="the voice's ONNX file")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="ONNX file to write (default: replace MODEL)"
    )
    parser.add_argument(
        "--tensor-name",
        "--tensor_name",
        metavar="NAME",
        help="value that holds the durations (default: found by itself)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    open_standard_streams()
    args = create_parser().parse_args(argv)
    return find_exit_code(lambda: _patch(args))


def _patch(args: argparse.Namespace) -> None:
    # ONNX and ONNX Runtime take a moment to load; --help need not wait for them.
    from piper.voice.alignment_output import patch_voice

    if patch_voice(args.model, args.output, tensor_name=args.tensor_name):
        say(f"Wrote {args.output or args.model}, with durations as its second output.")
    else:
        say(f"{args.model} has its durations as second output already; nothing was written.")


if __name__ == "__main__":
    sys.exit(main())
