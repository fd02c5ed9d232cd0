"""Runs a voice's network in ONNX Runtime: ids to audio.

Shapes: P phonemes, S samples.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from piper.errors import PiperError, VoiceNotFoundError
from piper.voice.graph_quick import QUICK_METADATA_KEY, QuickGraphConfig

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


_REQUIRED_INPUTS = ("input", "input_lengths", "scales")
_SPEAKER_INPUT = "sid"
MAX_FRAMES = 2**17
"""25 minutes of sound at 22,050 Hz, in one sentence. More comes of a wrong scale, and would take
all memory there is."""


@dataclass(frozen=True)
class NetworkOutput:
    """What the network gives for one sentence.

    Attributes:
        audio: (S,) float32, as loud as the network makes it.
        durations_frames: (P,) int64, frames of each id, where the voice has that output and it is
            numbers of frames.
    """

    audio: npt.NDArray[np.float32]
    durations_frames: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class SpeechSettings:
    """How a network speaks a sentence; everything is decided here, nothing is None.

    Attributes:
        noise_scale: Deviation of the prior's noise.
        length_scale: Factor on durations.
        noise_w_scale: Deviation of the duration predictor's noise.
        speakers: Speaker's number to its share; shares add up to 1. Ignored by a voice with one.
        pitch: Semitones that are added; ignored by a voice whose pitch cannot be set.
        semitones: (P,), in place of the pitch where that differs within the sentence.
        emphasis: (P,), how much weight each id has; 0 is the usual, 1 moderate emphasis.
    """

    noise_scale: float
    length_scale: float
    noise_w_scale: float
    speakers: Mapping[int, float]
    pitch: float = 0.0
    semitones: npt.NDArray[np.float32] | None = None
    emphasis: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class SpokenSentence:
    """A sentence whose sound may still be on its way.

    Attributes:
        audio: Pieces (S,) float32, as loud as the network makes them; computed when asked for.
        id_samples: (P,) int64, samples of each id, where the network says them and they make sense.
        num_samples: Of all pieces together.
    """

    audio: Iterator[npt.NDArray[np.float32]]
    id_samples: npt.NDArray[np.int64] | None
    num_samples: int


class Network(Protocol):
    """What speaks ids: a voice's own graph, or the clean one in two parts."""

    has_durations: bool
    can_mix_speakers: bool
    can_seed: bool
    """Whether the noise is drawn from the generator that `speak` is given."""
    num_speakers: int | None
    """None where the network does not say."""
    mean_hertz: float | None
    """Of the voice's pitch; None where it cannot be set."""

    def speak(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        random: np.random.Generator,
        *,
        is_streamed: bool,
        is_shared: bool = False,
    ) -> SpokenSentence:
        """Speak one sentence.

        Args:
            ids: (P,) phoneme ids, BOS … EOS.
            settings: How to speak.
            random: Source of all noise.
            is_streamed: In several pieces, if the network can; the first is small and comes soon.
            is_shared: Others speak at the same time: rather less work than an early end.
        """
        ...


class VoiceSession:
    """A voice's own graph, loaded: it speaks whole sentences with noise of its own.

    Args:
        model: The ONNX file, or a session that somebody else made of it; the other arguments are
            for the file only.
        use_cuda: Run on an NVIDIA GPU, as for `create_session`.
        threads: Threads of one run; None leaves it to ONNX Runtime, which takes a core each.
        seed: Makes speech repeatable: sessions with one seed that are given the same sentences in
            the same order give the same samples. None: other noise each time.

    Raises:
        VoiceNotFoundError: There is no such file.
        PiperError: It is no voice's network, or CUDA was asked for strictly and is not there.
    """

    can_mix_speakers = False
    can_seed = False
    num_speakers: int | None = None

    def __init__(
        self,
        model: Path | str | onnxruntime.InferenceSession,
        *,
        use_cuda: Cuda = False,
        threads: int | None = None,
        seed: int | None = None,
    ) -> None:
        if isinstance(model, Path | str):
            self.path = Path(model)
            model = create_session(self.path, use_cuda=use_cuda, threads=threads, seed=seed)
        else:
            self.path = Path("the given session")
        self.session = model
        input_names = {item.name for item in self.session.get_inputs()}
        missing = [name for name in _REQUIRED_INPUTS if name not in input_names]
        if missing:
            raise PiperError(
                f"{self.path} is not a Piper voice: its network has no input "
                f'"{missing[0]}" (it has: {", ".join(sorted(input_names))}).'
            )
        self.has_speakers = _SPEAKER_INPUT in input_names
        # Clients of such voices find the durations as the second output, whatever its name.
        self._output_names = [item.name for item in self.session.get_outputs()][:2]
        self.has_durations = len(self._output_names) > 1
        quick = self.find_quick_config()
        self.mean_hertz = None if quick is None else quick.mean_hertz

    def find_quick_config(self) -> QuickGraphConfig | None:
        """Return what the graph of a quick voice says of itself; None for other voices."""
        text = self.session.get_modelmeta().custom_metadata_map.get(QUICK_METADATA_KEY)
        [scales] = (value.shape for value in self.session.get_inputs() if value.name == "scales")
        # Metadata may have come to another graph, which has no place for a pitch.
        if text is None or any(isinstance(axis, int) for axis in scales):
            return None
        try:
            return QuickGraphConfig.from_json(text)
        except ValueError:  # of another program, or of another time
            return None

    def run(
        self,
        ids: Sequence[int],
        *,
        noise_scale: float,
        length_scale: float,
        noise_w_scale: float,
        speaker_id: int = 0,
        pitch: float = 0.0,
    ) -> NetworkOutput:
        """Speak one sentence.

        Args:
            ids: (P,) phoneme ids, BOS … EOS.
            noise_scale: Deviation of the prior's noise.
            length_scale: Factor on durations.
            noise_w_scale: Deviation of the duration predictor's noise.
            speaker_id: Ignored by a voice with one speaker.
            pitch: Semitones that are added; ignored by a voice whose pitch cannot be set.
        """
        scales = [noise_scale, length_scale, noise_w_scale]
        if self.mean_hertz is not None:
            scales.append(pitch)
        feeds: dict[str, npt.NDArray[Any]] = {
            "input": np.asarray([ids], dtype=np.int64),
            "input_lengths": np.asarray([len(ids)], dtype=np.int64),
            "scales": np.asarray(scales, dtype=np.float32),
        }
        if self.has_speakers:
            feeds[_SPEAKER_INPUT] = np.asarray([speaker_id], dtype=np.int64)
        outputs = run_graph(self.session, self._output_names, feeds)
        # (1, 1, 1, S) in Piper's voices, (1, 1, S) in some others.
        audio = np.asarray(outputs[0], dtype=np.float32).reshape(-1)
        return NetworkOutput(audio, _read_durations(outputs[1]) if self.has_durations else None)

    def speak(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        random: np.random.Generator,
        *,
        is_streamed: bool,
        is_shared: bool = False,
    ) -> SpokenSentence:
        """Speak one sentence in one piece; the noise is the graph's own, so `random` is not read.

        Raises:
            PiperError: A mixture of speakers is wanted, which only the clean graph can make.
        """
        if self.has_speakers and len(settings.speakers) != 1:
            raise PiperError(
                f"The speakers of {self.path} cannot be mixed, because its weights could not be "
                "taken apart; choose one speaker."
            )
        if settings.emphasis is not None or settings.semitones is not None:
            _warn_about_words(self.path)
        output = self.run(
            ids,
            noise_scale=settings.noise_scale,
            length_scale=settings.length_scale,
            noise_w_scale=settings.noise_w_scale,
            speaker_id=next(iter(settings.speakers), 0),
            pitch=settings.pitch,
        )
        num_samples = len(output.audio)
        return SpokenSentence(iter([output.audio]), _id_samples(output, len(ids)), num_samples)


@lru_cache(maxsize=256)
def _warn_about_words(path: Path) -> None:
    _logger.warning(
        "%s speaks by its own graph, which says all words of a sentence in one way; emphasis, and "
        "the pitch of single words, have no effect there.",
        path,
    )


def _read_durations(output: npt.NDArray[Any]) -> npt.NDArray[np.int64] | None:
    """Return a second output as frames; None where it is none: whatever others put there."""
    try:
        durations = np.rint(np.asarray(output, dtype=np.float64)).reshape(-1)
    except (TypeError, ValueError):
        return None
    # Written so that a NaN makes no sense, either.
    is_sensible = bool(np.all((durations >= 0) & (durations <= MAX_FRAMES)))
    return durations.astype(np.int64) if is_sensible else None


def _id_samples(output: NetworkOutput, size: int) -> npt.NDArray[np.int64] | None:
    """Return the samples of each id; None where they do not add up to the sound."""
    durations = output.durations_frames
    if durations is None or len(durations) != size:
        return None
    # Without any frame the network still makes one.
    frames = max(1, int(durations.sum()))
    hop, rest = divmod(len(output.audio), frames)
    return durations * hop if hop and not rest else None
