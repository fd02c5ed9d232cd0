"""The quick start's short way to `tools/runpod/start_training.py`."""

import runpy
from pathlib import Path

if __name__ == "__main__":  # making the test dataset starts a process that imports this file again
    runpy.run_path(str(Path(__file__).parent / "tools/runpod/start_training.py"), {}, "__main__")
