"""Loads graphs in ONNX Runtime. Does not know what they compute."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from piper.errors import PiperError, VoiceNotFoundError

if TYPE_CHECKING:
    import onnxruntime

_logger = logging.getLogger(__name__)

_CUDA_PROVIDER = "CUDAExecutionProvider"
_CPU_PROVIDER = "CPUExecutionProvider"

# ONNX Runtime has one seed for the whole process, read while a session is made.
_seed_lock = threading.Lock()


Cuda = bool | Literal["strict"]
"""Whether to run on an NVIDIA GPU: if there is one, or on nothing else."""


class BrokenModelError(PiperError):
    """A network that ONNX Runtime cannot load or compute."""


def create_session(
    path: Path,
    *,
    use_cuda: Cuda = False,
    threads: int | None = None,
    seed: int | None = None,
    is_optimized: bool = False,
    optimized_path: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Load an ONNX file.

    Args:
        path: The file.
        use_cuda: Run on an NVIDIA GPU; where none can be started on the CPU, after a warning,
            except for `strict`.
        threads: Threads of one run; None leaves it to ONNX Runtime.
        seed: For the graph's own random nodes.
        is_optimized: The file was written as an `optimized_path` on such a machine.
        optimized_path: Also write the graph as ONNX Runtime has optimised it for this machine, with
            its weights in a file beside it that has the ending `.bin`.

    Raises:
        VoiceNotFoundError: There is no such file.
        BrokenModelError: It cannot be loaded.
        PiperError: CUDA was asked for with `strict` and is not there.
    """
    # Heavy, and not needed before a voice is loaded.
    import onnxruntime

    if not path.is_file():
        raise VoiceNotFoundError(f"{path} does not exist; check the path of the voice.")
    use_cuda = find_cuda(use_cuda)
    options = _create_options(threads, is_optimized, optimized_path)
    if not use_cuda and _share_arena():
        options.add_session_config_entry("session.use_env_allocators", "1")
    cpu: list[Any] = [_CPU_PROVIDER]
    # Each sentence has another length, and an exhaustive search starts anew for each length.
    cuda = [(_CUDA_PROVIDER, {"cudnn_conv_algo_search": "HEURISTIC"}), *cpu]

    def load(providers: list[Any]) -> onnxruntime.InferenceSession:
        # Its own second try prints to standard output, where speech may go.
        return onnxruntime.InferenceSession(
            str(path), options, providers=providers, enable_fallback=0
        )

    with _seed_lock:
        # A random node without a seed of its own takes the process's seed plus its number in the
        # graph when the session is made, and goes on from there at each run. A later call of
        # set_seed() changes nothing in it. So the seed is set here, and replaced afterwards by a
        # random one, lest other sessions of the process repeat themselves unasked.
        if seed is not None:
            onnxruntime.set_seed(seed)
        try:
            session = _load_with_cuda(load, cuda, cpu, use_cuda) if use_cuda else load(cpu)
        except PiperError:
            raise
        except Exception as error:  # onnxruntime's errors have no public base class
            raise _cannot_load(path, error) from None
        finally:
            if seed is not None:
                onnxruntime.set_seed(secrets.randbits(62))
    _logger.debug("Loaded %s on %s", path, session.get_providers()[0])
    return session


def run_graph(
    session: onnxruntime.InferenceSession, outputs: list[str], feeds: dict[str, Any]
) -> list[Any]:
    """Return outputs of a graph.

    Raises:
        BrokenModelError: It cannot compute them, such as with ids that its tables lack.
    """
    try:
        return list(session.run(outputs, feeds))
    except Exception as error:  # onnxruntime's errors have no public base class
        reason = " ".join(str(error).split())
        raise BrokenModelError(
            f"The voice's network cannot speak this ({reason:.200}); its ONNX file or its JSON is "
            "damaged, or they do not belong together: download or export them again."
        ) from None


@cache
def _share_arena() -> bool:
    """Let all sessions of the process take memory from one arena; return whether that worked.

    Text, flow and decoder of a voice work one after the other: what one leaves, the next one uses,
    10 % of the memory of a process that speaks.
    """
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    try:
        onnxruntime.create_and_register_allocator(memory, None)
    except Exception as error:  # onnxruntime's errors have no public base class
        _logger.debug("Each session has an arena of its own (%s)", error)
        return False
    return True


def _create_options(
    threads: int | None, is_optimized: bool, optimized_path: Path | None
) -> onnxruntime.SessionOptions:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Warnings about the exporter's leftovers are of no use to the one who speaks; what goes wrong
    # is raised, too, and said once.
    options.log_severity_level = 4
    # It plans memory for each length of input anew, and keeps all plans: 60 MB for no gain in time.
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    # A thread that spins while it waits makes nothing faster, and takes the core from another
    # sentence: a tenth of the processor time where several are spoken at once.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if is_optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized_path is not None:
        options.optimized_model_filepath = str(optimized_path)
        for key, value in (
            ("file_name", optimized_path.with_suffix(".bin").name),
            # Shapes must stay inside, where ONNX Runtime reads them.
            ("min_size_in_bytes", "1024"),
        ):
            options.add_session_config_entry(
                f"session.optimized_model_external_initializers_{key}", value
            )
    return options


def find_cuda(wanted: Cuda) -> Cuda:
    """Return what is wanted where the installed ONNX Runtime knows CUDA, else False.

    Raises:
        PiperError: It does not, and nothing else will do.
    """
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if not wanted or _CUDA_PROVIDER in available:
        return wanted
    names = ", ".join(name.removesuffix("ExecutionProvider") for name in available)
    _do_without_cuda(
        wanted, f"the installed onnxruntime has only {names}: install onnxruntime-gpu in its place"
    )
    return False


def _load_with_cuda(
    load: Callable[[list[Any]], onnxruntime.InferenceSession],
    cuda: list[Any],
    cpu: list[Any],
    wanted: Cuda,
) -> onnxruntime.InferenceSession:
    """Load a graph on the GPU, or on the CPU where ONNX Runtime cannot start the GPU."""
    try:
        session = load(cuda)
    except Exception:  # onnxruntime's errors have no public base class
        session = load(cpu)
    if _CUDA_PROVIDER not in session.get_providers():
        reason = "ONNX Runtime could not start it: check driver, CUDA and cuDNN libraries"
        _do_without_cuda(wanted, reason)
    return session


def _do_without_cuda(wanted: Cuda, reason: str) -> None:
    if wanted == "strict":
        raise PiperError(f"CUDA was asked for (--strict-cuda), but {reason}, or speak without it.")
    _warn_about_cuda(reason)


@cache
def _warn_about_cuda(reason: str) -> None:
    """Warn once: each voice has several graphs, and servers load many voices."""
    _logger.warning(
        "CUDA was asked for, but %s. The CPU speaks; --strict-cuda makes this an error.", reason
    )


def _cannot_load(path: Path, error: Exception) -> BrokenModelError:
    reason = " ".join(str(error).split())
    return BrokenModelError(
        f"{path} cannot be loaded by ONNX Runtime ({reason:.200}); is it a whole ONNX file? "
        "Download or export it again."
    )
