"""Finds voices on disk, by path or by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from piper.errors import VoiceNotFoundError

CATALOGUE_URL = "https://huggingface.co/rhasspy/piper-voices/resolve/main/voices.json"
"""Where Piper publishes its voices; the files lie beside it."""
MODEL_SUFFIX = ".onnx"
CONFIG_SUFFIX = ".json"

_WHERE_TO_GET = (
    "download one with `python -m piper.download_voices NAME`, "
    "or export one of your own with `python -m piper.train.export_onnx`"
)


@dataclass(frozen=True)
class VoiceFiles:
    """The two files of a voice."""

    model: Path
    config: Path


def find_voice(
    model: Path | str,
    *,
    data_dirs: Sequence[Path | str] = (),
    config_path: Path | str | None = None,
) -> VoiceFiles:
    """Find the files of a voice.

    Args:
        model: The ONNX file's path, or a voice's name such as `ru_RU-irina-medium`.
        data_dirs: Folders where `NAME.onnx` is looked for; none means the current one.
        config_path: The JSON; None means the file beside the ONNX, `<model>.json`.
    """
    if Path(model).suffix == CONFIG_SUFFIX:
        raise VoiceNotFoundError(
            f"{model} is a voice's JSON; give its ONNX file ({Path(model).stem})."
        )
    model_path = _find_model(Path(model), [Path(folder) for folder in data_dirs] or [Path()])
    if config_path is not None:
        config = Path(config_path)
        if not config.is_file():
            raise VoiceNotFoundError(
                f"{config} does not exist; give the voice's JSON with --config, or leave it out "
                f"to take {model_path.name}{CONFIG_SUFFIX} beside the voice."
            )
        return VoiceFiles(model_path, config)
    config = model_path.with_name(model_path.name + CONFIG_SUFFIX)
    if not config.is_file():
        raise VoiceNotFoundError(
            f"{model_path} has no {config.name} beside it; put the voice's JSON there, "
            "or give it with --config."
        )
    return VoiceFiles(model_path, config)


def list_voices(data_dirs: Sequence[Path | str] = ()) -> dict[str, VoiceFiles]:
    """Return the voices that lie in folders, by name; the first folder that has a name wins.

    Args:
        data_dirs: The folders; none means the current one. One that is not there has no voices.
    """
    found: dict[str, VoiceFiles] = {}
    for folder in [Path(folder) for folder in data_dirs] or [Path()]:
        for model in sorted(folder.glob(f"*{MODEL_SUFFIX}")):
            config = model.with_name(model.name + CONFIG_SUFFIX)
            if model.is_file() and config.is_file():
                found.setdefault(model.stem, VoiceFiles(model, config))
    return found


def _find_model(model: Path, folders: Sequence[Path]) -> Path:
    if model.is_file():
        return model
    name = model.name if model.suffix == MODEL_SUFFIX else model.name + MODEL_SUFFIX
    # A name is looked up; a path with folders in it means just that file.
    if model.parent == Path():
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        places = ", ".join(str(folder) for folder in folders)
        where = f"There is no {name} in {'the current folder' if places == '.' else places}"
    elif model.is_dir():
        where = f"{model} is a folder, but a voice is a file that ends in {MODEL_SUFFIX}"
    else:
        where = f"{model} does not exist"
    raise VoiceNotFoundError(f"{where}; check the path, {_WHERE_TO_GET}.")
