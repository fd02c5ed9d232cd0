"""How long a training goes on where nobody says: updates by the data and by where it starts.

What is known of Piper's voices: 2,000 epochs are usually enough from scratch and 1,000 more for
fine-tuning (the existing trainer's guide, batches of 32); its lessac voice had 678,000 updates
(epoch=2164-step=1355540, two steps an update), VITS itself 800,000 (Kim et al. 2021, section 4).
An hour of speech is about 600 utterances, 19 batches of 32: 2,000 epochs of it are 38,000 updates.
Fewer make no voice of a smaller set either, and beyond 24 hours, where 2,000 epochs would be more
than VITS's 800,000, it is the updates that limit. Fine-tuning gets half the epochs and, as a
voice is there already, an upper end of 200,000: 1,000 epochs of ten hours.

A quick voice (1.66 hours, batches of 8) is understood as well as its recordings nearly are after
1,200 updates, and gains less and less from then on; an update takes 0.2 s of two cores. An epoch of
an hour is 75 updates in each of which a fifth of an utterance is heard: 200 epochs are 15,000, an
hour of a laptop. The decoder has as much to learn from ten minutes, so 5,000 are the fewest (with a
GPU's batches of 64 they hear 33 times what those 1,200 do); beyond three hours it is the size of
the network that limits what more updates can teach. Fine-tuning, which has decoder and durations
already, gets half.
"""

from __future__ import annotations

from dataclasses import dataclass

from piper.train.presets import QUICK


@dataclass(frozen=True)
class Allowance:
    """Epochs that a training gets, within limits counted in updates."""

    epochs: int
    fewest: int
    most: int

    def updates(self, batches_per_epoch: int) -> int:
        """Return the updates for a dataset of so many batches."""
        return min(max(self.epochs * batches_per_epoch, self.fewest), self.most)


FRESH = Allowance(epochs=2_000, fewest=40_000, most=800_000)
WARM = Allowance(epochs=1_000, fewest=20_000, most=200_000)
QUICK_FRESH = Allowance(epochs=200, fewest=5_000, most=40_000)
QUICK_WARM = Allowance(epochs=100, fewest=2_500, most=20_000)


def find_allowance(quality: str | None, *, is_warm: bool) -> Allowance:
    """Return how long a voice of a quality is trained.

    Args:
        quality: Its name; None where it has none.
        is_warm: Whether it starts from the weights of another.
    """
    if quality == QUICK:
        return QUICK_WARM if is_warm else QUICK_FRESH
    return WARM if is_warm else FRESH
