"""`python -m piper.train publish VOICE`: a voice to the Hugging Face Hub, with card and samples.

A repository gets the voice's ONNX and JSON, `tokens.txt` for sherpa-onnx, some sentences as MP3,
and README.md: the MODEL_CARD.md of an evaluation, or one made of what the voice says of itself.
The Hub reads licence, language, scores (`model-index`) and samples (`widget`) from its first lines.
"""

from __future__ import annotations

import argparse
import logging
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from piper.errors import ConfigError, PiperError, describe_briefly, needs_extra
from piper.files import load_json_object, place_folder, read_bounded, temporary_folder
from piper.messages import configure_logging
from piper.options import CommandParser
from piper.train.command import run_command
from piper.voices import VoiceFiles, find_voice, hub_errors

_LOGGER = logging.getLogger(__name__)
MAX_SAMPLES = 3
CARD, REPORT = "MODEL_CARD.md", "report.json"
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def create_parser() -> argparse.ArgumentParser:
    """Return the flags."""
    parser = CommandParser(
        prog="python -m piper.train publish",
        description="Publish a voice on the Hugging Face Hub; `piper -m hf://USER/NAME` speaks "
        "with it. HF_TOKEN or `hf auth login` says who publishes, HF_ENDPOINT where.",
    )
    add = parser.add_argument
    add("voice", metavar="VOICE", help="the ONNX file; its JSON lies beside it")
    add("--repo", required=True, metavar="USER/NAME", help="repository; made where it is missing")
    add(
        "--license",
        metavar="L",
        help="such as cc-by-4.0 or cc0-1.0; what the recordings' licence allows. Needed where the "
        "evaluation's card names none",
    )
    add(
        "--evaluation",
        type=Path,
        metavar="DIR",
        help="what `evaluate` wrote: its card, scores and sentences go with the voice",
    )
    add(
        "--text",
        action="append",
        default=[],
        help="a sentence to publish as a sample; repeatable; default: the evaluation's first "
        f"{MAX_SAMPLES}",
    )
    add("--private", action="store_true", help="let only you see a new repository")
    add(
        "--dry-run",
        "--dry_run",
        type=Path,
        metavar="DIR",
        help="write what would be published into a new folder, and upload nothing",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = create_parser().parse_args(argv)
    configure_logging(logging.INFO)
    return run_command(lambda: _run(args), "Stopped; the same command goes on.")


def _run(args: argparse.Namespace) -> int:
    args.text = [text for text in args.text if text.strip()]
    if not _NAME.fullmatch(args.repo):
        raise ConfigError(f"--repo={args.repo} is no repository; write USER/NAME.")
    voice = find_voice(args.voice)
    if args.dry_run is not None:
        if args.dry_run.exists():
            raise ConfigError(f"{args.dry_run} is there already; name a new folder.")
        with temporary_folder(args.dry_run) as folder:
            _write_repository(voice, args, folder)
            place_folder(folder, args.dry_run)
        print(args.dry_run)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_repository(voice, args, folder)
        print(_upload(folder, args.repo, is_private=args.private))
    _LOGGER.info("Speak with it: python -m piper -m hf://%s", args.repo)
    return 0


def _write_repository(voice: VoiceFiles, args: argparse.Namespace, folder: Path) -> None:
    """Write all files of the repository into an empty folder."""
    from piper.config import load_voice_config
    from piper.voice.sherpa import tokens_text

    config = load_voice_config(voice.config)
    card, texts = _find_card(voice, args)
    samples = {f"samples/{number}.mp3": text for number, text in enumerate(texts, start=1)}
    card = _complete_card(card, args, samples)
    (folder / "README.md").write_bytes(card.encode("utf-8", "replace"))
    shutil.copy(voice.model, folder)
    shutil.copy(voice.config, folder / f"{voice.model.name}.json")
    (folder / "tokens.txt").write_text(tokens_text(config), encoding="utf-8")
    _write_samples(voice, samples, folder)


def _find_card(voice: VoiceFiles, args: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the model card, and the texts of the samples."""
    if args.evaluation is None:
        return _draw_card(voice), args.text
    path = args.evaluation / CARD
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist; name the --output-dir of `python -m piper.train evaluate`."
        )
    card = read_bounded(path, "model card").decode("utf-8", "replace")
    if args.text:
        return card, args.text
    path = args.evaluation / REPORT
    try:
        sentences = load_json_object(path)["systems"][0]["sentences"][:MAX_SAMPLES]
        texts = [sentence["text"] for sentence in sentences]
    except (LookupError, TypeError):
        texts = [None]
    if not all(isinstance(text, str) for text in texts):
        raise ConfigError(
            f"{path} is no report of an evaluation; give the report.json that it wrote."
        )
    return card, texts


def _draw_card(voice: VoiceFiles) -> str:
    """Return the card of a voice that was not evaluated: what it says of itself."""
    from piper.train.evaluate.card import CardFacts, draw_model_card
    from piper.train.evaluate.results import Evaluation, System
    from piper.train.evaluate.systems import describe_voice

    details = describe_voice(voice.model)
    system = System(voice.model.stem, voice.model, (), {}, details)
    about = CardFacts(
        voice.model.stem,
        language=re.split("[_-]", details.get("language", ""))[0],
        quality=details.get("quality", ""),
    )
    nothing = Evaluation(Path(), None, (system,), (), (), (), {})
    return draw_model_card(nothing, system, about)


def _complete_card(card: str, args: argparse.Namespace, samples: dict[str, str]) -> str:
    """Return a card with licence and samples in its first lines, and the command that speaks."""
    import yaml

    from piper.train.evaluate.card import draw_code, name_license

    match = _FRONT.match(card)
    try:
        front = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        front = None
    if match is None or not isinstance(front, dict):
        raise ConfigError(
            f"{CARD} does not begin with lines of YAML between two ---; evaluate anew."
        )
    if args.license:
        front |= name_license(args.license)
    if not front.get("license"):
        raise ConfigError(
            "Nothing says what others may do with the voice; name its licence with --license, "
            "such as cc-by-4.0 (the licence of the recordings decides what you may choose)."
        )
    if samples:
        front["widget"] = [
            {"text": text, "output": {"url": name}} for name, text in samples.items()
        ]
    said = yaml.safe_dump(front, allow_unicode=True, sort_keys=False)
    text = next(iter(samples.values()), "Hello.")
    speak = ["python", "-m", "piper", "-m", f"hf://{args.repo}", "-f", "speech.wav", "--", text]
    code = draw_code(f"pip install 'piper-workshop[hub]'\n{shlex.join(speak)}", "bash")
    return f"---\n{said}---\n{card[match.end() :].rstrip()}\n\n## From the Hub\n\n{code}"


def _write_samples(voice: VoiceFiles, samples: dict[str, str], folder: Path) -> None:
    """Speak texts into the files that are named for them."""
    if not samples:
        _LOGGER.warning("No sample is published; give sentences with --text or --evaluation.")
        return
    from piper.audio.output import AudioWriter
    from piper.voice.voice import PiperVoice

    speaker = PiperVoice.load(voice.model, voice.config)
    for name, text in samples.items():
        with AudioWriter(folder / name, speaker.config.sample_rate) as writer:
            for chunk in speaker.synthesize(text):
                writer.write(chunk.audio_float_array)


def _upload(folder: Path, repo: str, *, is_private: bool) -> str:
    """Upload a folder in one commit; return the repository's address."""
    with needs_extra("hub"):
        from huggingface_hub import HfApi
    api = HfApi()
    try:
        address = api.create_repo(repo, private=is_private or None, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Publish the voice")
    except hub_errors() as error:
        raise PiperError(
            f"{repo} cannot be published ({describe_briefly(error, 200)}); check the name, the "
            "network, and HF_TOKEN (or run `hf auth login`): the token must be allowed to write."
        ) from None
    return str(address)


if __name__ == "__main__":
    sys.exit(main())
