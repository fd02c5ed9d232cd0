"""The last word of a training: which checkpoint to export, and how. Exports nothing itself."""

from __future__ import annotations

import logging
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from piper.languages import describe_language
from piper.train.callbacks.keep import KeepLast
from piper.train.callbacks.stopping import is_time_up
from piper.train.resuming import quote_command

_LOGGER = logging.getLogger(__name__)


class Ending(Callback):
    """Says at the end, however it comes, which checkpoint to export and the command for it."""

    def __init__(self) -> None:
        self._has_said = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say it after the last checkpoint was written."""
        if trainer.is_global_zero and is_time_up(trainer):
            _LOGGER.info("The time of --trainer.max_time is up.")
        self._say(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Say it where a signal or an error ended the training: what is there can be used."""
        self._say(trainer)

    def _say(self, trainer: Trainer) -> None:
        if self._has_said or not trainer.is_global_zero or trainer.state.fn != "fit":
            return
        self._has_said = True
        checkpoint = find_best_checkpoint(trainer)
        if checkpoint is None:
            return
        keeper: Any = trainer.checkpoint_callback
        what = "The last checkpoint"
        if checkpoint == getattr(keeper, "best_model_path", None):
            what = f"The best checkpoint ({keeper.monitor} {float(keeper.best_model_score):.4f})"
        command = export_command(checkpoint, _voice_name(trainer))
        _LOGGER.info("%s becomes a voice with:\n  %s", what, command)


def find_best_checkpoint(trainer: Trainer) -> str | None:
    """Return the checkpoint to export: the best by its score, else the last; None without one."""
    keeper = trainer.checkpoint_callback
    best = getattr(keeper, "best_model_path", None)
    # A loss that does not hear what discriminators teach says less than the end of a schedule.
    says_little = getattr(trainer.lightning_module, "is_last_best", False)
    if best and not (says_little and getattr(keeper, "monitor", "") == "val_loss"):
        return str(best)
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((c.last_complete for c in callbacks if isinstance(c, KeepLast)), None)


def export_command(checkpoint: str, voice_name: str) -> str:
    """Return the command line that exports a checkpoint, as this system's shell takes it."""
    found = shutil.which("python")
    is_python = found is not None and Path(found).absolute() == Path(sys.executable).absolute()
    return quote_command(
        [
            *("python" if is_python else sys.executable, "-m", "piper.train.export_onnx"),
            *("--checkpoint", checkpoint, "--output-file", f"{voice_name}.onnx"),
        ]
    )


def _voice_name(trainer: Trainer) -> str:
    """Return the name of a voice as published ones are called: `en_US-joe-medium`."""
    settings = getattr(getattr(trainer, "datamodule", None), "settings", None)
    name = str(getattr(settings, "voice_name", "") or "voice")
    if settings is not None and not re.match("[a-z]{2,3}_[A-Z]{2}-", name):
        code = describe_language(settings.espeak_voice)["code"]
        name = "-".join(part for part in (code, name, settings.quality) if part)
    return name.replace("/", "_").replace("\\", "_")
