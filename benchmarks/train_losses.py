"""The losses of a few steps from given weights, batches and noise, of either program.

The tasks of one process; see `train_process.py`. The network is imported by the path that both
programs have. `prepare` runs once, in ours, and writes what both sides then start from: weights,
and batches as plain tensors. `record` trains on them and tells the losses as they were logged.
Random numbers follow from step, kind, shape and how often these were drawn before, so two programs
that draw the same draw equal numbers, in whatever order.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader

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
            setattr(torch, name, self._replace(kind, original, lambda args: shape_of(args)))
            like = getattr(torch, f"{name}_like")
            self._replace_like(kind, name, like, original)

    def _replace_like(self, kind: str, name: str, like: Any, original: Any) -> None:
        def draw(tensor: torch.Tensor, **options: Any) -> torch.Tensor:
            if self._counts is None:
                return like(tensor, **options)
            options = {"dtype": tensor.dtype, "device": tensor.device, **options}
            return self._draw(kind, original, tuple(tensor.shape), options)

        setattr(torch, f"{name}_like", draw)

    def _replace(self, kind: str, original: Any, find_shape: Callable[[Any], Any]) -> Any:
        def draw(*args: Any, **options: Any) -> torch.Tensor:
            if self._counts is None:
                return original(*args, **options)
            return self._draw(kind, original, find_shape(args or (options.pop("size"),)), options)

        return draw

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
