"""How Lightning reads and writes checkpoint files: safely, and never half a file."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from piper.atomic import replace_on_success
from piper.train.checkpoint import load_checkpoint


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name, flushes and renames; reads plain data only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint so that a kill at any moment leaves the old or the new file whole."""
        with replace_on_success(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of any age; `weights_only` is always meant."""
        return load_checkpoint(path, map_location or "cpu")
