"""`python -m piper.train`: the trainer's command line."""

import sys

INTERRUPTED = 130

if __name__ == "__main__":
    # Here and not above: processes that prepare recordings import this module too, and torch
    # would cost each of them seconds.
    try:
        from piper.train.cli import main
    except KeyboardInterrupt:
        print("Stopped before training began; nothing was lost.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(main())
