"""Finds the largest batch that fits in memory, by trying.

What is tried is a function that takes a step with N utterances and throws its result away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from piper.system import resident_bytes

MARGIN = 0.1
"""Share of the memory that stays free: for fragments, validation, and what others take."""
LARGEST = 128
"""Above it a step is no faster an utterance, and an epoch has few updates."""
LARGEST_ON_CPU = 16
"""A CPU takes twice as long for twice the batch; more updates an hour train better."""
MIN_UPDATES = 8
"""Updates an epoch that a found batch size leaves at least: small datasets need them."""
MEASURED_UTTERANCES = (1, 2, 4)
"""Batches whose memory is measured on a CPU; the line through the last two tells the rest."""
SAMPLE_SECONDS = 0.002

Trial = Callable[[int], None]
"""Takes a step with so many utterances, and leaves nothing behind."""


def bound_batch_size(utterances: int, ranks_and_parts: int, is_cpu: bool) -> int:
    """Return the largest batch size to try."""
    largest = LARGEST_ON_CPU if is_cpu else LARGEST
    return max(1, min(largest, utterances // (ranks_and_parts * MIN_UPDATES)))


def find_largest(fits: Callable[[int], bool], top: int) -> int:
    """Return the largest number from 1 to `top` that fits, 0 where none does.

    Doubles until one does not fit, then halves the distance. What fits must go on fitting below.
    """
    good, bad = 0, top + 1
    size = 1
    while good < bad - 1:
        if fits(size):
            good = size
            size = min(2 * size, top) if bad == top + 1 else (good + bad) // 2
        else:
            bad = size
            size = (good + bad) // 2
    return good


def find_by_out_of_memory(trial: Trial, top: int) -> int:
    """Return the largest batch whose trial does not run out of the device's memory."""

    def fits(size: int) -> bool:
        try:
            trial(size)
        except torch.OutOfMemoryError:
            return False
        return True

    return find_largest(fits, top)


@contextmanager
def less_memory(device: torch.device, reserved_bytes: int) -> Iterator[None]:
    """Let a GPU have less memory for a while: without the margin, and what training adds later."""
    free, total = torch.cuda.mem_get_info(device)
    usable = free + torch.cuda.memory_reserved(device) - reserved_bytes
    # The allocator then fails as it will in training: with its own rounding and fragments.
    torch.cuda.set_per_process_memory_fraction(max(0.0, usable * (1 - MARGIN) / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()


def find_by_growth(trial: Trial, top: int, limit_bytes: int) -> int:
    """Return the largest batch by which this process grows by no more than a limit.

    Memory grows in proportion to the batch, so a few small ones are tried and the rest follows
    from them; no batch is tried that is expected to be above the limit.
    """
    growth: dict[int, int] = {}
    before = resident_bytes()

    def expect(size: int) -> float:
        measured = list(growth.items())
        if len(measured) < 2:
            return 0 if not measured else size * measured[0][1]
        (small, less), (large, more) = measured[-2:]
        each = max(more - less, 0) / (large - small)
        return more + each * (size - large)

    for size in (size for size in MEASURED_UTTERANCES if size <= top):
        # The first one also makes the gradients, so twice of it is more than two take.
        if expect(size) > limit_bytes:
            break
        with PeakMemory() as peak:
            trial(size)
        growth[size] = peak.bytes - before
        if growth[size] > limit_bytes:
            break
    return find_largest(lambda size: expect(size) <= limit_bytes, top)


class PeakMemory:
    """The most resident memory of this process inside a `with` block."""

    def __init__(self) -> None:
        self.bytes = 0
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self.bytes = resident_bytes()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_done.set()
        self._thread.join()
        self.bytes = max(self.bytes, resident_bytes())

    def _watch(self) -> None:
        while not self._is_done.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, resident_bytes())
