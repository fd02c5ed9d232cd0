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


def translate_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line of the trainer with the names of today.

    Args:
        arguments: As a shell gives them, without the program's name.
    """
    result: list[str] = []
    pending = iter(arguments)
    for argument in pending:
        flag, has_value, value = argument.partition("=")
        if flag in (*_CONFIG_FLAGS, "--model"):
            if has_value:
                result.append(f"{flag}={_translate_source(flag, value)}")
            else:
                result += [flag, *(_translate_source(flag, value) for value in islice(pending, 1))]
        elif flag == f"--model.{SCORE}":
            value = value if has_value else next(pending, "")
            result.append(f"--{OUR_SCORE}={translate_score(value)}")
        else:
            group, _, key = flag.partition(".")
            if group == "--model" and key in MODEL_ALIASES:
                argument = argument.replace(key, MODEL_ALIASES[key], 1)
            result.append(argument)
    return result


def translate_score(value: Any) -> str:
    """Return `auto` for the name of a speech quality score, `off` for none."""
    return "off" if str(value).lower() in ("", "none", "null", "false", "off") else "auto"


def translate_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a `config.yaml` with the names of today."""
    result = {
        key: translate_config(value) if key in _VERBS and isinstance(value, dict) else value
        for key, value in config.items()
    }
    model = result.get("model")
    if isinstance(model, dict):
        if SCORE in model:
            result.setdefault(OUR_SCORE, translate_score(model[SCORE]))
        result["model"] = translate_model(model)
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
