"""`python -m piper.train`: the trainer's command line."""

import sys

if __name__ == "__main__":
    # Here and not above: processes that prepare recordings import this module too, and torch
    # would cost each of them seconds.
    from piper.train.cli import main

    sys.exit(main())
