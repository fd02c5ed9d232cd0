"""One measured training process, of either program: what `benchmarks/train_step.py` starts.

Runs in the program's own environment, so it imports nothing of ours; both programs have the import
paths and flags that it uses. Reads one JSON argument, writes one JSON file.
"""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
import types
from pathlib import Path
from typing import Any

ALIGNMENT_MODULE = "piper.train.vits.monotonic_align"


def stand_in_for_alignment() -> None:
    """Give piper-tts the alignment search that its wheel lacks, where the stand-in is installed."""
    if importlib.util.find_spec("monotonic_alignment_search") is None:
        return
    from monotonic_alignment_search import maximum_path

    def search(likelihood: Any, mask: Any) -> Any:
        # (B, T, P) there, (B, P, T) in the stand-in.
        swapped = [tensor.transpose(1, 2).contiguous() for tensor in (likelihood, mask)]
        return maximum_path(*swapped).transpose(1, 2).contiguous()

    module = types.ModuleType(ALIGNMENT_MODULE)
    module.maximum_path = search  # type: ignore[attr-defined]
    sys.modules[ALIGNMENT_MODULE] = module


def measure_speed(spec: dict[str, Any]) -> dict[str, Any]:
    """Run `python -m piper.train fit` with a meter on its Trainer."""
    from train_meter import Meter, attach_to_trainers

    meter = Meter(
        epochs=spec["epochs"], warm_up=spec["warm_up"], profile_steps=spec["profile_steps"]
    )
    attach_to_trainers(meter)
    sys.argv = ["piper.train", "fit", *spec["arguments"]]
    try:
        runpy.run_module("piper.train", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    return meter.result()


def main() -> int:
    spec = json.loads(sys.argv[1])
    stand_in_for_alignment()
    if spec["task"] == "speed":
        result = measure_speed(spec)
    else:
        import train_losses

        result = getattr(train_losses, spec["task"])(spec)
    Path(spec["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
