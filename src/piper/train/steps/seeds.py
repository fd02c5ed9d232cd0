"""Random numbers that follow from where training is, so that any update can be done again.

Knows nothing of what is drawn.
"""

from __future__ import annotations

import numpy as np
import torch


def seed_update(seed: int, rank: int, update: int) -> None:
    """Let torch's generators on all devices begin anew with what follows from these numbers.

    So a resumed training draws what the uninterrupted one would have drawn, without the
    generators' states in the checkpoint, and an update that ran out of memory can be repeated.

    Args:
        seed: Of the training.
        rank: This process.
        update: How many updates were done before.
    """
    state = np.random.SeedSequence([seed, rank, update]).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0] >> np.uint64(1)))
