"""Finds voices: on disk by path or by name, and on the Hugging Face Hub by address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from piper.errors import VoiceNotFoundError, describe_briefly, name_some, needs_extra

CATALOGUE_URL = "https://huggingface.co/rhasspy/piper-voices/resolve/main/voices.json"
"""Where Piper publishes its voices; the files lie beside it."""
MODEL_SUFFIX = ".onnx"
CONFIG_SUFFIX = ".json"
_HUB = re.compile(r"hf:/{1,2}([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/(.*))?")
"""A path made of the address has one slash of the two."""

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
        model: The ONNX file's path, a voice's name such as `ru_RU-irina-medium`, or an address
            of the Hugging Face Hub, see `fetch_hub_voice`.
        data_dirs: Folders where `NAME.onnx` is looked for; none means the current one.
        config_path: The JSON; None means the file beside the ONNX, `<model>.json`.
    """
    if is_hub_address(model):
        fetched = fetch_hub_voice(name_address(Path(model)))
        return find_voice(fetched.model, config_path=config_path or fetched.config)
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


def is_hub_address(model: Path | str) -> bool:
    """Return whether it is an address such as `hf://USER/NAME/voice.onnx`."""
    return str(model).replace("\\", "/").startswith("hf:/")  # Windows' paths turn slashes


def name_address(path: Path) -> str:
    """Return an address of the Hub that became a path as it was written."""
    return "hf://" + path.as_posix().removeprefix("hf:").lstrip("/")


def hub_errors() -> tuple[type[Exception], ...]:
    """Return what the Hub's library raises where something cannot be had or put there."""
    from huggingface_hub.errors import HfHubHTTPError

    # A connection's errors come as its HTTP client has them.
    return (OSError, ValueError, *HfHubHTTPError.__bases__)


def fetch_hub_voice(address: str) -> VoiceFiles:
    """Fetch a voice from the Hugging Face Hub into its cache; what is there is not fetched again.

    `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE` mean what they always do, and without
    a network the cache answers.

    Args:
        address: `hf://USER/NAME/FILE.onnx`, or `hf://USER/NAME` of a repository that holds one
            voice; `@REVISION` can follow the name.

    Raises:
        VoiceNotFoundError: There is no such voice, or it cannot be had.
        PiperError: The package huggingface_hub is missing.
    """
    match = _HUB.fullmatch(address)
    file = (match[3] or "") if match else ""
    if match is None or (file and not file.endswith(MODEL_SUFFIX)) or ".." in file.split("/"):
        raise VoiceNotFoundError(
            f"{address} is no address of a voice; write hf://USER/NAME/VOICE{MODEL_SUFFIX}, or "
            "hf://USER/NAME where the repository holds one voice."
        )
    with needs_extra("hub"):
        from huggingface_hub import snapshot_download

    def fetch(*patterns: str) -> Path:
        try:
            return Path(
                snapshot_download(match[1], revision=match[2], allow_patterns=list(patterns))
            )
        except hub_errors() as error:
            raise VoiceNotFoundError(
                f"{address} cannot be had ({describe_briefly(error, 200)}); check the address, "
                "the network, and HF_TOKEN where the repository is private."
            ) from None

    if not file:
        ending = MODEL_SUFFIX + CONFIG_SUFFIX
        folder = fetch(f"*{ending}")
        found = [path.relative_to(folder).as_posix() for path in folder.rglob(f"*{ending}")]
        names = sorted(name.removesuffix(CONFIG_SUFFIX) for name in found)
        if len(names) != 1:
            many = f"several voices ({name_some(names)})" if names else "no voice"
            raise VoiceNotFoundError(
                f"{address} holds {many}; name one: {address}/VOICE{MODEL_SUFFIX}."
            )
        file = names[0]
    model = fetch(file, file + CONFIG_SUFFIX) / file
    if not model.is_file():
        raise VoiceNotFoundError(f"{address} has no {file}; check the address.")
    return VoiceFiles(model, model.with_name(model.name + CONFIG_SUFFIX))


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
