"""One measured training process, of either program: what `benchmarks/train_step.py` starts.

Runs in the program's own environment, so that it imports nothing of ours but what both programs
have. Reads one JSON argument, writes one JSON file. Its tasks:

- `speed` runs `python -m piper.train fit` with a meter on its Trainer.
- `prepare` runs once, in ours, and writes what both sides then start from: weights, and batches as
  plain tensors.
- `record` trains on them and tells the losses as they were logged. Random numbers follow from step,
  kind, shape and how often these were drawn before, so two programs that draw the same draw equal
  numbers, in whatever order.
"""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
import tempfile
import time
import types
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from torch.utils.data import DataLoader

ALIGNMENT_MODULE = "piper.train.vits.monotonic_align"
FEWEST_BINS = 65
"""A spectrogram has more frequency bins than this; audio has one channel."""
RUNNING = {"cuda": {"kernel", "gpu_memcpy", "gpu_memset"}, "cpu": {"cpu_op"}}
"""Categories of a trace that are work of the device itself."""
HOST_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
PEER_FIELDS = {
    "phoneme_ids": "ids",
    "phoneme_lengths": "id_lengths",
    "spectrograms": "spectrograms",
    "spectrogram_lengths": "spectrogram_lengths",
    "audios": "audio",
    "audio_lengths": "audio_lengths",
    "speaker_ids": "speaker_ids",
}
"""What piper-tts calls the parts of a batch, and what they are called here."""


def stand_in_for_alignment() -> None:
    """Give piper-tts the alignment search that its wheel lacks, where the stand-in is installed."""
    if importlib.util.find_spec("monotonic_alignment_search") is None:
        return
    from monotonic_alignment_search import maximum_path

    def search(likelihood: Any, mask: Any) -> Any:
        # (B, T, P) there, (B, P, T) in the stand-in.
        swapped = [tensor.transpose(1, 2).contiguous() for tensor in (likelihood, mask)]
        return maximum_path(*swapped).transpose(1, 2).contiguous()

    module = types.ModuleType(ALIGNMENT_MODULE)
    module.maximum_path = search  # type: ignore[attr-defined]
    sys.modules[ALIGNMENT_MODULE] = module


def speed(spec: dict[str, Any]) -> dict[str, Any]:
    """Run `python -m piper.train fit` with a meter on its Trainer."""
    meter = Meter(spec["epochs"], spec["warm_up"], spec["profile_steps"])
    attach_to_trainers(meter)
    sys.argv = ["piper.train", "fit", *spec["arguments"]]
    try:
        runpy.run_module("piper.train", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    return meter.figures


class Meter(Callback):
    """Measures whole epochs after a short first one that only warms up: seconds and gigabytes.

    Args:
        epochs: Epochs to measure.
        warm_up: Steps of the epoch before them.
        profile_steps: Steps of one more epoch that are profiled; 0 for none.
    """

    def __init__(self, epochs: int, warm_up: int, profile_steps: int = 0) -> None:
        self.epochs = epochs
        self.warm_up = warm_up
        self.profile_steps = profile_steps
        self.figures: dict[str, Any] = {"epochs": []}
        self._epoch: dict[str, Any] = {}
        self._frames: list[tuple[torch.Tensor, int]] = []
        self._waiting_since = 0.0
        self._begin = self._processor_begin = 0.0
        self._profiler: Any = None

    def is_measured(self, trainer: Trainer) -> bool:
        """Return whether the running epoch is one of those that count."""
        return 1 <= trainer.current_epoch <= self.epochs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the first epoch end after the warm-up."""
        original = pl_module.on_train_batch_start

        def end_first_epoch(batch: Any, batch_index: int) -> int | None:
            if trainer.current_epoch == 0 and batch_index >= self.warm_up:
                return -1  # Lightning's sign for the end of an epoch
            return original(batch, batch_index)

        pl_module.on_train_batch_start = end_first_epoch  # type: ignore[method-assign]
        device = trainer.strategy.root_device
        self.figures["device"] = name_device(device)
        self.figures["threads"] = torch.get_num_threads()
        self.figures["memory_before"] = read_status_gigabytes("VmRSS")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch's clock, with nothing left running."""
        synchronize()
        self._epoch = {"waiting": 0.0, "utterances": 0, "steps": 0}
        self._frames = []
        self._processor_begin = time.process_time()
        self._begin = self._waiting_since = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """End the wait for data."""
        self._epoch["waiting"] += time.perf_counter() - self._waiting_since
        if self.is_measured(trainer):
            spectrogram = find_spectrogram(batch)
            # Without a copy to the host; a frame of a recording is nowhere quite zero.
            frames = (spectrogram.amax(1) > 0).sum()
            self._frames.append((frames, spectrogram.shape[0] * spectrogram.shape[2]))
            self._epoch["utterances"] += spectrogram.shape[0]
        elif trainer.current_epoch > self.epochs and batch_idx == 0 and self.profile_steps:
            self._start_profile()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a step; begin the wait for the next one's data."""
        self._epoch["steps"] += 1
        if self._profiler is not None and self._epoch["steps"] == self.profile_steps:
            self._end_profile(trainer.strategy.root_device.type)
        if self.is_measured(trainer) and batch_idx + 1 == trainer.num_training_batches:
            synchronize()
            self._epoch["seconds"] = time.perf_counter() - self._begin
            self._epoch["processor"] = time.process_time() - self._processor_begin
        self._waiting_since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep an epoch's figures."""
        if self._profiler is not None:
            self._end_profile(trainer.strategy.root_device.type)
        if not self.is_measured(trainer):
            return
        frames = sum(int(count) for count, _ in self._frames)
        self._epoch["padding"] = 1 - frames / sum(padded for _, padded in self._frames)
        self.figures["epochs"].append(self._epoch)
        # Before a profiler takes memory of its own.
        self.figures["memory"] = read_peak_gigabytes()

    def _start_profile(self) -> None:
        synchronize()
        kind = "CUDA" if torch.cuda.is_available() else "CPU"
        activities = [getattr(torch.profiler.ProfilerActivity, kind)]
        self._profiler = torch.profiler.profile(activities=activities)
        self._profiler.start()
        self._begin = time.perf_counter()

    def _end_profile(self, device: str) -> None:
        synchronize()
        seconds, steps = time.perf_counter() - self._begin, self._epoch["steps"]
        self._profiler.stop()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self._profiler.export_chrome_trace(str(path))
            events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
        running = [event for event in events if event.get("cat") in RUNNING[device]]
        operations: dict[str, list[float]] = defaultdict(list)
        for event in running:
            operations[event["name"]].append(event["dur"] / 1e3)
        longest = sorted(operations.items(), key=lambda item: -sum(item[1]))
        waits = [event for event in events if event.get("name") in HOST_WAITS]
        self.figures |= {
            # The profiler slows the host, so that the share is rather too low than too high.
            "busy": covered_length((one["ts"], one["ts"] + one["dur"]) for one in running)
            / (1e6 * seconds),
            "kernels": len(running) / steps,
            "host_waits": len(waits) / steps,
            "operations": [
                (name, sum(times) / steps, len(times) / steps) for name, times in longest
            ],
        }
        self._profiler = None


def attach_to_trainers(callback: Callback) -> None:
    """Let every Trainer of this process have one more callback, and none that writes checkpoints.

    piper-tts always has one, and refuses the flag that would leave it out.
    """
    original: Callable[..., Any] = Trainer.fit

    def fit(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        kept = [one for one in self.callbacks if not isinstance(one, Checkpoint)]  # type: ignore[attr-defined]
        self.callbacks = [*kept, callback]  # type: ignore[attr-defined]
        return original(self, *args, **kwargs)

    Trainer.fit = fit  # type: ignore[method-assign]


def find_spectrogram(batch: Any) -> torch.Tensor:
    """Return the tensor (B, F, T) of a batch, whatever the program calls it."""
    for value in vars(batch).values():
        is_tensor = isinstance(value, torch.Tensor) and value.dim() == 3
        if is_tensor and value.shape[1] >= FEWEST_BINS:
            return value
    raise TypeError(f"{type(batch).__name__} holds no spectrogram (B, F, T)")


def covered_length(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of (begin, end) spans: what overlaps counts once."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def name_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "CPU"


def read_peak_gigabytes() -> float:
    """Return the largest memory so far: allocated on the GPU, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    # Not ru_maxrss, in which a process begins with what its parent has.
    return read_status_gigabytes("VmHWM")


def read_status_gigabytes(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    [value] = (line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(value) * 1024 / 1e9


def prepare(spec: dict[str, Any]) -> dict[str, Any]:
    """Write the weights of a new network, or of a checkpoint, and the batches of all steps."""
    from piper.train.vits.dataset import VitsDataModule
    from piper.train.vits.lightning import VitsModel

    seed_everything(1)
    model = VitsModel(**spec["model"], p_dropout=0.0)
    if spec["checkpoint"]:
        from piper.train.checkpoints import load_checkpoint

        state = load_checkpoint(spec["checkpoint"])["state_dict"]
        names = set(model.state_dict())
        model.load_state_dict({name: value for name, value in state.items() if name in names})
    torch.save(model.state_dict(), spec["weights"])
    data = VitsDataModule(**spec["data"])
    data.prepare_data()
    data.setup("fit")
    batches = []
    while len(batches) < spec["steps"]:
        batches += [*data.train_dataloader()]
    batches = batches[: spec["steps"]]
    torch.save(batches, spec["batches"])
    plain = [{name: getattr(batch, name) for name in PEER_FIELDS.values()} for batch in batches]
    torch.save(plain, spec["plain_batches"])
    return {"frames": sum(int(batch.spectrogram_lengths.sum()) for batch in batches)}


def record(spec: dict[str, Any]) -> dict[str, Any]:
    """Train on the prepared batches; return each named loss of each step, and what was drawn."""
    noise = KeyedNoise()
    noise.install()
    logged = Logged()
    logged.install()
    from piper.train.vits.lightning import VitsModel

    model = VitsModel(**spec["model"], p_dropout=0.0)
    model.load_state_dict(torch.load(spec["weights"], weights_only=True))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # the duration predictor has one that no flag reaches
    batches = load_batches(spec)
    trainer = Trainer(
        accelerator=spec["accelerator"],
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        callbacks=[noise, logged],
    )
    trainer.fit(model, DataLoader(batches, batch_size=None))
    return {"losses": logged.steps, "draws": noise.drawn}


def load_batches(spec: dict[str, Any]) -> list[Any]:
    """Return the prepared batches as the program's own class."""
    if spec["program"] == "ours":
        return list(torch.load(spec["batches"], weights_only=False))
    from piper.train.vits.dataset import Batch

    plain = torch.load(spec["plain_batches"], weights_only=True)
    return [Batch(**{name: batch[ours] for name, ours in PEER_FIELDS.items()}) for batch in plain]


class KeyedNoise(Callback):
    """torch's random functions, made to give what follows from step, kind and shape."""

    def __init__(self) -> None:
        self.drawn: list[dict[str, int]] = []
        self._counts: Counter[str] | None = None

    def install(self) -> None:
        """Replace torch's functions for the rest of the process."""
        for kind, name in (("normal", "randn"), ("uniform", "rand")):
            original = getattr(torch, name)
            self._replace(kind, name, original)

    def _replace(self, kind: str, name: str, original: Any) -> None:
        like = getattr(torch, f"{name}_like")

        def draw(*args: Any, **options: Any) -> torch.Tensor:
            if self._counts is None:
                return original(*args, **options)
            return self._draw(kind, original, shape_of(args or (options.pop("size"),)), options)

        def draw_like(tensor: torch.Tensor, **options: Any) -> torch.Tensor:
            if self._counts is None:
                return like(tensor, **options)
            options = {"dtype": tensor.dtype, "device": tensor.device, **options}
            return self._draw(kind, original, tuple(tensor.shape), options)

        setattr(torch, name, draw)
        setattr(torch, f"{name}_like", draw_like)

    def _draw(
        self, kind: str, original: Any, shape: tuple[int, ...], options: dict[str, Any]
    ) -> torch.Tensor:
        assert self._counts is not None
        key = f"{kind} {'x'.join(map(str, shape))}"
        seed = zlib.crc32(f"{len(self.drawn)} {key} {self._counts[key]}".encode())
        self._counts[key] += 1
        generator = torch.Generator().manual_seed(seed)
        values = original(*shape, generator=generator)
        return values.to(device=options.get("device"), dtype=options.get("dtype"))

    def on_train_batch_start(self, *args: Any) -> None:
        """Begin a step's count."""
        self._counts = Counter()

    def on_train_batch_end(self, *args: Any) -> None:
        """Keep a step's count."""
        assert self._counts is not None
        self.drawn.append(dict(self._counts))
        self._counts = None


class Logged(Callback):
    """What a module logs during a step, by name; nothing is passed on."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def install(self) -> None:
        """Take over the logging of every module of the process."""

        def log(module: LightningModule, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
            self.steps[-1][name] = float(torch.as_tensor(value).detach())

        def log_dict(
            module: LightningModule, values: dict[str, Any], *args: Any, **kwargs: Any
        ) -> None:
            for name, value in values.items():
                log(module, name, value)

        LightningModule.log = log  # type: ignore[method-assign, assignment]
        LightningModule.log_dict = log_dict  # type: ignore[method-assign, assignment]

    def on_train_batch_start(self, *args: Any) -> None:
        """Begin a step's losses."""
        self.steps.append({})


def shape_of(args: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the shape that torch.randn was asked for: numbers, or one sequence of them."""
    sizes = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
    return tuple(int(size) for size in sizes)


def main() -> int:
    spec = json.loads(sys.argv[1])
    stand_in_for_alignment()
    task = {"speed": speed, "prepare": prepare, "record": record}[spec["task"]]
    Path(spec["result"]).write_text(json.dumps(task(spec)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
