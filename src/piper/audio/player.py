"""Plays a WAV through ffplay. Knows nothing of who made it."""

from __future__ import annotations

import io
import time
import wave

from piper.errors import PiperError

PLAYER = "ffplay"


def has_player() -> bool:
    """Return whether ffplay is installed."""
    import shutil

    return shutil.which(PLAYER) is not None


def play_wav(wav: bytes) -> None:
    """Play a whole WAV file and wait for its end.

    Raises:
        PiperError: The player fails.
    """
    import subprocess

    # A WAV instead of raw samples: ffplay's option for the channels changed its name.
    command = [PLAYER, "-loglevel", "error", "-nodisp", "-autoexit", "-i", "-"]
    start = time.monotonic()
    done = subprocess.run(
        command, input=wav, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    # Without a sound card it complains, plays nothing, and ends at once with exit code 0.
    is_early = time.monotonic() - start < 0.9 * _find_seconds(wav)
    if done.returncode != 0 or (lines and is_early):
        reason = lines[-1] if lines else f"exit code {done.returncode}"
        raise PiperError(
            f"{PLAYER} could not play the speech ({reason}); "
            "write it to a file with --output-file instead."
        )


def _find_seconds(wav: bytes) -> float:
    with wave.open(io.BytesIO(wav)) as file:
        return file.getnframes() / file.getframerate()
