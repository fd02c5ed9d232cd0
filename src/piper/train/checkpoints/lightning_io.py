"""How Lightning reads and writes checkpoint files: safely, whole, here or in a cloud's storage."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from piper.train import storage
from piper.train.checkpoints.checkpoint import load_checkpoint_to_resume


class SafeCheckpointIO(TorchCheckpointIO):
    """Leaves the old or the new file whole, however a write ends; reads plain data only."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint so that a kill at any moment leaves the old or the new file whole.

        Raises:
            OSError: It cannot be written; nothing half-written stays behind.
        """
        storage.write_file(path, lambda file: torch.save(checkpoint, file))

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint of any age; `weights_only` is always meant."""
        return load_checkpoint_to_resume(path, map_location or "cpu")

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint, where it is there."""
        storage.remove_file(path)
