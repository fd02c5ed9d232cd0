"""`python -m piper`: speak."""

from __future__ import annotations

import sys

from piper.cli import main

if __name__ == "__main__":
    sys.exit(main())
