"""Checkpoints and voices of any age as weights, with a report of what fitted.

Nothing that a file pickles is executed: only plain data, tensors and `pathlib` paths come out;
any other class becomes an inert stand-in, which is then left out.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Protocol

import torch
from torch import Tensor

from piper.errors import CheckpointError
from piper.train import storage
from piper.train.presets import NETWORK_KEYS, create_network_config
from piper.train.vits.config import NetworkConfig

_LOGGER = logging.getLogger(__name__)

NETWORK_PREFIXES = ("model_g.", "model_d.", "model_mrd.")
OPTIMIZER_PREFIXES = (("model_g.",), ("model_d.", "model_mrd."))
"""The networks of each optimizer in a checkpoint, in the order that it counts their parameters."""

VOICE_CONFIG_KEY = "voice_config"
"""Where a checkpoint of ours carries the voice's JSON."""

AVERAGES_KEY = "averages"
"""Where a checkpoint of ours carries the moving averages of the generator's weights."""


class Inert:
    """Stands for an object of a class that is not let out of a checkpoint."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Take any arguments and keep none."""
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Keep no state."""


def _posix_path(*parts: str) -> PurePosixPath:
    return PurePosixPath(*parts)


def _windows_path(*parts: str) -> PureWindowsPath:
    return PureWindowsPath(*parts)


def _allowed_globals(names: Sequence[str]) -> list[Callable[..., Any] | tuple[Any, str]]:
    """Give each class that a checkpoint names a harmless stand-in under the same name."""
    allowed: list[Callable[..., Any] | tuple[Any, str]] = []
    for name in names:
        module, _, class_name = name.rpartition(".")
        stand_in: Any = Inert
        if module in ("pathlib", "pathlib._local"):
            stand_in = _windows_path if "Windows" in class_name else _posix_path
        allowed.append((stand_in, name))
    return allowed


def _without_inert(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_inert(v) for k, v in value.items() if not isinstance(v, Inert)}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_without_inert(v) for v in value if not isinstance(v, Inert))
    return value


def load_checkpoint(path: Path | str, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without executing what it pickles.

    Args:
        path: The file, here or at an address such as s3://bucket/last.ckpt.
        map_location: Where its tensors go, as for `torch.load`.

    Raises:
        CheckpointError: The file is missing, damaged, or not a checkpoint.
    """
    if not storage.is_file(path := storage.plain_address(path)):
        raise CheckpointError(
            f"The checkpoint {path} does not exist; "
            '`find lightning_logs -name "*.ckpt"` lists those there are.'
        )
    with storage.local_file(path) as file:
        try:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
            with torch.serialization.safe_globals(_allowed_globals(names)):
                data = torch.load(file, map_location=map_location, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
            raise CheckpointError(
                f"{path} is damaged or not a checkpoint ({reason}); take another one, "
                "such as last.ckpt beside it."
            ) from None
    if not isinstance(data, dict) or "state_dict" not in data:
        raise CheckpointError(f"{path} holds no state_dict, so it is not a checkpoint of a voice.")
    hyper_parameters = data.get("hyper_parameters")
    data["hyper_parameters"] = _without_inert(dict(hyper_parameters or {}))
    return data


def network_config_from_checkpoint(checkpoint: Mapping[str, Any]) -> NetworkConfig:
    """Return the network's hyper-parameters that a checkpoint was trained with.

    Unknown keys of other trainers are left out; the counts of symbols and speakers are taken
    from the weights themselves, which cannot be wrong about them.

    Raises:
        ConfigError: The hyper-parameters do not fit each other.
    """
    saved = checkpoint.get("hyper_parameters") or {}
    values = {key: _as_tuple(value) for key, value in saved.items() if key in NETWORK_KEYS}
    weights = checkpoint["state_dict"]
    if "model_g.enc_p.emb.weight" in weights:
        values["num_symbols"] = weights["model_g.enc_p.emb.weight"].shape[0]
    speakers = weights.get("model_g.emb_g.weight")
    if speakers is not None:
        values["num_speakers"], values["gin_channels"] = speakers.shape
    if "resblock" in values:
        values["resblock"] = str(values["resblock"])
    return create_network_config(None, **values)


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def find_differences(old: NetworkConfig, new: NetworkConfig) -> list[tuple[str, Any, Any]]:
    """Return name, old and new value of the hyper-parameters that differ in the network."""
    ignored = {"p_dropout", "segment_size", "mel_fmin", "mel_fmax"}
    return [
        (item.name, getattr(old, item.name), getattr(new, item.name))
        for item in fields(NetworkConfig)
        if item.name not in ignored and getattr(old, item.name) != getattr(new, item.name)
    ]


def difference_table(differences: Sequence[tuple[str, Any, Any]]) -> str:
    """Return a table of hyper-parameters, one a line: name, checkpoint's value, present value."""
    rows = [("hyper-parameter", "checkpoint", "now"), *differences]
    return "\n".join(f"  {name:<28}{old!s:<34}{new!s}" for name, old, new in rows)


@dataclass
class FitReport:
    """What became of a file's weights.

    Attributes:
        loaded: Names whose weights were taken over.
        missing: Names of the network that the file lacks.
        unknown: Names of the file that the network lacks.
        other_shape: Names whose shapes differ.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in a line, parts of the network instead of hundreds of names."""
        parts = [f"{len(self.loaded)} tensors taken over"]
        for what, names in (
            ("missing in the file, so started anew", self.missing),
            ("unknown here, so left out", self.unknown),
            ("of another shape, so started anew", self.other_shape),
        ):
            if names:
                groups = sorted({".".join(name.split(".")[:2]) for name in names})
                shown = ", ".join(groups[:6]) + (", …" if len(groups) > 6 else "")
                parts.append(f"{len(names)} {what} ({shown})")
        return "; ".join(parts) + "."


def fit_weights(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], FitReport]:
    """Take from a file's weights what fits a network; the rest keeps the network's own values."""
    report = FitReport(unknown=[name for name in weights if name not in own])
    fitted: dict[str, Tensor] = {}
    for name, tensor in own.items():
        source = weights.get(name)
        fitted[name] = tensor
        if source is None:
            report.missing.append(name)
        elif source.shape != tensor.shape:
            report.other_shape.append(name)
        else:
            fitted[name] = source
            report.loaded.append(name)
    return fitted, report


class _Trainable(Protocol):
    """What a checkpoint is fitted to: a Lightning module with a network's configuration."""

    network_config: NetworkConfig

    def state_dict(self) -> dict[str, Tensor]: ...

    def named_parameters(self) -> Any: ...

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]: ...


def adapt_checkpoint(checkpoint: dict[str, Any], model: _Trainable) -> None:
    """Change a loaded checkpoint so that Lightning can resume a network of ours from it.

    Args:
        checkpoint: As `load_checkpoint` gives it; changed in place.
        model: The module that will be resumed.

    Raises:
        CheckpointError: The checkpoint is of another quality; the text is a short table.
    """
    own = model.state_dict()
    weights = checkpoint["state_dict"]
    fitted, report = fit_weights(weights, own)
    if report.other_shape or any(name.startswith("model_g.") for name in report.missing):
        raise_other_network(checkpoint, model.network_config, report)
    if report.missing or report.unknown:
        has_mrd = any(name.startswith("model_mrd.") for name in report.unknown)
        hint = " --model.use_mrd=true would go on with model_mrd." if has_mrd else ""
        _LOGGER.warning("Checkpoint: %s%s", report, hint)
    optimizers, schedules = model.configure_optimizers()
    fresh = [optimizer.state_dict() for optimizer in optimizers]
    if not checkpoint.get("optimizer_states"):
        _LOGGER.warning("Checkpoint: it holds no optimizer states, so they start anew.")
    checkpoint["optimizer_states"] = _remap_optimizer_states(
        checkpoint.get("optimizer_states") or [], fresh, list(weights), model
    )
    saved_schedules = checkpoint.get("lr_schedulers") or []
    for state, schedule in zip(checkpoint["optimizer_states"], saved_schedules, strict=False):
        if not state["state"] and schedule.get("_last_lr"):  # slim: the rate goes on all the same
            state["param_groups"][0]["lr"] = schedule["_last_lr"][0]
    checkpoint["lr_schedulers"] = saved_schedules + [
        schedule.state_dict() for schedule in schedules[len(saved_schedules) :]
    ]
    checkpoint["state_dict"] = fitted


def raise_other_network(
    checkpoint: Mapping[str, Any], config: NetworkConfig, report: FitReport
) -> None:
    """Say in a short table how a checkpoint's network differs from the present one.

    Raises:
        CheckpointError: Always.
    """
    differences = find_differences(network_config_from_checkpoint(checkpoint), config)
    if differences:
        raise CheckpointError(
            "The checkpoint was trained with another network:\n"
            f"{difference_table(differences)}\n"
            "Resume with the checkpoint's values (leave out --model.quality and the like), or "
            "start a new training from its weights with --model.warmstart."
        )
    raise CheckpointError(
        f"The checkpoint does not fit this network: {report} "
        "Start a new training from what fits with --model.warmstart."
    )


def _remap_optimizer_states(
    states: Sequence[dict[str, Any]],
    fresh: Sequence[dict[str, Any]],
    saved_names: Sequence[str],
    model: _Trainable,
) -> list[dict[str, Any]]:
    """Give each parameter its own running means back, by name.

    An optimizer stores them by position. The file's positions follow the order of its
    state_dict, which another trainer may have built in another order than ours.
    """
    own_names = [name for name, _ in model.named_parameters()]
    remapped = []
    for index, prefixes in enumerate(OPTIMIZER_PREFIXES):
        own = [n for prefix in prefixes for n in own_names if n.startswith(prefix)]
        saved = [n for prefix in prefixes for n in saved_names if n.startswith(prefix)]
        # Without saved weights of this network its optimizer starts anew as well.
        state = states[index] if saved and index < len(states) else fresh[index]
        by_name = {
            name: state["state"][position]
            for position, name in enumerate(saved)
            if position in state["state"]
        }
        # How the step is computed is ours to say, whatever the file's trainer did.
        kernel = {key: fresh[index]["param_groups"][0][key] for key in ("fused", "foreach")}
        group = {**state["param_groups"][0], **kernel, "params": list(range(len(own)))}
        moved = {i: by_name[name] for i, name in enumerate(own) if name in by_name}
        remapped.append({"state": moved, "param_groups": [group]})
    return remapped
