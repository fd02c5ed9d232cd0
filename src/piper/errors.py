"""The errors that a user can mend, and words for them."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class PiperError(ValueError):
    """A mistake or a missing thing that the user can mend.

    Its text is one sentence (or a short table) that names the file, the line or the option, and
    says what to do. The library raises it; only the `main` functions print it and exit.
    """


def name_some(names: Iterable[str], most: int = 5, separator: str = ", ") -> str:
    """Return the first few names, and how many more there are."""
    some = list(names)
    if len(some) > most:
        some[most:] = [f"and {len(some) - most} more"]
    return separator.join(some)


TOO_LITTLE_MEMORY = (
    "There is too little memory; end other programs, or raise the limit (ulimit -v, a container's)."
)


def describe_os_error(error: OSError) -> str:
    """Say in a sentence which file the system refused, and why."""
    name = error.filename2 or error.filename
    if not name and isinstance(error, FileNotFoundError):  # of `os.getcwd`
        return "The current folder is gone; change to one that is there."
    if not name and error.errno == errno.EAGAIN:  # of a process or a thread that was to start
        return (
            "The system starts no more processes or threads for this user; end others, or raise "
            "the limit (ulimit -u; of a container --pids-limit)."
        )
    where = f"{name} cannot be read or written" if name else "A file cannot be read or written"
    reason = error.strerror or type(error).__name__
    return f"{where} ({reason}); check the path, its rights and the room on the disk."


def describe_briefly(error: BaseException, most: int = 150) -> str:
    """Return the beginning of what an error says, for a sentence; of one without words its kind."""
    return next(iter(str(error).strip().splitlines()), "")[:most] or type(error).__name__


def cannot_write(where: object, error: OSError, advice: str = "choose another place") -> PiperError:
    """Return an error that says what the system does not write, why, and what to do."""
    return PiperError(f"{where} cannot be written ({error.strerror or error}); {advice}.")


def describe_missing_package(error: ModuleNotFoundError, extra: str) -> str:
    """Say in a sentence which extra of this distribution brings a package that is not there.

    A missing module of this distribution is a fault of it, and raised again.
    """
    if (error.name or "").partition(".")[0] == "piper":
        raise error
    # Lightning raises it without a name, and with a sentence.
    what = f"the Python package {error.name!r}" if error.name else f"a package ({error})"
    return f"This needs {what}; install it with: pip install 'piper-workshop[{extra}]'"


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Say how a package is had that is imported in the block and is not there.

    Args:
        extra: Of this distribution; it brings the package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise PiperError(describe_missing_package(error, extra)) from None


def describe_error(error: BaseException, extra: str) -> str | None:
    """Return a sentence on what the user can mend, else None; `extra` as for a missing package."""
    if isinstance(error, PiperError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return describe_missing_package(error, extra)
    if isinstance(error, OSError):
        return describe_os_error(error)
    return TOO_LITTLE_MEMORY if isinstance(error, MemoryError) else None


class ConfigError(PiperError):
    """A voice's or dataset's JSON that cannot be used."""


class BrokenModelError(PiperError):
    """A network that ONNX Runtime cannot load or compute."""


class VoiceNotFoundError(PiperError):
    """A voice that is not where it was looked for."""


class PhonemizeError(PiperError):
    """A text that cannot be turned into phonemes, or a phonemizer that is not there."""


class LexiconError(PiperError):
    """A lexicon that cannot be read."""


class MarkupError(PiperError):
    """A text whose markup cannot be read."""


class DatasetError(PiperError):
    """Recordings or texts that training cannot use."""


class CheckpointError(PiperError):
    """A checkpoint that cannot be read, or does not fit the network."""


class ExportError(PiperError):
    """A voice that could not be written, or does not equal its network."""


class TrainingError(PiperError):
    """A training that cannot go on as it was asked to."""


class ProcessStartError(PiperError):
    """A worker process that ended before it could work."""


class EvaluationError(PiperError):
    """An evaluation that cannot be done as it was asked for, or has nothing to judge."""
