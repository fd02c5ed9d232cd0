"""A batch's gradients in as many parts as memory asks for. Knows no optimizer and no file.

The sums of all parts are divided by the totals of the whole update, and random numbers are drawn
for the whole batch, so the gradients do not depend on the parts (dropout's masks aside).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from piper.errors import TrainingError
from piper.train.data.batches import Batch, part_bounds
from piper.train.steps.gan import GanStep, Totals

_LOGGER = logging.getLogger(__name__)

_CPU_SIGNS = ("can't allocate memory", "could not create a ", "not enough memory")
"""What errors of torch's and oneDNN's allocators on a CPU say."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory could not be had, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _CPU_SIGNS)


class MicroBatches:
    """Works on a batch in parts, and in more of them where memory runs out.

    What was too much is remembered, so that later batches of that size are split at once.

    Args:
        gan: Makes the gradients.
        networks: Whose gradients are thrown away where a batch has to be begun again.
    """

    def __init__(self, gan: GanStep, *networks: nn.Module) -> None:
        self.gan = gan
        self._networks = networks
        self._most_frames: int | None = None
        self._is_told = False

    def backward(
        self,
        batch: Batch,
        parts: int,
        totals: Totals,
        scale: Tensor | None,
        seed: Callable[[], None],
    ) -> dict[str, Tensor]:
        """Add a batch's gradients to those of the networks, which are to be none before.

        No process waits for another in here, so each may split as it needs to.

        Args:
            batch: All utterances of this process's update.
            parts: The least number of parts.
            totals: Of the whole update.
            scale: Factor on all gradients.
            seed: Sets the random numbers of this update; called before each try.

        Returns:
            The losses by name, as `GanStep.backward` gives them.

        Raises:
            TrainingError: Not even one utterance fits in memory.
        """
        parts = self._enough_parts(batch, parts)
        while True:
            seed()
            reason = None
            try:
                return self._backward_parts(batch, parts, totals, scale)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            # Out of the except block: the error held on to all intermediate results.
            self._clear()
            if parts >= len(batch):
                raise TrainingError(_describe_longest(batch, self.gan.config.hop_length, reason))
            self._most_frames = _frames_of_a_part(batch, parts) // 2
            parts = self._enough_parts(batch, min(2 * parts, len(batch)))
            self._tell(batch, parts)

    def _backward_parts(
        self, batch: Batch, parts: int, totals: Totals, scale: Tensor | None
    ) -> dict[str, Tensor]:
        draws = self.gan.generator.draw(batch.ids, batch.spectrograms)
        named: dict[str, Tensor] = {}
        bounds = part_bounds(len(batch), parts)
        for (start, end), part in zip(bounds, batch.chunk(parts), strict=True):
            rows = draws.rows(start, end, part.spectrograms.shape[2], part.ids.shape[1])
            for name, loss in self.gan.backward(part, rows, totals, scale).items():
                named[name] = named[name] + loss if name in named else loss
        return named

    def _enough_parts(self, batch: Batch, parts: int) -> int:
        """Return how many parts a batch needs so that none is as large as what was too much."""
        if self._most_frames is not None:
            while parts < len(batch) and _frames_of_a_part(batch, parts) > self._most_frames:
                parts += 1
        return parts

    def _clear(self) -> None:
        for network in self._networks:
            network.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tell(self, batch: Batch, parts: int) -> None:
        if self._is_told:
            return
        self._is_told = True
        size = -(-len(batch) // parts)
        _LOGGER.warning(
            "Out of memory with %d utterances at once: this batch is done again in %d parts, and "
            "so are later ones of its size; the result is the same. --data.batch_size=%d "
            "--trainer.accumulate_grad_batches=%d or --data.max_batch_frames=%d would avoid it.",
            len(batch),
            parts,
            size,
            parts,
            self._most_frames,
        )


def _frames_of_a_part(batch: Batch, parts: int) -> int:
    """Return the frames of the largest part of a batch, padding included: the longest come first.

    Taken from shapes, so that a GPU is not asked.
    """
    return -(-len(batch) // parts) * batch.spectrograms.shape[2]


def _describe_longest(batch: Batch, hop_length: int, reason: str) -> str:
    longest = int(batch.spectrogram_lengths.argmax())
    frames = int(batch.spectrogram_lengths[longest])
    name = f", {batch.names[longest]}" if batch.names else ""
    return (
        f"Out of memory with a single utterance of {frames} frames ({frames * hop_length} "
        f"samples){name}: leave recordings of that length out with --data.max_seconds, or train a "
        f"smaller --model.quality ({reason})"
    )
