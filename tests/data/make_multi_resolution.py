#!/usr/bin/env python3
"""Writes multi_resolution.npz: scores of the discriminators of spectrograms, with golden weights.

It was run when these discriminators' features and scores equalled, bit for bit, those of Piper's
trainer 1.8.0 with the same weights and audio. Weights follow from their names, as in `test_golden`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from piper.train.vits.discriminators import MultiResolutionDiscriminator

FOLDER = Path(__file__).parent


def main() -> None:
    """Write the file beside this one."""
    sys.path.insert(0, str(FOLDER.parent / "train" / "vits"))
    from test_golden import fill_by_name

    network = MultiResolutionDiscriminator()
    fill_by_name(network, "model_mrd")
    audio = np.random.RandomState(0).uniform(-0.5, 0.5, (1, 1, 2048)).astype(np.float32)
    with torch.no_grad():
        judged = network(torch.from_numpy(audio))
    scores = {f"scores_{i}": features[-1].numpy() for i, features in enumerate(judged)}
    np.savez_compressed(FOLDER / "multi_resolution.npz", audio=audio, **scores)


if __name__ == "__main__":
    main()
