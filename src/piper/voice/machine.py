"""Names the machine that a graph is optimised for. Knows no graph."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
"""Where Linux describes the processor; other systems have no such file."""
_TELLING = ("model name", "flags", "CPU implementer", "CPU part", "Features")
"""What the Linux kernel says of a processor, on x86 and on ARM."""


def describe_machine() -> str:
    """Return a short name of what ONNX Runtime's optimisation depends on.

    That is its own version and the instructions of the processor: weights of convolutions are laid
    out in blocks as wide as its registers.
    """
    import onnxruntime

    return f"{onnxruntime.__version__}-{zlib.crc32(_describe_processor().encode()):08x}"


def _describe_processor() -> str:
    try:
        with CPU_INFO.open(encoding="utf-8", errors="replace") as file:
            lines = []
            # The first core is enough, and a server has hundreds.
            for line in file:
                if not line.strip():
                    break
                if line.startswith(_TELLING):
                    lines.append(line)
        if lines:
            return "".join(lines)
    except OSError:
        pass
    # Windows keeps a processor's family and model in its environment.
    machine = os.uname().machine if hasattr(os, "uname") else ""
    return machine + os.environ.get("PROCESSOR_IDENTIFIER", "")
