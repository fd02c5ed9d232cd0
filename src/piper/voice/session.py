"""Runs a voice's network in ONNX Runtime: ids to audio.

A voice is spoken by its own graph, a whole sentence at once (`VoiceSession`), or by the optimised
model in three parts, window by window (`PartsSession`). The text's part needs the whole sentence,
flow and decoder only a window of frames with as much context to each side as convolutions reach.
(A quick voice's "flow" is what makes latents of encoded phonemes.) The decoder's windows are
smaller than the flow's, which needs more context and less memory. Noise is drawn for the whole
sentence before the first window, so the windows' sizes change nothing in the sound.

Shapes: P phonemes, N of them without padding symbols, C latent channels, G channels of a speaker,
T frames, S samples. Source: Kim et al. 2021 (VITS).
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from piper.audio.chunk import FloatArray
from piper.errors import BrokenModelError, PiperError, VoiceNotFoundError
from piper.system import available_cores
from piper.voice.graph_quick import NOISE_FRAMES, QUICK_METADATA_KEY, QuickGraphConfig

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    import onnxruntime

Cuda = bool | Literal["strict"]
"""Whether to run on an NVIDIA GPU: if there is one, or on nothing else."""
IntArray = npt.NDArray[np.int64]
Feeds = dict[str, npt.NDArray[Any]]
Result = TypeVar("Result")

MAX_FRAMES = 2**17
"""25 minutes of sound at 22,050 Hz, in one sentence. More comes of a wrong scale, and would take
all memory there is."""
EMPHASIS_SEMITONES = 1.5
EMPHASIS_LENGTH = 1.12
"""Of moderate emphasis; strong emphasis has them twice."""
MAX_WORKERS = 4
"""Each window at work takes about 30 MB."""
FIRST_FRAMES = 16
"""0.19 s of sound at 22,050 Hz: enough to hide the making of the next window."""
LARGEST_FRAMES = 96
"""Larger windows of the decoder take more memory for little less time."""
LARGEST_SHARED_FRAMES = 192
"""Where others speak at the same time, work counts, too: a tenth less than with 96, for 35 MB."""
LARGEST_FLOW_FRAMES = 512
"""The flow's context is larger, and its channels are few."""
SMALLEST_SHARE_FRAMES = 32
"""Below this much for each worker, context would be most of the work."""
SMALLEST_FLOW_SHARE_FRAMES = 128
GROWTH = 2
SHARED_GROWTH = 4

_CUDA_PROVIDER = "CUDAExecutionProvider"
_CPU_PROVIDER = "CPUExecutionProvider"
_REQUIRED_INPUTS = ("input", "input_lengths", "scales")
_SPEAKER_INPUT = "sid"
# ONNX Runtime has one seed for the whole process, read while a session is made.
_seed_lock = threading.Lock()
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpeechSettings:
    """How a network speaks a sentence; without anything said, the first speaker without noise.

    Attributes:
        noise_scale: Deviation of the prior's noise.
        length_scale: Factor on durations.
        noise_w_scale: Deviation of the duration predictor's noise.
        speakers: Speaker's number to its share; shares add up to 1. Ignored by a voice with one.
        pitch: Semitones that are added; ignored by a voice whose pitch cannot be set.
        semitones: (P,), in place of the pitch where that differs within the sentence.
        emphasis: (P,), how much weight each id has; 0 is the usual, 1 moderate emphasis.
    """

    noise_scale: float = 0.0
    length_scale: float = 1.0
    noise_w_scale: float = 0.0
    speakers: Mapping[int, float] = field(default_factory=lambda: {0: 1.0})
    pitch: float = 0.0
    semitones: FloatArray | None = None
    emphasis: FloatArray | None = None


@dataclass(frozen=True)
class SpokenSentence:
    """A sentence whose sound may still be on its way.

    Attributes:
        audio: Pieces (S,) float32, as loud as the network makes them; computed when asked for.
        id_samples: (P,) int64, samples of each id, where the network says them and they make sense.
        num_samples: Of all pieces together.
    """

    audio: Iterator[FloatArray]
    id_samples: IntArray | None
    num_samples: int


class Network(Protocol):
    """What speaks ids: a voice's own graph, or the optimised model in three parts."""

    has_durations: bool
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
        rng: np.random.Generator,
        *,
        is_streamed: bool,
        is_shared: bool = False,
    ) -> SpokenSentence:
        """Speak one sentence.

        Args:
            ids: (P,) phoneme ids, BOS … EOS.
            settings: How to speak.
            rng: Source of all noise.
            is_streamed: In several pieces, if the network can; the first is small and comes soon.
            is_shared: Others speak at the same time: rather less work than an early end.
        """
        ...


def create_session(
    path: Path,
    *,
    use_cuda: Cuda = False,
    threads: int | None = None,
    seed: int | None = None,
    is_for_machine: bool = False,
    optimized_path: Path | None = None,
) -> onnxruntime.InferenceSession:
    """Load an ONNX file.

    Args:
        path: The file.
        use_cuda: Run on an NVIDIA GPU; where none can be started on the CPU, after a warning,
            except for `strict`.
        threads: Threads of one run; None leaves it to ONNX Runtime.
        seed: For the graph's own random nodes.
        is_for_machine: The file was written as an `optimized_path` on such a machine.
        optimized_path: Also write the graph as ONNX Runtime has optimised it for this machine, with
            its weights in a file beside it that has the ending `.bin`.

    Raises:
        VoiceNotFoundError: There is no such file.
        PiperError: It cannot be loaded, or CUDA is wanted strictly and not there.
    """
    # Heavy, and not needed before a voice is loaded.
    import onnxruntime

    if not path.is_file():
        raise VoiceNotFoundError(f"{path} does not exist; check the path of the voice.")
    use_cuda = use_cuda and find_cuda(use_cuda)
    options = _create_options(threads, is_for_machine, optimized_path)
    if not use_cuda and _share_arena():
        options.add_session_config_entry("session.use_env_allocators", "1")

    def load(*providers: Any) -> onnxruntime.InferenceSession:
        # Its own second try prints to standard output, where speech may go.
        return onnxruntime.InferenceSession(
            str(path), options, providers=[*providers, _CPU_PROVIDER], enable_fallback=0
        )

    with _seed_lock:
        # A random node without a seed of its own takes the process's seed plus its number in the
        # graph when the session is made, and goes on from there at each run. A later call of
        # set_seed() changes nothing in it. So the seed is set here, and replaced afterwards by a
        # random one, lest other sessions of the process repeat themselves unasked.
        if seed is not None:
            onnxruntime.set_seed(seed)
        try:
            session = _load_on_gpu(load, use_cuda) if use_cuda else load()
        except PiperError:
            raise
        except Exception as error:  # onnxruntime's errors have no public base class
            raise BrokenModelError(
                f"{path} cannot be loaded by ONNX Runtime ({_shorten(error)}); is it a whole ONNX "
                "file? Download or export it again."
            ) from None
        finally:
            if seed is not None:
                onnxruntime.set_seed(secrets.randbits(62))
    _LOGGER.debug("Loaded %s on %s", path, session.get_providers()[0])
    return session


def _create_options(
    threads: int | None, is_for_machine: bool, optimized_path: Path | None
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
    if is_for_machine:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized_path is not None:
        options.optimized_model_filepath = str(optimized_path)
        prefix = "session.optimized_model_external_initializers"
        options.add_session_config_entry(
            f"{prefix}_file_name", optimized_path.with_suffix(".bin").name
        )
        # Shapes must stay inside, where ONNX Runtime reads them.
        options.add_session_config_entry(f"{prefix}_min_size_in_bytes", "1024")
    return options


@cache
def _share_arena() -> bool:
    """Let all sessions of the process take memory from one arena; return whether that worked.

    Text, flow and decoder of a voice work one after the other: what one leaves, the next one uses,
    10 % of the memory of a process that speaks.
    """
    import onnxruntime

    kind, place = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    try:
        memory = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, place)
        onnxruntime.create_and_register_allocator(memory, None)
    except Exception as error:  # onnxruntime's errors have no public base class
        _LOGGER.debug("Each session has an arena of its own (%s)", error)
        return False
    return True


def find_cuda(wanted: Cuda) -> Cuda:
    """Return what is wanted where the installed ONNX Runtime knows CUDA, else False."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    if not wanted or _CUDA_PROVIDER in available:
        return wanted
    names = ", ".join(name.removesuffix("ExecutionProvider") for name in available)
    _do_without_cuda(
        wanted, f"the installed onnxruntime has only {names}: install onnxruntime-gpu in its place"
    )
    return False


def _load_on_gpu(
    load: Callable[..., onnxruntime.InferenceSession], wanted: Cuda
) -> onnxruntime.InferenceSession:
    """Load a graph on the GPU, or on the CPU where ONNX Runtime cannot start the GPU."""
    try:
        # Each sentence has another length, and an exhaustive search starts anew for each length.
        session = load((_CUDA_PROVIDER, {"cudnn_conv_algo_search": "HEURISTIC"}))
    except Exception:  # onnxruntime's errors have no public base class
        session = load()
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
    _LOGGER.warning(
        "CUDA was asked for, but %s. The CPU speaks; --strict-cuda makes this an error.", reason
    )


def run_graph(session: onnxruntime.InferenceSession, outputs: list[str], feeds: Feeds) -> list[Any]:
    """Return outputs of a graph."""
    try:
        return list(session.run(outputs, feeds))
    except Exception as error:  # onnxruntime's errors have no public base class
        raise BrokenModelError(
            f"The voice's network cannot speak this ({_shorten(error)}); its ONNX file or its JSON "
            "is damaged, or they do not belong together: download or export them again."
        ) from None


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def draw_noise(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> FloatArray:
    """Return normal noise of such a deviation, float32."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise *= np.float32(scale)
    return noise


@dataclass(frozen=True)
class NetworkOutput:
    """What a voice's own graph gives for one sentence."""

    audio: FloatArray
    """(S,), as loud as the network makes it."""
    durations_frames: IntArray | None
    """(P,), frames of each id, where the voice has that output and it is numbers of frames."""

    def compute_id_samples(self, size: int) -> IntArray | None:
        """Return the samples of each of so many ids; None where they are not the sound's."""
        durations = self.durations_frames
        if durations is None or len(durations) != size:
            return None
        # Without any frame the network still makes one.
        hop, rest = divmod(len(self.audio), max(1, int(durations.sum())))
        return durations * hop if hop and not rest else None


class VoiceSession:
    """A voice's own graph, loaded: it speaks whole sentences with noise of its own.

    Args:
        model: The ONNX file, or a session that somebody else made of it; the other arguments are
            those of `create_session`, for the file.
        use_cuda: Run on an NVIDIA GPU.
        threads: Threads of one run.
        seed: Makes speech repeatable: sessions with one seed that are given the same sentences in
            the same order give the same samples. None: other noise each time.

    Raises:
        VoiceNotFoundError: There is no such file.
        PiperError: It is no voice's network, or CUDA was asked for strictly and is not there.
    """

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
        self.path = Path("the given session")
        if isinstance(model, Path | str):
            self.path = Path(model)
            model = create_session(self.path, use_cuda=use_cuda, threads=threads, seed=seed)
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

    def run(self, ids: Sequence[int], settings: SpeechSettings) -> NetworkOutput:
        """Speak one sentence, by one speaker, all words in one way."""
        scales = [settings.noise_scale, settings.length_scale, settings.noise_w_scale]
        if self.mean_hertz is not None:
            scales.append(settings.pitch)
        feeds: Feeds = {
            "input": np.asarray([ids], dtype=np.int64),
            "input_lengths": np.asarray([len(ids)], dtype=np.int64),
            "scales": np.asarray(scales, dtype=np.float32),
        }
        if self.has_speakers:
            speaker = next(iter(settings.speakers), 0)
            feeds[_SPEAKER_INPUT] = np.asarray([speaker], dtype=np.int64)
        outputs = run_graph(self.session, self._output_names, feeds)
        # (1, 1, 1, S) in Piper's voices, (1, 1, S) in some others.
        audio = np.asarray(outputs[0], dtype=np.float32).reshape(-1)
        return NetworkOutput(audio, _read_durations(outputs[1]) if self.has_durations else None)

    def speak(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        rng: np.random.Generator,
        *,
        is_streamed: bool,
        is_shared: bool = False,
    ) -> SpokenSentence:
        """Speak one sentence in one piece, with the graph's own noise: `rng` is not read."""
        if self.has_speakers and len(settings.speakers) != 1:
            raise PiperError(
                f"The speakers of {self.path} cannot be mixed, because its weights could not be "
                "taken apart; choose one speaker."
            )
        if settings.emphasis is not None or settings.semitones is not None:
            _warn_about_words(self.path)
        output = self.run(ids, settings)
        samples = output.compute_id_samples(len(ids))
        return SpokenSentence(iter([output.audio]), samples, len(output.audio))


@lru_cache(maxsize=256)
def _warn_about_words(path: Path) -> None:
    _LOGGER.warning(
        "%s speaks by its own graph, which says all words of a sentence in one way; emphasis, and "
        "the pitch of single words, have no effect there.",
        path,
    )


def _read_durations(output: npt.NDArray[Any]) -> IntArray | None:
    """Return a second output as frames; None where it is none: whatever others put there."""
    try:
        durations = np.rint(np.asarray(output, dtype=np.float64)).reshape(-1)
    except (TypeError, ValueError):
        return None
    # Written so that a NaN makes no sense, either.
    is_sensible = bool(np.all((durations >= 0) & (durations <= MAX_FRAMES)))
    return durations.astype(np.int64) if is_sensible else None


@dataclass(frozen=True)
class PartFiles:
    """The optimised model of a voice, in files: its three parts as ONNX."""

    text: Path
    flow: Path
    decoder: Path
    speakers: Path | None
    """(number of speakers, G) as `.npy`; None with one speaker."""
    flow_context_frames: int
    decoder_context_frames: int
    """Frames of context that they need to each side."""
    hop_length: int
    is_for_machine: bool
    """Whether ONNX Runtime wrote the graphs, optimised for such a machine."""
    mean_hertz: float | None


class PartsSession:
    """The optimised model, loaded; safe to use from many threads.

    Args:
        files: What to load.
        use_cuda: Run on an NVIDIA GPU, as for `create_session`.
        threads: Threads that speak one sentence; None takes a core each.

    Raises:
        PiperError: A file is missing or broken, or CUDA was asked for strictly and is not there.
    """

    has_durations = True
    can_seed = True

    def __init__(
        self, files: PartFiles, *, use_cuda: Cuda = False, threads: int | None = None
    ) -> None:
        self.files = files
        self.mean_hertz = files.mean_hertz
        threads = threads or available_cores()
        # Windows at the same time use the cores better than the threads of one: of a height of 1
        # ONNX Runtime's blocked convolutions give no work to a second thread.
        self._workers = Workers(1 if use_cuda else min(threads, MAX_WORKERS))
        share = max(1, threads // self._workers.size)

        def load(path: Path, threads: int) -> _Part:
            is_ready = files.is_for_machine
            return _Part(
                create_session(path, use_cuda=use_cuda, threads=threads, is_for_machine=is_ready)
            )

        self._flow = load(files.flow, share)
        self._decoder = load(files.decoder, share)
        self._text = load(files.text, threads)
        # Some voices have a thousand speakers, and one is needed.
        self._speakers = None if files.speakers is None else np.load(files.speakers, mmap_mode="r")
        self.num_speakers: int | None = 1 if self._speakers is None else len(self._speakers)

    def speak(
        self,
        ids: Sequence[int],
        settings: SpeechSettings,
        rng: np.random.Generator,
        *,
        is_streamed: bool,
        is_shared: bool = False,
    ) -> SpokenSentence:
        """Speak one sentence: durations now, sound when its pieces are asked for."""
        latents = self._encode(ids, settings, rng)
        plan = plan_windows(
            latents.size,
            context=self.files.decoder_context_frames,
            workers=self._workers.size,
            is_streamed=is_streamed,
            is_shared=is_shared,
        )
        hop = self.files.hop_length
        pieces = self._decode_windows(latents, plan)
        return SpokenSentence(pieces, latents.durations * hop, latents.size * hop)

    def find_latents(
        self, ids: Sequence[int], settings: SpeechSettings, rng: np.random.Generator
    ) -> tuple[FloatArray, IntArray]:
        """Return what the decoder is given of a sentence, (C, T), with the noise of `speak`.

        And how many frames each id has, (P,).
        """
        latents = self._encode(ids, settings, rng)
        frames: FloatArray = self._run_flow(latents, (0, latents.size))[0]
        return frames.reshape(-1, latents.size), latents.durations

    def _mix_speakers(self, shares: Mapping[int, float]) -> Feeds:
        """Return the speakers' embeddings (G,) by their shares, where there are several."""
        if self._speakers is None:
            return {}
        rows = [self._speakers[number] * np.float32(share) for number, share in shares.items()]
        return {"speaker": np.asarray(np.sum(rows, axis=0, dtype=np.float32))}

    def _encode(
        self, ids: Sequence[int], settings: SpeechSettings, rng: np.random.Generator
    ) -> Latents | QuickLatents:
        """Return how long the phonemes last, and what their sound is made of."""
        speaker = self._mix_speakers(settings.speakers)
        feeds: Feeds = {
            "input": np.asarray([ids], dtype=np.int64),
            "input_lengths": np.asarray([len(ids)], dtype=np.int64),
            **speaker,
        }
        if axes := self._text.shapes.get("rhythm_noise"):
            shape = (*axes[:-1], len(ids))
            feeds["rhythm_noise"] = draw_noise(shape, settings.noise_w_scale, rng)
        found = self._text.run(feeds)
        places = found.get("places")
        emphasis = np.zeros(1, np.float32)
        if settings.emphasis is not None:
            emphasis = settings.emphasis if places is None else settings.emphasis[places]
        frames = found["frames"].reshape(-1) * np.float32(settings.length_scale)
        frames *= np.float32(EMPHASIS_LENGTH) ** emphasis
        # A quick voice rounds, as its training does; VITS was trained to be rounded up.
        counts = _check_frames(np.ceil(frames if places is None else np.maximum(frames - 0.5, 0.0)))
        semitones = np.full(len(counts), settings.pitch, dtype=np.float32)
        if settings.semitones is not None:
            semitones[:] = settings.semitones[slice(None) if places is None else places]
        semitones += np.float32(EMPHASIS_SEMITONES) * emphasis
        if places is None:
            statistics = found["statistics"][0]
            return Latents(counts, statistics, semitones, settings.noise_scale, rng, speaker)
        return QuickLatents(
            counts,
            places,
            len(ids),
            {
                "encoded": found["encoded"],
                "wander": draw_noise((1, len(counts)), settings.noise_scale, rng),
                "semitones": semitones[np.newaxis],
            },
        )

    def _decode_windows(
        self, latents: Latents | QuickLatents, plan: WindowPlan
    ) -> Iterator[FloatArray]:
        """Yield the samples of the decoder's windows, working ahead by a window a worker."""
        flows = [
            (window, self._workers.defer(partial(self._run_flow, latents, window)))
            for window in plan.flow
        ]
        pending: deque[Deferred[FloatArray]] = deque()
        try:
            for window in plan.decoder:
                last = max(
                    number for number, (flow, _) in enumerate(flows) if flow[0] < window.right
                )
                # Flows come before the windows that wait for them, lest all workers wait; and some
                # more of them, lest workers have nothing else to do.
                for _, flow in flows[: last + self._workers.size]:
                    flow.begin()
                work = partial(self._decode, latents, flows[: last + 1], window)
                pending.append(self._workers.defer(work))
                pending[-1].begin()
                if len(pending) == self._workers.size:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for _, flow in flows:
                flow.cancel()
            for decoded in pending:
                decoded.cancel()

    def _run_flow(self, latents: Latents | QuickLatents, window: Window) -> list[Any]:
        """Return the flow's values of some frames, T last; the first is z."""
        start, end = window
        left = max(0, start - self.files.flow_context_frames)
        right = min(latents.size, end + self.files.flow_context_frames)
        outputs = self._flow.run(latents.flow_feeds(left, right)).values()
        return [output[..., start - left : end - left] for output in outputs]

    def _decode(
        self,
        latents: Latents | QuickLatents,
        flows: list[tuple[Window, Deferred[list[Any]]]],
        window: DecoderWindow,
    ) -> FloatArray:
        """Return the samples (S,) of some frames, given the flow's values up to their end."""
        left, right = window.left, window.right
        parts = [
            flow.result()[0][..., max(0, left - first) : right - first]
            for (first, end), flow in flows
            if end > left
        ]
        z = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        before = [turns for _, flow in flows for turns in flow.result()[1:]]
        output = self._decoder.run({"z": z, **latents.decoder_feeds(left, right, before)})["output"]
        hop = self.files.hop_length
        inner = slice((window.start - left) * hop, (window.end - left) * hop)
        samples = np.asarray(output, np.float32).reshape(-1)[inner]
        # How long the sound is has been said to others already.
        if len(samples) != (window.end - window.start) * hop:
            raise BrokenModelError(
                "The voice's network gives less sound than its durations say; remove "
                f"{self.files.decoder.parent}, which is made anew at the next start."
            )
        return samples


class _Part:
    """One of the graphs of an optimised model."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs = [value.name for value in session.get_outputs()]
        self.shapes = {value.name: value.shape for value in session.get_inputs()}

    def run(self, feeds: Feeds) -> dict[str, Any]:
        """Return its outputs, given those of the values that it reads."""
        read = {name: value for name, value in feeds.items() if name in self.shapes}
        if "speaker" in read:  # each part wants the channels on the second axis, or the first ones
            _, width, *rest = self.shapes["speaker"]
            read["speaker"] = read["speaker"][:width].reshape(1, -1, *rest)
        values = run_graph(self._session, self._outputs, read)
        return dict(zip(self._outputs, values, strict=True))


def _check_frames(frames: FloatArray) -> IntArray:
    """Return durations as whole numbers.

    Raises:
        PiperError: They are none, or too many.
    """
    # Written so that a NaN makes no sense, either.
    if not frames.min(initial=0) >= 0:
        raise BrokenModelError(
            "The voice's network gives durations that are no numbers of frames, so its weights "
            "are damaged; download or export the voice again."
        )
    if not frames.sum() <= MAX_FRAMES:
        raise PiperError(
            f"A sentence would take {frames.sum():.3g} frames of sound; "
            "lower the length scale and the noise w scale, or make the sentence shorter."
        )
    return frames.astype(np.int64)


class Latents:
    """The prior's sample z_p of a VITS voice's sentence, of which windows are asked for.

    The statistics are (2 C, P), mean above log deviation; the semitones, (P,), are for a copy that
    keeps its text side, whose pitch can be set.
    """

    def __init__(
        self,
        durations: IntArray,
        statistics: FloatArray,
        semitones: FloatArray,
        noise_scale: float,
        rng: np.random.Generator,
        speaker: Feeds,
    ) -> None:
        self.durations = durations
        # At least one frame, as in training's code; the decoder cannot take none.
        phonemes = np.repeat(np.arange(len(durations)), durations)
        self._phonemes = phonemes if len(phonemes) else np.zeros(1, dtype=np.int64)
        self.size = len(self._phonemes)
        self._mean, logarithm = np.split(statistics, 2)
        self._deviation = np.exp(logarithm)
        self._semitones = semitones
        self._noise_scale = noise_scale
        self._rng = rng
        self._speaker = speaker
        self._lock = threading.Lock()
        self._noise: FloatArray | None = None

    def flow_feeds(self, start: int, end: int) -> Feeds:
        """Return what the flow reads for some frames: z_p (1, C, 1, T), semitones (1, 1, T)."""
        phonemes = self._phonemes[start:end]
        noise = self._draw_noise_once()[:, start:end] * self._deviation[:, phonemes]
        z_p = (self._mean[:, phonemes] + noise)[np.newaxis, :, np.newaxis]
        return {
            "z_p": z_p,
            "semitones": self._semitones[np.newaxis, np.newaxis, phonemes],
            **self._speaker,
        }

    def decoder_feeds(self, start: int, end: int, before: Sequence[Any]) -> Feeds:
        """Return what the decoder reads beside z: a quick one the phase, a VITS one the speaker."""
        return _phase_feeds(start, end, before) if before else self._speaker

    def _draw_noise_once(self) -> FloatArray:
        """Return (C, T); drawn when first asked for, by one of several threads.

        A minute of planned speech that nobody hears yet would hold 4 MB of it.
        """
        with self._lock:
            if self._noise is None:
                shape = (len(self._mean), self.size)
                self._noise = draw_noise(shape, self._noise_scale, self._rng)
            return self._noise


class QuickLatents:
    """The frames of a quick voice's sentence, of which windows are asked for.

    Args:
        counts: (N,) frames of each phoneme that is no padding symbol.
        places: (N,) of those among all P.
        num_ids: P.
        feeds: What the flow reads for any frames, beside the counts.
    """

    def __init__(self, counts: IntArray, places: IntArray, num_ids: int, feeds: Feeds) -> None:
        self.durations = np.zeros(num_ids, dtype=np.int64)
        self.durations[places] = counts
        self.size = max(1, int(counts.sum()))  # at least one, as in the voice's own graph
        self._feeds = {"counts": counts.astype(np.float32), **feeds}

    def flow_feeds(self, start: int, end: int) -> Feeds:
        """Return what the flow reads for some frames."""
        return {**self._feeds, "times": np.arange(start, end, dtype=np.float32)}

    def decoder_feeds(self, start: int, end: int, before: Sequence[Any]) -> Feeds:
        """Return what the decoder reads beside z for some frames."""
        return _phase_feeds(start, end, before)


def _phase_feeds(start: int, end: int, before: Sequence[Any]) -> Feeds:
    """Return what a quick voice's decoder reads beside z for some frames.

    `before` has the turns of the pitch's phase in each frame, from the sentence's start.
    """
    turns = np.concatenate([[0.0], *before]).cumsum()[start:end, np.newaxis]
    rows = np.arange(start, end) % NOISE_FRAMES
    return {"turns": (turns - turns.round()).astype(np.float32), "rows": rows}


Window = tuple[int, int]
"""First frame and end."""


class DecoderWindow(NamedTuple):
    """Frames from `start` to `end`, and their context, from `left` to `right`."""

    left: int
    start: int
    end: int
    right: int


class WindowPlan(NamedTuple):
    """The windows of a sentence, each kind in order and without gaps."""

    flow: list[Window]
    decoder: list[DecoderWindow]


def plan_windows(
    frames: int, *, context: int, workers: int, is_streamed: bool, is_shared: bool = False
) -> WindowPlan:
    """Cut a sentence into windows.

    Args:
        frames: Frames of the sentence, at least one.
        context: Frames to each side that the decoder must see.
        workers: How many windows are worked on at once.
        is_streamed: Begin with a small window and let them grow; else all are of nearly one size.
        is_shared: Fewer and larger ones, whose contexts are less work.
    """
    largest = LARGEST_SHARED_FRAMES if is_shared else LARGEST_FRAMES
    if is_streamed:
        growth = SHARED_GROWTH if is_shared else GROWTH
        decoder = _plan_growing(frames, FIRST_FRAMES, growth, largest)
        flow = _plan_growing(frames, FIRST_FRAMES + context, growth, LARGEST_FLOW_FRAMES)
    else:
        decoder = _plan_equal(frames, workers, largest, SMALLEST_SHARE_FRAMES)
        flow = _plan_equal(frames, workers, LARGEST_FLOW_FRAMES, SMALLEST_FLOW_SHARE_FRAMES)
    return WindowPlan(
        flow,
        [
            DecoderWindow(max(0, start - context), start, end, min(frames, end + context))
            for start, end in decoder
        ],
    )


def _plan_growing(frames: int, first: int, growth: int, largest: int) -> list[Window]:
    """Cut into growing windows; a rest below the first size is not left for a run of its own."""
    windows: list[Window] = []
    start, size = 0, first
    while start < frames:
        end = start + size if frames - start - size >= first else frames
        windows.append((start, end))
        start, size = end, min(size * growth, largest)
    return windows


def _plan_equal(frames: int, workers: int, largest: int, smallest: int) -> list[Window]:
    """Cut into windows of nearly equal size, as many for each worker."""
    rounds = -(-frames // (largest * workers))
    count = max(1, min(rounds * workers, frames // smallest))
    return list(pairwise(frames * number // count for number in range(count + 1)))


class Workers:
    """So many threads, shared by all who have something to do; safe to use from many threads.

    Args:
        size: How many; with one, whoever asks for a result does the work.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def defer(self, function: Callable[[], Result]) -> Deferred[Result]:
        """Return work that is yet to begin."""
        return Deferred(function, self)

    def submit(self, function: Callable[[], Result]) -> Future[Result] | None:
        """Have a thread work; None where whoever asks is to do it."""
        if self.size == 1:
            return None
        # Takes a moment to load, and a voice may be loaded long before it speaks.
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.size, "piper-worker")
            return self._pool.submit(function)


class Deferred(Generic[Result]):
    """Work that is done once: by a worker after `begin`, or by who asks for its result."""

    def __init__(self, function: Callable[[], Result], workers: Workers) -> None:
        self._function = function
        self._workers = workers
        self._future: Future[Result] | None = None
        # A lock of its own: until Python 3.12 cached_property has one for all instances, so that
        # sentences of different threads waited for each other.
        self._lock = threading.Lock()
        self._results: list[Result] = []

    def begin(self) -> None:
        """Give the work to the workers, if there are any and it was not given before."""
        if self._future is None:
            self._future = self._workers.submit(self._function)

    def result(self) -> Result:
        """Return the result, however long it takes; its error is raised."""
        if self._future is not None:
            return self._future.result()
        with self._lock:
            if not self._results:
                self._results.append(self._function())
            return self._results[0]

    def cancel(self) -> None:
        """Leave the work undone, if nobody has begun it."""
        if self._future is not None:
            self._future.cancel()
