"""Names that flags once had, or have in Piper's trainer, as our own: the border for both.

Rewrites arguments and the YAML that `--config` and `--model` name before a parser sees them; what
is not an old name stays as it is. Knows neither parser nor network.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader

from piper.errors import ConfigError

MODEL_ALIASES = {
    "preset": "quality",
    "warmstart_ckpt": "warmstart",
    "vocoder_warmstart_ckpt": "vocoder_warmstart",
}
"""Old to new name of `--model.…`."""

SCORE = "mos_metric"
"""Piper's `--model.…` for the speech quality score at validations: a name, or null for none."""

OUR_SCORE = "validation_quality"
_CONFIG_FLAGS = ("--config", "-c")
_VERBS = ("fit", "validate")

MOVED = {
    ("model", "grad_clip"): ("trainer", "gradient_clip_val"),
    ("model", "batch_size"): ("data", "batch_size"),
}
"""Flags of Piper's trainer that belong to another part here; null means that they are not given."""

_ANY = object()
ABSENT: dict[tuple[str, str], tuple[object, str]] = {
    ("model", "n_layers_q"): (_ANY, ""),  # no network of Piper's has read it
    ("model", "use_spectral_norm"): (
        False,
        "the discriminators are weight-normalised, as those of all published checkpoints",
    ),
    ("model", "init_lr_ratio"): (1, "--model.warmup_updates=N lets the rates grow from 0"),
    ("model", "warmup_epochs"): (0, "--model.warmup_updates=N counts updates, not epochs"),
    ("model", "dataset"): (None, "--data.dataset_dir or --data.csv_path names the dataset"),
    ("data", "alignments_dir"): (None, "the alignment is learnt with the voice"),
    ("data", "vowel_clusters"): (
        None,
        'the dataset\'s config.json lists them, as in "vowel_clusters": ["aɪ", "eɪ"]',
    ),
    # Checkpoints are always read so that nothing in them can run.
    ("", "weights_only"): (_ANY, ""),
    ("", "optimizer"): (
        None,
        "it is AdamW for both networks; --model.learning_rate, learning_rate_d, betas, betas_d and "
        "eps set it",
    ),
    ("", "lr_scheduler"): (
        None,
        "both rates decay by the epoch; --model.lr_decay and --model.lr_decay_d say how fast",
    ),
}
"""Flags of Piper's trainer, by part and name, that are not here: the value that asks for what is
done anyway, and what to do instead of any other."""


def translate_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line of the trainer with the names of today.

    Args:
        arguments: As a shell gives them, without the program's name.

    Raises:
        ConfigError: It asks for what Piper's trainer can and this one cannot; it says what to do.
    """
    result: list[str] = []
    if len(arguments) > 1 and "-" not in (arguments[0][:1], arguments[1][:1]):
        # The other verbs take the folder so: `fit DIR`.
        arguments = [arguments[0], f"--data.dataset_dir={arguments[1]}", *arguments[2:]]
    pending = iter(arguments)
    for argument in pending:
        flag, has_value, value = argument.partition("=")
        group, _, key = flag.removeprefix("--").rpartition(".")
        if flag in (*_CONFIG_FLAGS, "--model"):
            if has_value:
                result.append(f"{flag}={_translate_source(flag, value)}")
            else:
                result += [flag, *(_translate_source(flag, value) for value in islice(pending, 1))]
        elif flag == "--debug":
            pass  # the command has looked for it
        elif flag.startswith("--") and (own := _find_absent(group, key)):
            _check_absent(own, value if has_value else next(pending, ""), flag)
        elif flag == f"--model.{SCORE}":
            value = value if has_value else next(pending, "")
            result.append(f"--{OUR_SCORE}={translate_score(value)}")
        elif flag.startswith("--") and (group, key) in MOVED:
            value = value if has_value else next(pending, "")
            if _parse_value(value) is not None:
                result.append(f"--{'.'.join(MOVED[group, key])}={value}")
        else:
            if group == "model" and key in MODEL_ALIASES and flag.startswith("--"):
                argument = argument.replace(key, MODEL_ALIASES[key], 1)
            result.append(argument)
    return result


def _find_absent(group: str, key: str) -> tuple[str, str] | None:
    """Return the entry that a flag belongs to; `--optimizer.lr` is the optimizer's."""
    place = (group, key) if (group, key) in ABSENT else ("", group.partition(".")[0])
    return place if place in ABSENT else None


def _check_absent(place: tuple[str, str], value: object, name: str) -> None:
    """Raise where a value asks for something that is not done here."""
    harmless, answer = ABSENT[place]
    value = _parse_value(value) if isinstance(value, str) else value
    if harmless is not _ANY and value is not None and value != harmless:
        raise ConfigError(f"{name} is not known here: {answer}. Leave {name} out.")


def _parse_value(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def translate_score(value: Any) -> str:
    """Return `auto` for the name of a speech quality score, `off` for none."""
    return "off" if str(value).lower() in ("", "none", "null", "false", "off") else "auto"


def translate_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a `config.yaml` with the names of today.

    Raises:
        ConfigError: It asks for what Piper's trainer can and this one cannot; it says what to do.
    """
    result = {
        key: translate_config(value) if key in _VERBS and isinstance(value, dict) else value
        for key, value in config.items()
    }
    model = result.get("model")
    if isinstance(model, dict):
        if SCORE in model:
            result.setdefault(OUR_SCORE, translate_score(model[SCORE]))
        result["model"] = translate_model(model)
    for (part, name), (new_part, new_name) in MOVED.items():
        old = result.get(part)
        if isinstance(old, dict) and name in old:
            value = old[name]
            result[part] = {key: other for key, other in old.items() if key != name}
            if value is not None:
                result[new_part] = {new_name: value, **(result.get(new_part) or {})}
    for part, name in ABSENT:
        old = result if not part else result.get(part)
        if isinstance(old, dict) and name in old:
            _check_absent((part, name), old[name], f"{part}.{name}".lstrip("."))
            old = {key: other for key, other in old.items() if key != name}
            result = {**result, part: old} if part else old
    return result


def translate_model(model: dict[str, Any]) -> dict[str, Any]:
    """Return the `model` part of a `config.yaml` with the names of today."""
    return {MODEL_ALIASES.get(key, key): value for key, value in model.items() if key != SCORE}


def _translate_source(flag: str, source: str) -> str:
    """Return a file's name as it is, or its content where that holds an old name."""
    try:
        is_file = Path(source).is_file()
        text = Path(source).read_text(encoding="utf-8") if is_file else source
        # the parser's own loader: plain YAML takes 1e-9 for a word
        content = get_loader("yaml")(text)
    except (OSError, ValueError, yaml.YAMLError):
        return source  # the parser says what is wrong with it
    if not isinstance(content, dict):
        return source
    translate = translate_model if flag == "--model" else translate_config
    translated = translate(content)
    return source if translated == content else yaml.safe_dump(translated, sort_keys=False)
