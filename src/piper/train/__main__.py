"""`python -m piper.train`: the trainer's command line."""

import sys

from piper.train.verbs import run_verb

INTERRUPTED = 130

if __name__ == "__main__":
    code = run_verb(sys.argv[1:])
    if code is not None:
        sys.exit(code)
    # Here and not above: processes that prepare recordings import this module too, and torch
    # would cost each of them seconds.
    try:
        from piper.train.cli import main
    except KeyboardInterrupt:
        print("Stopped before training began; nothing was lost.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(main())
