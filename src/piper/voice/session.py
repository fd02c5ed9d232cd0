"""Runs a voice's network in ONNX Runtime: ids to audio. Knows nothing of text or files of audio.

Shapes: P phonemes, S samples.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from piper.errors import PiperError, VoiceNotFoundError

if TYPE_CHECKING:
    import onnxruntime

_logger = logging.getLogger(__name__)

_REQUIRED_INPUTS = ("input", "input_lengths", "scales")
_SPEAKER_INPUT = "sid"
_CUDA_PROVIDER = "CUDAExecutionProvider"
_CPU_PROVIDER = "CPUExecutionProvider"

# ONNX Runtime has one seed for the whole process, read while a session is made.
_seed_lock = threading.Lock()


class BrokenModelError(PiperError):
    """A file that ONNX Runtime cannot load."""


@dataclass(frozen=True)
class NetworkOutput:
    """What the network gives for one sentence.

    Attributes:
        audio: (S,) float32, as loud as the network makes it.
        durations_frames: (P,) int64, frames of each id, where the voice has that output.
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
    """

    noise_scale: float
    length_scale: float
    noise_w_scale: float
    speakers: Mapping[int, float]


@dataclass(frozen=True)
class SpokenSentence:
    """A sentence whose sound may still be on its way.

    Attributes:
        audio: Pieces (S,) float32, as loud as the network makes them; computed when asked for.
        id_samples: (P,) int64, samples of each id, where the network says them.
    """

    audio: Iterator[npt.NDArray[np.float32]]
    id_samples: npt.NDArray[np.int64] | None


class Network(Protocol):
    """What speaks ids: a voice's own graph, or the clean one in two parts."""

    has_durations: bool
    can_mix_speakers: bool
    can_seed: bool
    """Whether the noise is drawn from the generator that `speak` is given."""

    def speak(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        random: np.random.Generator,
        *,
        is_streamed: bool,
    ) -> SpokenSentence:
        """Speak one sentence, in several pieces where it is streamed and the network can."""
        ...


class VoiceSession:
    """A voice's own graph, loaded: it speaks whole sentences with noise of its own.

    Args:
        model_path: The ONNX file.
        use_cuda: Run on an NVIDIA GPU.
        threads: Threads of one run; None leaves it to ONNX Runtime, which takes a core each.
        seed: Makes speech repeatable: sessions with one seed that are given the same sentences in
            the same order give the same samples. None: other noise each time.

    Raises:
        VoiceNotFoundError: There is no such file.
        PiperError: It is no voice's network, or CUDA was asked for and is not there.
    """

    can_mix_speakers = False
    can_seed = False

    def __init__(
        self,
        model_path: Path | str,
        *,
        use_cuda: bool = False,
        threads: int | None = None,
        seed: int | None = None,
    ) -> None:
        self.path = Path(model_path)
        self._session = create_session(self.path, use_cuda=use_cuda, threads=threads, seed=seed)
        input_names = {item.name for item in self._session.get_inputs()}
        missing = [name for name in _REQUIRED_INPUTS if name not in input_names]
        if missing:
            raise PiperError(
                f"{self.path} is not a Piper voice: its network has no input "
                f'"{missing[0]}" (it has: {", ".join(sorted(input_names))}).'
            )
        self.has_speakers = _SPEAKER_INPUT in input_names
        # Clients of such voices find the durations as the second output, whatever its name.
        self._output_names = [item.name for item in self._session.get_outputs()][:2]
        self.has_durations = len(self._output_names) > 1

    def run(
        self,
        ids: Sequence[int],
        *,
        noise_scale: float,
        length_scale: float,
        noise_w_scale: float,
        speaker_id: int = 0,
    ) -> NetworkOutput:
        """Speak one sentence.

        Args:
            ids: (P,) phoneme ids, BOS … EOS.
            noise_scale: Deviation of the prior's noise.
            length_scale: Factor on durations.
            noise_w_scale: Deviation of the duration predictor's noise.
            speaker_id: Ignored by a voice with one speaker.
        """
        feeds: dict[str, npt.NDArray[Any]] = {
            "input": np.asarray([ids], dtype=np.int64),
            "input_lengths": np.asarray([len(ids)], dtype=np.int64),
            "scales": np.asarray([noise_scale, length_scale, noise_w_scale], dtype=np.float32),
        }
        if self.has_speakers:
            feeds[_SPEAKER_INPUT] = np.asarray([speaker_id], dtype=np.int64)
        outputs = self._session.run(self._output_names, feeds)
        # (1, 1, 1, S) in Piper's voices, (1, 1, S) in some others.
        audio = np.asarray(outputs[0], dtype=np.float32).reshape(-1)
        durations = None
        if self.has_durations:
            durations = np.rint(outputs[1]).astype(np.int64).reshape(-1)
        return NetworkOutput(audio, durations)

    def speak(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        random: np.random.Generator,
        *,
        is_streamed: bool,
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
        output = self.run(
            ids,
            noise_scale=settings.noise_scale,
            length_scale=settings.length_scale,
            noise_w_scale=settings.noise_w_scale,
            speaker_id=next(iter(settings.speakers), 0),
        )
        return SpokenSentence(iter([output.audio]), _id_samples(output, len(ids)))


def _id_samples(output: NetworkOutput, size: int) -> npt.NDArray[np.int64] | None:
    durations = output.durations_frames
    if durations is None or len(durations) != size:
        return None
    # Without any frame the network still makes one.
    frames = max(1, int(durations.sum()))
    return durations * (len(output.audio) // frames)


def create_session(
    path: Path,
    *,
    use_cuda: bool = False,
    threads: int | None = None,
    seed: int | None = None,
    is_optimized: bool = False,
    optimized_path: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Load an ONNX file.

    Args:
        path: The file.
        use_cuda: Run on an NVIDIA GPU.
        threads: Threads of one run; None leaves it to ONNX Runtime.
        seed: For the graph's own random nodes.
        is_optimized: The file was written as an `optimized_path` on such a machine.
        optimized_path: Also write the graph as ONNX Runtime has optimised it for this machine, with
            its weights in a file beside it that has the ending `.bin`.

    Raises:
        VoiceNotFoundError: There is no such file.
        BrokenModelError: It cannot be loaded.
        PiperError: CUDA was asked for and is not there.
    """
    # Heavy, and not needed before a voice is loaded.
    import onnxruntime

    if not path.is_file():
        raise VoiceNotFoundError(f"{path} does not exist; check the path of the voice.")
    options = onnxruntime.SessionOptions()
    # Warnings about the exporter's leftovers are of no use to the one who speaks.
    options.log_severity_level = 3
    # It plans memory for each length of input anew, and keeps all plans: 60 MB for no gain in time.
    options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
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
    providers = _choose_providers(use_cuda)
    with _seed_lock:
        # A random node without a seed of its own takes the process's seed plus its number in the
        # graph when the session is made, and goes on from there at each run. A later call of
        # set_seed() changes nothing in it. So the seed is set here, and replaced afterwards by a
        # random one, lest other sessions of the process repeat themselves unasked.
        if seed is not None:
            onnxruntime.set_seed(seed)
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's errors have no public base class
            raise _cannot_load(path, error) from None
        finally:
            if seed is not None:
                onnxruntime.set_seed(secrets.randbits(62))
    if use_cuda and _CUDA_PROVIDER not in session.get_providers():
        raise PiperError(
            "CUDA was asked for (--cuda), but ONNX Runtime could not start it; "
            "check driver, CUDA and cuDNN libraries, or speak without it."
        )
    _logger.debug("Loaded %s on %s", path, session.get_providers()[0])
    return session


def _choose_providers(use_cuda: bool) -> list[Any]:
    import onnxruntime

    if not use_cuda:
        return [_CPU_PROVIDER]
    available = onnxruntime.get_available_providers()
    if _CUDA_PROVIDER not in available:
        raise PiperError(
            "CUDA was asked for (--cuda), but the installed onnxruntime has only "
            f"{', '.join(available)}; install onnxruntime-gpu in its place, or speak without it."
        )
    # Each sentence has another length, and an exhaustive search starts anew for each length.
    return [(_CUDA_PROVIDER, {"cudnn_conv_algo_search": "HEURISTIC"}), _CPU_PROVIDER]


def _cannot_load(path: Path, error: Exception) -> BrokenModelError:
    reason = " ".join(str(error).split())
    return BrokenModelError(
        f"{path} cannot be loaded by ONNX Runtime ({reason:.200}); is it a whole ONNX file? "
        "Download or export it again."
    )
