"""What became of a network's weights in a warm start, as a table. Knows names only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

PARTS = (
    ("phoneme embeddings", "model_g.enc_p.emb."),
    ("text encoder", "model_g.enc_p."),
    ("durations", "model_g.dp."),
    ("flow", "model_g.flow."),
    ("decoder", "model_g.dec."),
    ("posterior encoder", "model_g.enc_q."),
    ("speaker table", "model_g.emb_g."),
    ("discriminators", "model_d."),
    ("spectrogram judges", "model_mrd."),
    ("phoneme embeddings", "model_g.text.embedding."),
    ("speaker table", "model_g.text.speakers."),
    ("durations", "model_g.text.duration_"),
    ("text side", "model_g.text."),
    ("decoder", "model_g.decoder."),
    ("calibration", "model_g."),
)
"""Parts of the network and how their weights' names begin; the first that fits counts."""

TAKEN = "taken"
OTHER_SHAPE = "of another shape in the file"
MISSING = "not in the file"
AT_ZERO = "at zero, so that every speaker starts as the file's voice"


@dataclass
class WarmReport:
    """A table: part of the network, tensors taken over, tensors that start fresh, and why.

    Attributes:
        title: What was started from.
        outcomes: Name of each weight of the network that was asked for to what became of it:
            `TAKEN` or the reason why it starts fresh.
        details: Part to what else there is to say of it.
        notes: Sentences on the whole.
    """

    title: str
    outcomes: Mapping[str, str]
    details: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def count(self, part: str) -> tuple[int, int]:
        """Return how many tensors of a part were taken over, and how many start fresh."""
        reasons = self._reasons(part)
        return reasons[TAKEN], reasons.total() - reasons[TAKEN]

    def _reasons(self, part: str) -> Counter[str]:
        return Counter(reason for name, reason in self.outcomes.items() if find_part(name) == part)

    def __str__(self) -> str:
        """Return the table."""
        lines = [self.title, f"  {'part':<20}{'taken':>6}{'fresh':>7}  why"]
        for part in dict(PARTS):
            reasons = self._reasons(part)
            if not reasons:
                continue
            taken = reasons.pop(TAKEN, 0)
            whys = [f"{count} {reason}" for reason, count in reasons.most_common()]
            if part in self.details:
                whys.append(self.details[part])
            lines.append(f"  {part:<20}{taken:>6}{reasons.total():>7}  {'; '.join(whys)}".rstrip())
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def find_part(name: str) -> str:
    """Return the part of the network that a weight belongs to."""
    return next((part for part, prefix in PARTS if name.startswith(prefix)), "")
