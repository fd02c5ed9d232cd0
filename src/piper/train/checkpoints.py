"""Checkpoints and voices of any age as weights, with a report of what fitted.

Nothing that a file pickles is executed: only plain data, tensors and `pathlib` paths come out;
any other class becomes an inert stand-in, which is then left out. What a file holds is checked
here, so that all else may rely on it: checksums, weights that are tensors, numbers that make sense.
"""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, NoReturn

import torch
from torch import Tensor

from piper.errors import CheckpointError, ConfigError, TrainingError, describe_briefly, name_some
from piper.files import hold_for_process, remove_leftovers
from piper.train import storage
from piper.train.presets import (
    QUICK,
    TRAINING_KEYS,
    NetworkShape,
    create_network_config,
    find_quality,
    network_keys,
)
from piper.train.quick.config import QuickConfig
from piper.train.storage import join_address, plain_address
from piper.train.vits.config import NetworkConfig

_LOGGER = logging.getLogger(__name__)

_LIMITS = {"sample_rate": 2**20, "segment_size": 2**22, "filter_length": 2**14}
_LIMITS |= {"hop_length": 2**14, "win_length": 2**14}
_OTHER_LIMIT = 4096
"""Largest whole numbers that a checkpoint's hyper-parameters may say, far beyond any voice: a
network of what a damaged or hostile file says must not take all memory."""

NETWORK_PREFIXES = ("model_g.", "model_d.", "model_mrd.")
VOICE_CONFIG_KEY = "voice_config"
"""Where a checkpoint of ours carries the voice's JSON."""

AVERAGES_KEY = "averages"
"""Where a checkpoint of ours carries the moving averages of the generator's weights."""


SETTINGS_KEY = "training_settings"
"""Where a checkpoint of ours carries what Piper's hyper-parameters have no names for."""

LATER_KEYS = frozenset({"p_dropout", "segment_size", "mel_fmin", "mel_fmax"})
"""Hyper-parameters of the network that no weight depends on: a resumed training may change them."""


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


def _stand_in(name: str) -> tuple[Any, str]:
    """Give a class that a checkpoint names a harmless one under the same name."""
    module, _, class_name = name.rpartition(".")
    if module not in ("pathlib", "pathlib._local"):
        return Inert, name
    return (_windows_path if "Windows" in class_name else _posix_path), name


def _without_inert(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_inert(v) for k, v in value.items() if not isinstance(v, Inert)}
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_without_inert(v) for v in value if not isinstance(v, Inert))
    return value


def load_checkpoint(path: Path | str, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without executing what it pickles.

    Raises:
        CheckpointError: The file is missing, damaged, or not a checkpoint.
        OSError: A storage cannot be asked.
    """
    if not storage.is_file(path := storage.plain_address(path)):
        raise CheckpointError(
            f"The checkpoint {path} does not exist; "
            '`find lightning_logs -name "*.ckpt"` lists those there are.'
        )
    with storage.local_file(path) as file:
        if broken := _find_broken_part(file):
            raise CheckpointError(f"{path} is damaged ({broken}); {_TAKE_ANOTHER}.")
        try:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(str(file))
            with torch.serialization.safe_globals([_stand_in(name) for name in names]):
                data = torch.load(file, map_location=map_location, weights_only=True)
        except Exception as error:  # whatever a file can make an unpickler do
            reason = describe_briefly(error, 120)
            raise CheckpointError(
                f"{path} is damaged or not a checkpoint ({reason}); {_TAKE_ANOTHER}."
            ) from None
    if not isinstance(data, dict) or not isinstance(data.get("state_dict"), dict):
        raise CheckpointError(f"{path} holds no state_dict, so it is not a checkpoint of a voice.")
    return _check_content(data, path)


def load_checkpoint_to_resume(path: Path | str, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint whose training is to go on: `load_checkpoint`, and the rest is checked."""
    return check_to_resume(load_checkpoint(path, map_location), path)


def check_to_resume(data: dict[str, Any], path: Path | str) -> dict[str, Any]:
    """Check what `load_checkpoint` read of a checkpoint whose training is to go on.

    Optimizers and schedules that are not as torch writes them are left out, with a warning.
    """
    checks = (("optimizer_states", _is_optimizer_state), ("lr_schedulers", _is_schedule_state))
    for key, is_sound in checks:
        states = data.get(key)
        if not isinstance(states, list) or not all(map(is_sound, states)):
            if states is not None:
                _LOGGER.warning("%s: its %s make no sense, so they start anew.", path, key)
            data[key] = []
    wrong = next((key for key in ("epoch", "global_step") if not _is_count(data.get(key, 0))), None)
    if wrong := wrong or _find_wrong_progress(data.get("loops"), "loops"):
        raise CheckpointError(
            f"{path} cannot be gone on from: its {wrong} is no count. Take another one, or begin a "
            f"new training from its weights with --model.warmstart={path}."
        )
    return data


_TAKE_ANOTHER = "take another one, such as last.ckpt beside it"


def _find_broken_part(path: Path) -> str | None:
    """Compare all checksums: torch.load looks at none of them, nor at what it does not read."""
    try:
        # No archive: a file of torch before 1.6, or none at all; reading it will tell.
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            # torch can be told to write none.
            has_sums = any(entry.CRC for entry in archive.infolist())
            name = archive.testzip() if has_sums else None
    except Exception as error:  # zlib's, zipfile's, struct's: whatever a file can make them raise
        return describe_briefly(error)
    return f"the checksum of {name} differs" if name else None


def _check_content(data: dict[str, Any], path: str) -> dict[str, Any]:
    """Return a checkpoint whose weights, hyper-parameters and own keys are what they should be."""
    weights = {name: value for name, value in data["state_dict"].items() if isinstance(name, str)}
    for name, value in weights.items():
        if name.startswith(NETWORK_PREFIXES) and not _is_plain_tensor(value):
            raise CheckpointError(
                f"{path}: its state_dict[{name!r:.80}] is not a plain tensor of numbers; "
                f"{_TAKE_ANOTHER}."
            )
    data["state_dict"] = {n: value for n, value in weights.items() if _is_plain_tensor(value)}
    given = data.get("hyper_parameters")
    try:
        hyper_parameters = _without_inert(dict(given)) if isinstance(given, dict) else {}
    except RecursionError:
        raise CheckpointError(f"{path}: its hyper_parameters are nested too deep.") from None
    is_quick = hyper_parameters.get("quality") == QUICK
    usual = QuickConfig if is_quick else NetworkConfig
    if is_quick:  # earlier versions had one, and did not say so
        hyper_parameters.setdefault("filters_per_frame", 1)
    for key in network_keys(QUICK if is_quick else None) & set(hyper_parameters):
        if not _is_hyper_parameter(key, hyper_parameters[key], getattr(usual, key)):
            raise CheckpointError(
                f"{path}: its hyper_parameters say {key} = {_show_briefly(hyper_parameters[key])}, "
                f"which no network has; {_TAKE_ANOTHER}."
            )
    data["hyper_parameters"] = {
        key: value
        for key, value in hyper_parameters.items()
        if key not in TRAINING_KEYS or _is_setting(key, value)
    }
    settings = data.get(SETTINGS_KEY)
    if settings is not None:
        pairs = settings.items() if isinstance(settings, dict) else ()
        data[SETTINGS_KEY] = {key: value for key, value in pairs if _is_setting(key, value)}
    is_carried = {
        AVERAGES_KEY: _is_averages,
        VOICE_CONFIG_KEY: lambda value: isinstance(value, dict),
    }
    for key, is_sound in is_carried.items():
        if data.get(key) is not None and not is_sound(data[key]):
            _LOGGER.warning("%s: its %s make no sense, so they are left out.", path, key)
            del data[key]
    return data


def _is_plain_tensor(value: Any) -> bool:
    """Return whether something is numbers in memory: no view that is larger than what it holds."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
        return False
    if value.device.type == "meta" or value.is_complex():
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0 <= value < 2**53 and math.isfinite(value)


def _is_share(value: Any) -> bool:
    return _is_number(value) and value < 1


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_share, value))


_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "gradient_clip_algorithm": lambda value: value in ("norm", "value"),
    "use_mrd": lambda value: isinstance(value, bool),
    "new_speakers_only": lambda value: isinstance(value, bool),
    "warmup_updates": _is_count,
    "hold_decoder": _is_count,
    "hold_voice": _is_count,
    "betas": _is_pair,
    "betas_d": _is_pair,
    "ema_decay": _is_share,
}
"""What settings of a training have to be; the others are numbers."""


def _is_setting(key: Any, value: Any) -> bool:
    """Return whether a setting of the training can be meant; None says that it is not known."""
    if not isinstance(key, str) or value is None:
        return False
    return _SETTINGS.get(key, _is_number)(value)


def _is_hyper_parameter(key: str, value: Any, usual: Any) -> bool:
    """Return whether a hyper-parameter of the network has the kind and size of the usual one."""
    if value is None:
        return True
    if key == "resblock":
        return str(value) in ("1", "2")
    if isinstance(usual, tuple):
        return _is_short_list(value, depth=1 + isinstance(usual[0], tuple))
    if isinstance(usual, int) and not isinstance(usual, bool):
        return _is_count(value) and value <= _LIMITS.get(key, _OTHER_LIMIT)
    return isinstance(value, bool) if isinstance(usual, bool) else _is_number(value)


def _is_short_list(value: Any, depth: int) -> bool:
    if depth == 0:
        return _is_count(value) and value <= 256
    is_short = isinstance(value, list | tuple) and len(value) <= 16
    return is_short and all(_is_short_list(item, depth - 1) for item in value)


def _is_averages(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("weights"), dict):
        return False
    return (
        all(isinstance(name, str) for name in value["weights"])
        and all(map(_is_plain_tensor, value["weights"].values()))
        and _is_count(value.get("updates"))
        and _is_share(value.get("decay", 0.0))
    )


def _is_optimizer_state(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("state"), dict):
        return False
    groups = value.get("param_groups")
    if not isinstance(groups, list) or not groups or not isinstance(groups[0], dict):
        return False
    numbers = (groups[0].get(key, 0.0) for key in ("lr", "initial_lr", "eps", "weight_decay"))
    return all(map(_is_number, numbers)) and _is_pair(groups[0].get("betas", (0.0, 0.0)))


def _is_schedule_state(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    lists = [value.get(key, []) for key in ("base_lrs", "_last_lr")]
    return (
        all(isinstance(rates, list) and all(map(_is_number, rates)) for rates in lists)
        and _is_number(value.get("gamma", 1.0))
        and all(_is_count(value.get(key, 0)) for key in ("last_epoch", "_step_count"))
        # All of it becomes attributes, private ones and those of other versions of torch, too.
        and all(isinstance(item, int | float | str | list | None) for item in value.values())
    )


def _find_wrong_progress(value: Any, place: str) -> str | None:
    """Return where the progress of Lightning's loops is no count; None where all are."""
    if not isinstance(value, dict):
        return None
    counts = ("ready", "started", "processed", "completed", "_batches_that_stepped")
    for key, item in value.items():
        where = f"{place}.{key!s:.40}"
        if where.count(".") > 20 or (key in counts and not _is_count(item)):
            return where
        if wrong := _find_wrong_progress(item, where):
            return wrong
    return None


def _show_briefly(value: Any) -> str:
    return f"{value!r:.60}" if isinstance(value, int | float | str) else f"a {type(value).__name__}"


def network_config_from_checkpoint(
    checkpoint: Mapping[str, Any], path: Path | str = "The checkpoint"
) -> NetworkShape:
    """Return the network's hyper-parameters that a checkpoint was trained with.

    Unknown keys of other trainers are left out; counts and widths are taken from the weights
    themselves, which cannot be wrong about them.
    """
    saved = checkpoint.get("hyper_parameters") or {}
    quality = QUICK if saved.get("quality") == QUICK else None
    keys = network_keys(quality)
    values = {key: _as_tuple(value) for key, value in saved.items() if key in keys}
    if quality is None:
        values |= _read_sizes(checkpoint["state_dict"])
    if values.get("resblock") is not None:
        values["resblock"] = str(values["resblock"])
    try:
        return create_network_config(quality, **values)
    except ConfigError as error:
        raise ConfigError(f"{path}: its hyper_parameters fit no network: {error}") from None


def _read_sizes(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the hyper-parameters that the weights' shapes show."""
    found: dict[str, int] = {}
    for name, dimensions, keys in (
        ("enc_p.emb.weight", 2, ("num_symbols", "hidden_channels")),
        ("emb_g.weight", 2, ("num_speakers", "gin_channels")),
        ("enc_p.encoder.ffn_layers.0.conv_1.weight", 3, ("filter_channels", "", "kernel_size")),
        ("dec.conv_pre.weight", 3, ("upsample_initial_channel", "inter_channels", "")),
    ):
        shape = weights[f"model_g.{name}"].shape if f"model_g.{name}" in weights else ()
        if len(shape) == dimensions:
            found |= {key: size for key, size in zip(keys, shape, strict=True) if key}
    prefix = "model_g.enc_p.encoder.attn_layers."
    layers = {n.removeprefix(prefix).split(".")[0] for n in weights if n.startswith(prefix)}
    return found | ({"n_layers": len(layers)} if layers else {})


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def find_differences(old: NetworkShape, new: NetworkShape) -> list[tuple[str, Any, Any]]:
    """Return name, old and new value of the hyper-parameters that differ in the network."""
    if isinstance(old, NetworkConfig) and isinstance(new, NetworkConfig):
        # A 0 means the usual width of the speaker table, which a checkpoint says in full.
        old, new = (replace(config, gin_channels=config.speaker_channels) for config in (old, new))
    elif type(old) is not type(new):
        return [("quality", find_quality(old) or "another", find_quality(new) or "another")]
    return [
        (item.name, getattr(old, item.name), getattr(new, item.name))
        for item in fields(old)
        if item.name not in LATER_KEYS and getattr(old, item.name) != getattr(new, item.name)
    ]


def raise_other_network(path: Path | str, differences: Sequence[tuple[str, Any, Any]]) -> NoReturn:
    """Say in a short table how a checkpoint's network differs from the present one."""
    rows = [("hyper-parameter", "checkpoint", "now"), *differences]
    table = "\n".join(f"  {name:<28}{old!s:<34}{new!s}" for name, old, new in rows)
    raise CheckpointError(
        f"{path} was trained with another network:\n{table}\n"
        "Resume with the checkpoint's values (quality in config.json, --model.quality), or "
        "start a new training from its weights with --model.warmstart."
    )


@dataclass
class FitReport:
    """What became of a file's weights."""

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
                parts.append(f"{len(names)} {what} ({name_some(groups, 6)})")
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


def read_training_settings(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a checkpoint was trained, by the names of the flags, as far as it says so.

    What its optimizers and schedules do counts for more than its hyper-parameters, which may say
    what was asked for in vain.
    """
    hyper_parameters = checkpoint["hyper_parameters"]
    found = {key: hyper_parameters.get(key) for key in TRAINING_KEYS}
    found |= checkpoint.get(SETTINGS_KEY) or {}
    if hyper_parameters.get("quality") == QUICK:  # whose rates are set anew at each update
        return {key: value for key, value in found.items() if value is not None}
    found["use_mrd"] = any(name.startswith("model_mrd.") for name in checkpoint["state_dict"])
    if averages := checkpoint.get(AVERAGES_KEY):
        found["ema_decay"] = averages.get("decay")
    for index, ending in enumerate(("", "_d")):
        group, schedule = group_and_schedule(checkpoint, index)
        rate = _first(schedule.get("base_lrs")) or group.get("initial_lr")
        doing = {f"learning_rate{ending}": rate or group.get("lr")}
        doing |= {f"lr_decay{ending}": schedule.get("gamma"), f"betas{ending}": group.get("betas")}
        if not ending:
            doing["eps"] = group.get("eps")
        found |= {key: value for key, value in doing.items() if value is not None}
    return {key: value for key, value in found.items() if value is not None}


def find_present_rates(checkpoint: Mapping[str, Any]) -> dict[str, float]:
    """Return the learning rates that a checkpoint's training had come to, by the flags' names."""
    rates: dict[str, float] = {}
    if checkpoint["hyper_parameters"].get("quality") != QUICK:
        for index, ending in enumerate(("", "_d")):
            group, schedule = group_and_schedule(checkpoint, index)
            rate = group.get("lr") or _first(schedule.get("_last_lr"))
            if rate is not None:
                rates[f"learning_rate{ending}"] = rate
    return rates


def _first(values: Any) -> Any:
    return values[0] if values else None


def group_and_schedule(
    checkpoint: Mapping[str, Any], index: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an optimizer's settings and its schedule's state; empty where there are none."""
    states = checkpoint.get("optimizer_states") or []
    schedules = checkpoint.get("lr_schedulers") or []
    group = states[index]["param_groups"][0] if index < len(states) else {}
    return group, schedules[index] if index < len(schedules) else {}


def describe_changes(
    saved: Mapping[str, Any], now: Mapping[str, Any], present: Mapping[str, float]
) -> list[str]:
    """Return a sentence for each setting, by its flag's name, that is another one from here on."""
    return [
        _describe_change(key, saved[key], value, present.get(key))
        for key, value in now.items()
        if key in saved and not is_same_setting(saved[key], value)
    ]


def is_same_setting(one: Any, other: Any) -> bool:
    """Return whether two values of a flag mean the same; lists and tuples do, and 45 and 45.0."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return list(one) == list(other)
    return bool((one or None) == (other or None))


def _describe_change(key: str, saved: Any, now: Any, present: float | None) -> str:
    group = "trainer" if key.startswith("gradient_clip") else "model"
    decayed = f", {present:.4g} by now" if present is not None and present != saved else ""
    return (
        f"--{group}.{key} is {_show_setting(now)} from here on; the checkpoint was trained with "
        f"{_show_setting(saved)}{decayed}."
    )


def _show_setting(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_show_setting, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def fits_parameter(state: Any, parameter: Tensor) -> bool:
    """Return whether something is AdamW's state of a parameter."""
    if not isinstance(state, dict):
        return False
    step = state.get("step")
    if not _is_count(step) and not (_is_plain_tensor(step) and torch.as_tensor(step).numel() == 1):
        return False
    means: list[Any] = [state.get(key) for key in ("exp_avg", "exp_avg_sq")]
    return all(_is_plain_tensor(mean) and mean.shape == parameter.shape for mean in means)


LAST_NAME = "last.ckpt"
LOG_FOLDER = "lightning_logs"
CHECKPOINT_FOLDER = "checkpoints"
LOCK_NAME = ".lock"

FULL_IS_BETTER_SECONDS = 1800.0
"""A last.ckpt that is older by so much is still preferred: the other files lack the optimizers'
running means, which take longer to come back than the three saves that half an hour holds."""

_VERSION = re.compile(r"version_\d+")


def find_asked(asked: str, root: str | None) -> str | None:
    """Return the checkpoint that `--ckpt_path` means in a training's folder; None for none yet."""
    return find_last_checkpoint(root) if asked == "last" else find_checkpoint(asked)


def find_last_checkpoint(root: str | None) -> str | None:
    """Return the newest whole checkpoint of the trainings in a folder, the current one by default.

    A damaged file is named and passed over. None where there is none yet, so that one command
    both begins a training and goes on with it.
    """
    found = _find_newest(root or ".")
    if found is None:
        _LOGGER.warning("--ckpt_path=last: there is no checkpoint yet, so training begins anew.")
    else:
        _LOGGER.info("--ckpt_path=last: going on from %s", found)
    return found


def _find_newest(root: str) -> str | None:
    """Return the newest whole checkpoint in a folder of a training, a run or checkpoints."""
    found: dict[str, float] = {}
    for folder in (*find_checkpoint_folders(root), root):
        for file in storage.list_folder(folder):
            if file.name.endswith(".ckpt") and not file.is_folder and not file.name.startswith("."):
                bonus = FULL_IS_BETTER_SECONDS if file.name == LAST_NAME else 0.0
                found[join_address(folder, file.name)] = file.modified + bonus
    for address in sorted(found, key=lambda address: found[address], reverse=True):
        try:
            load_checkpoint(address)
        except CheckpointError as error:
            _LOGGER.warning("Passed over: %s", error)
        else:
            return address
    if found:
        raise CheckpointError(
            f"None of the {len(found)} checkpoints under {root} is whole; name another one, or "
            "begin anew without."
        )
    return None


def find_checkpoint(address: Path | str) -> str:
    """Return the checkpoint that a flag means: a file, or the newest whole one of a run's folder.

    Args:
        address: A file; the folder of a training, of one of its runs, or of checkpoints; or `last`,
            which is the newest below the working folder.

    Raises:
        CheckpointError: The folder has none, or none that is whole.
        OSError: The storage cannot be asked.
    """
    address = storage.plain_address(address)
    is_last = address == "last" and not Path(address).exists()
    if not is_last and (storage.is_file(address) or not storage.list_folder(address)):
        return address  # who reads it says where it is not there
    folder = "." if is_last else address
    if (found := _find_newest(folder)) is None:
        raise CheckpointError(
            f"There is no checkpoint in {folder} and its lightning_logs; name a .ckpt file."
        )
    _LOGGER.info("The newest checkpoint of %s is %s", folder, found)
    return found


def version_of_checkpoint(address: str | None) -> int | None:
    """Return the number of the log folder that a checkpoint lies in; None where there is none."""
    found = re.search(rf"{LOG_FOLDER}/version_(\d+)/{CHECKPOINT_FOLDER}/[^/]+$", address or "")
    return int(found[1]) if found else None


def hold_run(folder: Path | str) -> BinaryIO | None:
    """Keep other trainings out of a run's folder until the file is closed or this process ends.

    None where there are no locks: in a cloud's storage, on Windows, on some network disks.

    Raises:
        TrainingError: Another training writes there.
        OSError: The folder cannot be written.
    """
    if storage.is_remote(folder):
        return None
    path = Path(folder) / LOCK_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+b", buffering=0)
    try:
        is_held = hold_for_process(file)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read(200).decode("utf-8", "replace").strip()
        file.close()
        raise TrainingError(
            f"Another training ({holder or 'a process that is not known'}) writes into {folder}: "
            "let it go on alone or end it first, or give this one another "
            "--trainer.default_root_dir."
        ) from None
    if not is_held:
        file.close()
        return None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return file


def find_checkpoint_folders(root: Path | str) -> list[str]:
    """Return the folders that trainings under a root keep their checkpoints in."""
    versions = [
        join_address(logs, entry.name, CHECKPOINT_FOLDER)
        for logs in (join_address(root, LOG_FOLDER), plain_address(root))
        for entry in storage.list_folder(logs)
        if entry.is_folder and _VERSION.fullmatch(entry.name)
    ]
    return [*versions, join_address(root, CHECKPOINT_FOLDER)]


def remove_stale_parts(root: Path | str) -> None:
    """Remove what killed trainings left half-written; each is as large as a checkpoint."""
    if not storage.is_remote(root):  # where an upload that ends early leaves no object
        for folder in find_checkpoint_folders(root):
            remove_leftovers(Path(folder))
