"""`python -m piper.train phonemes DIR`: what phonemes a dataset's texts become."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from piper.options import CommandParser
from piper.text.frontend import create_frontend
from piper.train.command import run_command
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.dataset_flags import add_dataset_flags, find_settings
from piper.train.data.metadata import Row, remove_stress_marks
from piper.train.data.settings import DataSettings


def create_parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    parser = CommandParser(
        prog="python -m piper.train phonemes",
        description="Write a line for each utterance: its recording, its text, and the phonemes "
        "that training makes of it, separated by tabs; those that the id map lacks stand in <>.",
    )
    add_dataset_flags(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="so many utterances at most")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Show phonemes; return the exit code."""
    arguments = create_parser().parse_args(argv)
    return run_command(lambda: _show(arguments), "Stopped.")


def _show(arguments: argparse.Namespace) -> int:
    from piper.train.data.prepare import load_rows

    settings = find_settings(arguments)
    rows = load_rows(settings)
    phonemizer = TextPhonemizer(settings, rows)
    for row in rows[: arguments.limit]:
        print(row.audio_path.name, row.text, phonemizer.describe(row.text), sep="\t")
    sys.stdout.flush()
    return 0


class TextPhonemizer:
    """Turns texts into phonemes as training does.

    Args:
        settings: Of the dataset.
        rows: Its utterances, which may give the symbols and the speakers.

    Raises:
        ConfigError: config.json holds something wrong.
        PhonemizeError: The espeak voice is unknown.
    """

    def __init__(self, settings: DataSettings, rows: Sequence[Row]) -> None:
        voice = create_voice_config(settings, rows)
        self._known = voice.phoneme_id_map
        self._frontend = create_frontend(voice)
        self._has_stress_marks = settings.has_stress_marks

    def describe(self, text: str) -> str:
        """Return the phonemes of a text; those that the id map lacks stand in `<>`."""
        spoken = text if self._has_stress_marks else remove_stress_marks(text)
        sentences = self._frontend.text_to_phonemes(spoken)
        return " ".join("".join(map(self._show, sentence)) for sentence in sentences)

    def _show(self, phoneme: str) -> str:
        return phoneme if phoneme in self._known else f"<{phoneme}>"


if __name__ == "__main__":
    sys.exit(main())
