"""A few real updates of both networks on made-up batches.

`python -m piper.train.cost.measure REQUEST` prints the device, then a line for each update, as
JSON: whoever ends it early has what was measured until then. It runs in a process of its own so
that the memory it takes can be told, and so that who asks needs no torch.

On a CPU two and four utterances are enough, since time and memory grow in proportion (of a quick
voice four and eight: its threads share them out); a GPU is fast with a whole batch only, so it gets
that, and half of it.
"""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict

import torch

from piper.train.cost.request import CostRequest, MeasuredStep
from piper.train.data.batches import Batch, UtteranceItem, collate
from piper.train.presets import QUICK, NetworkShape, create_network_config
from piper.train.quick.schedule import RAMP_UPDATES, plan_update
from piper.train.steps import gan
from piper.train.steps.batch_size import PeakMemory
from piper.train.steps.gan import GanStep
from piper.train.steps.update import OptimizerSettings, WeightAverages, create_optimizer
from piper.train.vits.config import NetworkConfig
from piper.train.vits.discriminators import Discriminator
from piper.train.vits.synthesizer import Synthesizer

SECONDS = 12.0
"""Of the updates: one that would end later is not begun, but for the first three. Loading torch and
building the networks takes some 4 s more."""
PATIENCE = 5
"""How many times longer all of them may take for the third one: without it nothing is known of the
memory, and on a processor that others use each takes half a minute."""
UTTERANCES_ON_CPU = 4
QUICK_UTTERANCES_ON_CPU = 8
FRAMES_SHARE = 0.5
"""Of an update's time, what grows with the length of the utterances; the rest is for segments of a
fixed length (medium on one core, 2 utterances of 100 and of 800 frames: 5.4 and 8.0 s)."""
AVERAGES_DECAY = 0.999


class CostMeter(ABC):
    """A training without data: networks, optimizers, averages, as a new training has them.

    Args:
        request: What is trained.
        device: Where.
    """

    def __init__(self, request: CostRequest, device: torch.device) -> None:
        self._request = request
        self._device = device

    @property
    @abstractmethod
    def network(self) -> NetworkShape:
        """What is trained."""

    @abstractmethod
    def update(self, batch: Batch) -> float:
        """Take one update; return the factor that makes its time that of a usual one."""

    def measure(self, utterances: int, frames: int) -> MeasuredStep:
        """Take one update.

        Raises:
            torch.OutOfMemoryError: The GPU has too little memory.
        """
        batch = self._create_batch(utterances, frames)
        begin, processor_begin = time.perf_counter(), time.process_time()
        with PeakMemory() as peak:
            factor = self.update(batch)
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
        on_gpu = self._device.type == "cuda"
        return MeasuredStep(
            utterances,
            frames,
            factor * (time.perf_counter() - begin),
            factor * (time.process_time() - processor_begin),
            torch.cuda.max_memory_allocated(self._device) if on_gpu else peak.bytes,
        )

    def _create_batch(self, utterances: int, frames: int) -> Batch:
        """Return noise: how long an update takes does not depend on what is said."""
        network = self.network
        num_ids = min(frames, max(5, round(self._request.ids_per_frame * frames)))
        durations = torch.full((num_ids,), frames // num_ids)
        durations[-1] += frames - durations.sum()
        items = [
            UtteranceItem(
                torch.randint(1, network.num_symbols, (num_ids,)),
                torch.rand(network.filter_length // 2 + 1, frames),
                0.1 * torch.randn(frames * network.hop_length),
                number % network.num_speakers,
                durations=durations,
                f0=torch.full((frames,), 120.0),
            )
            for number in range(utterances)
        ]
        return collate(
            items,
            segment_frames=network.segment_size // network.hop_length,
            hop_length=network.hop_length,
            has_speakers=network.num_speakers > 1,
        )


class VitsMeter(CostMeter):
    """Of a VITS voice."""

    def __init__(self, request: CostRequest, device: torch.device) -> None:
        super().__init__(request, device)
        network = create_network_config(
            request.quality,
            sample_rate=request.sample_rate,
            num_symbols=request.num_symbols,
            num_speakers=request.num_speakers,
        )
        assert isinstance(network, NetworkConfig)
        self._network = network
        generator = Synthesizer(network).to(device)
        judge = Discriminator(network.discriminator_channels).to(device)
        self._gan = GanStep(generator, [*judge.discriminators], network, gan.USUAL_WEIGHTS)
        self._averages = WeightAverages(generator, AVERAGES_DECAY)
        self._optimizers = [
            create_optimizer(network.parameters(), OptimizerSettings())[0]
            for network in (generator, judge)
        ]

    @property
    def network(self) -> NetworkConfig:
        """What is trained."""
        return self._network

    def update(self, batch: Batch) -> float:
        """Take one update of all networks."""
        self._gan.backward(batch.to(self._device))
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self._averages.update()
        return 1.0


class QuickMeter(CostMeter):
    """Of a quick voice, whose later updates have discriminators and shorter pieces."""

    def __init__(self, request: CostRequest, device: torch.device) -> None:
        # Brings Lightning, which the other family's need not wait for.
        from piper.train.quick_module import QuickModel

        super().__init__(request, device)
        self._model = QuickModel(
            sample_rate=request.sample_rate,
            num_symbols=request.num_symbols,
            num_speakers=request.num_speakers,
        ).to(device)
        self._optimizers = self._model.configure_optimizers()[0]
        self._model.step.to(device)
        self._threads = 1
        if device.type == "cpu":
            self._threads = torch.get_num_threads()
            torch.set_num_threads(1)  # as in a training

    @property
    def network(self) -> NetworkShape:
        """What is trained."""
        return self._model.network_config

    def update(self, batch: Batch) -> float:
        """Take an update of each kind: a training has about as many of one as of the other."""
        plans = (plan_update(0.0, 0, None), plan_update(1.0, 1 + RAMP_UPDATES, 1))
        for plan in plans:
            self._model.compute_gradients(batch, plan, self._threads)
            for optimizer in self._optimizers:
                optimizer.step()
                optimizer.zero_grad()
        return 1 / len(plans)


def measure_steps(
    request: CostRequest, device: torch.device, seconds: float = SECONDS
) -> Iterator[MeasuredStep]:
    """Take updates until it is enough, or time is up.

    Args:
        request: What is trained.
        device: Where.
        seconds: For all of them.
    """
    is_quick = request.quality == QUICK
    meter = (QuickMeter if is_quick else VitsMeter)(request, device)
    begin_seconds = time.monotonic()
    ends = (begin_seconds + PATIENCE * seconds, begin_seconds + seconds)
    most = request.batch_size
    if device.type == "cpu":
        most = min(most, QUICK_UTTERANCES_ON_CPU if is_quick else UTTERANCES_ON_CPU)
    while True:
        try:
            yield from _measure_batches(meter, request, most, ends)
            return
        except torch.OutOfMemoryError:
            if most < 2:
                raise
            most //= 2
        # Out of the except block: the error held on to all intermediate results.
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _measure_batches(
    meter: CostMeter, request: CostRequest, most: int, ends: tuple[float, float]
) -> Iterator[MeasuredStep]:
    few, typical, longest = max(1, most // 2), request.mean_frames, request.longest_frames
    plan = [(few, typical), (few, typical), (most, typical), (most, longest)]
    steps: list[MeasuredStep] = []
    for utterances, frames in plan:
        if len(steps) >= 2:
            last = steps[-1]
            growth = utterances / last.utterances
            growth *= 1 + FRAMES_SHARE * (frames / last.frames - 1)
            if time.monotonic() + growth * last.seconds > ends[len(steps) - 2]:
                return
        steps.append(meter.measure(utterances, frames))
        yield steps[-1]


def main() -> int:
    """Measure what the first argument asks for."""
    request = CostRequest.from_json(sys.argv[1])
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = device.type == "cuda"
    head = {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "threads": torch.get_num_threads(),
        "total_bytes": torch.cuda.get_device_properties(device).total_memory if on_gpu else 0,
    }
    print(json.dumps(head), flush=True)
    for step in measure_steps(request, device):
        print(json.dumps(asdict(step)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
