"""What processes that load batches do at signals: go on until their parent has saved.

Ctrl+C in a terminal, systemd, SLURM and a lost connection tell all processes of a training at
once. A loader that dies then takes the training with it before it can save. Knows signals only.
"""

from __future__ import annotations

import signal
from types import FrameType

LINGER_SECONDS = 20
"""After SIGTERM: more than the parent takes for its running step and for saving; torch itself
ends the processes by other means, and by SIGTERM only those that hang."""


def outlast_signals(worker_id: int) -> None:
    """Leave signals to the parent; a DataLoader calls it in each process that it starts."""
    # A forked process shares the socket by which the parent hears of signals: it would repeat them.
    signal.set_wakeup_fd(-1)
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, _end_later)


def _end_later(number: int, frame: FrameType | None) -> None:
    signal.alarm(LINGER_SECONDS)
