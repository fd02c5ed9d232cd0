"""`python -m piper.train export VOICE --for sherpa|sonata|web`: a voice as other programs want it.

ONNX and JSON get Piper's kind of name, LANGUAGE-NAME-QUALITY (KEY below):

- sherpa: `vits-piper-KEY/`, the folder that sherpa-onnx has for each voice, with espeak-ng's data.
- sonata: `KEY.tar.gz`, which NVDA's add-on Sonata installs.
- web: `KEY-web/`, in the layout of Piper's published voices, with a page that speaks in a browser.

Needs no torch, unless it is given a checkpoint.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from piper.config import PhonemeType, VoiceConfig, load_voice_config
from piper.download import find_md5
from piper.errors import ConfigError, ExportError
from piper.files import place_folder, replace_on_success, temporary_folder, write_json
from piper.languages import describe_language
from piper.messages import say
from piper.options import CommandParser
from piper.text.phonemizers import find_espeak_data
from piper.train.command import run_command
from piper.voice.graph_writer import import_onnx
from piper.voice.sherpa import add_sherpa_metadata, tokens_text
from piper.voice.weights import read_model
from piper.voices import VoiceFiles, find_voice

if TYPE_CHECKING:
    import onnx

_OUTPUTS = {"sherpa": "vits-piper-{}", "sonata": "{}.tar.gz", "web": "{}-web"}
PROGRAMS = {"sherpa": "sherpa-onnx", "sonata": "Sonata", "web": "a browser"}
CARD = "MODEL_CARD"
_QUALITIES = ("x_low", "low", "medium", "high")
_LANGUAGE = "[a-z]{2,3}(?:_[A-Z]{2})?"
_KEY = re.compile(rf"({_LANGUAGE})-(\w+)-({'|'.join(_QUALITIES)})", re.ASCII)
_PAGE = Path(__file__).with_name("pages") / "web_voice.html"
_PACKAGES = {"@diffusionstudio/piper-wasm": "1.0.0", "onnxruntime-web": "1.30.0"}
"""What the page speaks with; npm brings them."""


def create_parser() -> argparse.ArgumentParser:
    """Return the flags."""
    parser = CommandParser(
        prog="python -m piper.train export",
        description="Write a voice as another program wants it: sherpa-onnx, Sonata (for NVDA), or "
        "a browser.",
    )
    add = parser.add_argument
    add(
        "voice",
        metavar="VOICE",
        help="the ONNX file, whose JSON lies beside it; an address hf://USER/NAME; or a checkpoint "
        "(.ckpt)",
    )
    add("--for", dest="target", choices=[*PROGRAMS], required=True, help="the program")
    add(
        "--output-dir",
        "--output_dir",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="where the folder or the archive is written (default: the current folder)",
    )
    add(
        "--name",
        metavar="KEY",
        help="LANGUAGE-NAME-QUALITY, such as ru_RU-anna-medium, by which other programs know a "
        "voice (default: the file's name, or one made of it and the JSON)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = create_parser().parse_args(argv)
    return run_command(lambda: _run(args), "Stopped; nothing was written.")


def _run(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        model = args.voice
        if model.endswith(".ckpt"):
            from piper.train.export import export_voice

            model = Path(temporary, "voice.onnx")
            if export_voice(args.voice, model).config_path is None:
                raise ExportError(
                    f"{args.voice} carries no JSON; export it with `python -m "
                    "piper.train.export_onnx` and --config or --espeak-voice, and give its ONNX."
                )
        say(str(export_for(find_voice(model), args.target, args.output_dir, args.name)))
    return 0


def export_for(voice: VoiceFiles, target: str, folder: Path, key: str | None = None) -> Path:
    """Write a voice as another program wants it, whole or not at all.

    Args:
        voice: Its files.
        target: A key of `PROGRAMS`.
        folder: Where to.
        key: LANGUAGE-NAME-QUALITY; None makes one of the file's name and the JSON.

    Returns:
        The folder or archive.

    Raises:
        ExportError: The program could not speak with such a voice, or something is there already.
    """
    config, model = load_voice_config(voice.config), read_model(voice.model)
    if reason := _find_obstacle(config, model):
        raise ExportError(
            f"{voice.config} {reason}, so the voice would speak wrongly in {PROGRAMS[target]}; "
            "speak with `python -m piper`."
        )
    config = _make_portable(config)
    language, name, quality = parts = _choose_name(voice.model.stem, config, key)
    if target == "sonata":
        name = re.sub("[^A-Za-z]+", "_", name).strip("_") or "voice"  # all that it takes
    key = f"{language}-{name}-{quality}"
    output = folder / _OUTPUTS[target].format(key)
    if output.exists():
        raise ExportError(f"{output} is there already; remove it, or choose another --output-dir.")
    with temporary_folder(output) as part:
        place = part.joinpath(language.partition("_")[0], *parts) if target == "web" else part
        place.mkdir(parents=True, exist_ok=True)
        add_sherpa_metadata(model, config, key)
        import_onnx().save(model, place / f"{key}.onnx")
        write_json(place / f"{key}.onnx.json", config.to_dict())
        if (card := voice.model.with_name(CARD)).is_file():
            shutil.copyfile(card, place / CARD)
        if target == "sherpa":
            (part / "tokens.txt").write_bytes(tokens_text(config).encode())
            shutil.copytree(find_espeak_data(), part / "espeak-ng-data")
        elif target == "web":
            _add_page(part, key, config)
        if target == "sonata":
            with replace_on_success(output) as temporary:
                _pack(part, temporary)
        else:
            place_folder(part, output)
    return output


def _find_obstacle(config: VoiceConfig, model: onnx.ModelProto) -> str | None:
    """Say what of a voice the programs do not know; None where they can speak with it."""
    if config.phoneme_type is not PhonemeType.ESPEAK:
        return f"has phoneme_type {config.phoneme_type.value!r}, not 'espeak'"
    if config.phoneme_map:
        return "replaces phonemes (phoneme_map)"
    if config.vowel_clusters:
        return "joins vowels (vowel_clusters)"
    if missing := [symbol for symbol in "_^$" if not config.phoneme_id_map.get(symbol)]:
        return f"has no id for {' and '.join(missing)} in phoneme_id_map"
    wanted = ["input", "input_lengths", "scales", *(["sid"] if config.num_speakers > 1 else [])]
    inputs = [value.name for value in model.graph.input]
    if inputs[: len(wanted)] != wanted:
        return f"belongs to a graph with the inputs {', '.join(inputs)}, not {', '.join(wanted)}"
    return None


def _make_portable(config: VoiceConfig) -> VoiceConfig:
    """Return a voice's JSON without what makes one of the programs stop.

    Sonata reads symbols as one code point each, and a `language` only with a code. Pages of others
    send a speaker's number exactly where `speaker_id_map` holds something.
    """
    names = {number: name for name, number in config.speaker_id_map.items()}
    numbers = range(config.num_speakers) if config.num_speakers > 1 else ()
    known = isinstance(config.language.get("code"), str)
    return replace(
        config,
        language=config.language if known else describe_language(config.espeak_voice),
        speaker_id_map={names.get(number, str(number)): number for number in numbers},
        phoneme_id_map={
            symbol: ids for symbol, ids in config.phoneme_id_map.items() if len(symbol) == 1 and ids
        },
    )


def _choose_name(stem: str, config: VoiceConfig, given: str | None) -> tuple[str, str, str]:
    """Return language, name and quality, as published voices are called."""
    if match := _KEY.fullmatch(given or stem):
        return match[1], match[2], match[3]
    if given:
        raise ConfigError(
            f"--name={given} is no name as other programs want it; write LANGUAGE-NAME-QUALITY, "
            f"such as ru_RU-anna-medium, with one of the qualities {', '.join(_QUALITIES)}."
        )
    code = config.language["code"]
    if not re.fullmatch(_LANGUAGE, code):
        code = describe_language(config.espeak_voice)["code"]
    if not re.fullmatch(_LANGUAGE, code):
        raise ConfigError(
            f"The voice's JSON names no language as ru_RU is one ({code!r}); give --name "
            "LANGUAGE-NAME-QUALITY."
        )
    name = re.sub(r"\W+", "_", stem, flags=re.ASCII).strip("_") or "voice"
    return code, name, config.quality if config.quality in _QUALITIES else "medium"


def _pack(folder: Path, archive: Path) -> None:
    """Write the files of a folder into an archive, with no word of whose they are."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            member = tarfile.TarInfo(path.name)
            member.size = path.stat().st_size
            with path.open("rb") as stream:
                tar.addfile(member, stream)


def _add_page(folder: Path, key: str, config: VoiceConfig) -> None:
    """Add the catalogue, as Piper's published voices have one, and the page that speaks."""
    _, name, quality = key.split("-")
    told = {
        "key": key,
        "name": name,
        "language": config.language,
        "quality": quality,
        "num_speakers": config.num_speakers,
        "speaker_id_map": config.speaker_id_map,
        "files": {
            path.relative_to(folder).as_posix(): {
                "size_bytes": path.stat().st_size,
                "md5_digest": find_md5(path),
            }
            for path in sorted(folder.rglob("*.*"))
        },
        "aliases": [],
    }
    write_json(folder / "voices.json", {key: told})
    write_json(folder / "package.json", {"private": True, "dependencies": _PACKAGES})
    shutil.copyfile(_PAGE, folder / "index.html")


if __name__ == "__main__":
    sys.exit(main())
