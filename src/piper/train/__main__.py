"""`python -m piper.train`: the trainer's command line."""

import sys
from pathlib import Path

from piper.jobs import calm_threads
from piper.messages import say, take_language
from piper.system import open_standard_streams
from piper.train.command import INTERRUPTED, WITH_LANGUAGE, report_failure, run_subcommand


def run() -> int:
    """Run a subcommand or the trainer; return the exit code."""
    open_standard_streams()
    calm_threads()
    try:
        Path.cwd()  # torch ends the process where the folder is gone
        arguments = sys.argv[1:]
        # Elsewhere the flag is that of the texts' language.
        if not arguments or arguments[0] not in WITH_LANGUAGE:
            arguments = take_language(arguments)
        code = run_subcommand(arguments)
        if code is not None:
            return code
        # Here and not above: processes that prepare recordings import this module too, and torch
        # would cost each of them seconds.
        from piper.train.cli import main

        return main(arguments)
    except KeyboardInterrupt:
        say("Stopped before training began; nothing was lost.", sys.stderr)
        return INTERRUPTED
    except Exception as error:
        return report_failure(error)


if __name__ == "__main__":
    sys.exit(run())
