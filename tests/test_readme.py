"""The documents' examples are run or parsed, and what they name exists.

A comment before a bash block says how it is checked: `<!-- test: run -->` runs it in a folder with
voice.onnx, recordings/, text.txt, tools/ and a checkpoint; `<!-- test: flags -->`, or no comment,
gives each of its commands to the real parser. A document's Python blocks are run in order. Blocks
after `<!-- test: server -->` and `<!-- test: key -->` belong to tests/server/test_http_document.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polib
import pytest

from documents import (
    DOCUMENTS,
    ROOT,
    Block,
    all_parsers,
    check_command,
    known_flags,
    launcher_flags,
    read_blocks,
    read_prose,
    split_commands,
    verb_parsers,
)
from piper import download_voices, http_server, options, wyoming_server
from piper.train import cli, export_onnx, presets

TINY = [f"--model.{name}=16" for name in ("hidden_channels", "inter_channels", "filter_channels")]
TINY += ["--model.n_layers=1", "--model.upsample_initial_channel=32", "--model.quality=tiny"]
TINY += ["--model.discriminator_channels=16", "--data.num_workers=0", "--trainer.accelerator=cpu"]
# Words that the field has others for, and phrases that readers did not understand.
RULED_OUT = {
    r"judg\w*": "metric, predictor, discriminator",
    r"(?<!mean )opinions?": "mean opinion score, preference",
    r"(?:is|was|were|are|been) heard|heard (?:otherwise|beside)|hears?": "recognise, process",
    r"learnt|lessons?": "trained on, seen",
    r"mend(?:ed|s|ing)?": "correct, fix",
    r"findings?|doubt\w*|troubles?|defects?": "issue",
    r"clean graphs?|kept graphs?|graphs? kept": "optimised model, cached",
    r"averages? of (?:the )?weights|moving averages?|averaged weights": "EMA",
    r"verbs?|rivals?|narrator|desk|streets?|houses?": "subcommand, conflict, package",
    r"rooms?": "silence, space",
    r"rhythm noise|random rhythm|open ends": "duration noise, dropped final punctuation",
    r"(?:with|in|by) (?:a|one|the same) sentence(?= says|[.,:;])": "error message",
    r"the data (?:decide|set the end)|epochs compare|beyond the scatter|lets what": "plain words",
    r"the end of the training for it|with a better end|went the other way": "plain words",
    r"without loss": "exactly, bit for bit",
    r"суд(?:ь[яиёею]\w*|ей)": "метрика",
    r"чист(?:ый|ого|ому|ым|ом) граф\w*": "оптимизированная модель",
    r"файл на память|кэш\w*": "чекпоинт, кеш",
    r"вокализаци[ия]|серединн\w*|кодировщик\w* записей": "вокализованность, медиана, апостериорный",
}
ONLY_PROSE = "hear|rooms|troubles|sentence"
"""In messages a person hears, a disk has room, `trouble` is a flag's value."""
BLOCKS = [block for path in DOCUMENTS for block in read_blocks(path)]
RUN = [block for block in BLOCKS if block.language == "bash" and block.mode == "run"]
PARSED = [block for block in BLOCKS if block.language == "bash" and block.mode == "flags"]
PYTHON = [block for block in BLOCKS if block.language == "python" and block.mode == "flags"]


@pytest.fixture(scope="module")
def workspace(
    tiny_voice: Path, speech_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with what the examples name, a checkpoint of one update included."""
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(tiny_voice, folder / "voice.onnx")
    shutil.copy(f"{tiny_voice}.json", folder / "voice.onnx.json")
    shutil.copytree(speech_dataset, folder / "recordings")
    (folder / "text.txt").write_text("One line.\nAnother line.\n", encoding="utf-8")
    (folder / "tools").symlink_to(ROOT / "tools")
    (folder / "start_training.py").symlink_to(ROOT / "start_training.py")
    flags = [f"--data.dataset_dir={folder / 'recordings'}", f"--trainer.default_root_dir={folder}"]
    flags += ["--data.batch_size=4", "--trainer.max_steps=1", "--trainer.log_every_n_steps=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["piper.train"])
        assert cli.main(["fit", *TINY, *flags, "--data.num_test_examples=1"]) == 0
    return folder


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_command_line_runs(block: Block, workspace: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=workspace,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [*PARSED, *RUN], ids=str)
def test_a_command_line_is_understood(block: Block) -> None:
    for words in split_commands(block.text):
        check_command(words)


@pytest.mark.parametrize(
    "command",
    [
        "python -m piper -m voice.onnx --outputfile a.wav",
        "python -m piper.train fit --data.batchsize=3",
        "python -m piper.train fit --data.batch_size=many",
        "python -m piper.train.export_onnx --checkpoint a.ckpt",
        "python tools/runpod/start_training.py --batch-size 0",
        "python start_training.py --dataset d -- --trainer.max_epocs=3",
        "python tools/datasets/make_test_dataset.py --sentence 3",
        "python tools/nowhere.py",
        "BATCH=80 bash tools/runpod/train_local.sh",
        "make demon",
        "make demo DEMO_ARGS='--minute 3'",
        "pip install '.[trian]'",
        "ls | nonsense",
    ],
)
def test_a_wrong_example_would_be_found(command: str) -> None:
    with pytest.raises((AssertionError, SystemExit)):
        for words in split_commands(command):
            check_command(words)


@pytest.mark.parametrize(
    "path",
    sorted({block.path for block in PYTHON}),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_python_examples_run(path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in PYTHON:
        if block.path == path:
            # Blank lines before it, so that a traceback names the document's own line.
            exec(compile("\n" * (block.line - 1) + block.text, str(path), "exec"), namespace)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_the_prose_names_exists(path: Path) -> None:
    prose = read_prose(path)
    flags = known_flags()
    if path.stem.lower() == "migrating":
        # The first column of its tables has the flags of other programs.
        prose = re.sub(r"(?m)^\|[^|]*\|", "|", prose)
    for code in re.findall(r"`([^`\n]+)`", prose):
        for flag in re.findall(r"(?<!\S)--[a-z][\w.-]*(?![\w.*…-])", code):
            assert flag in flags, f"{flag} in `{code}`"
        if re.fullmatch(r"(tools|docs|src|tests|benchmarks)/[\w./-]+", code):
            assert (ROOT / code).exists() or (ROOT / f"{code}.py").exists(), code
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.+)$", read_prose(file))
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, target


def find_ruled_out(prose: str, ruled_out: Mapping[str, str] = RULED_OUT) -> list[str]:
    """Return what the glossary has other words for; code and comments are not looked at."""
    prose = re.sub(r"(?s)<!--.*?-->|`[^`]*`|\]\([^)]*\)", " ", prose)
    return [
        f"{found[0]!r}: {instead}"
        for words, instead in ruled_out.items()
        for found in re.finditer(rf"(?i)\b(?:{words})\b", re.sub(r"\s+", " ", prose))
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_prose_uses_the_words_of_the_field(path: Path) -> None:
    assert not find_ruled_out(read_prose(path))


IN_MESSAGES = {words: RULED_OUT[words] for words in RULED_OUT if not re.search(ONLY_PROSE, words)}


def test_messages_and_help_use_the_words_of_the_field() -> None:
    catalogue = polib.pofile(str(ROOT / "src/piper/locale/ru/piper.po"))
    shown = [text for entry in catalogue for text in (entry.msgid, entry.msgid_plural)]
    shown += [text for entry in catalogue for text in (entry.msgstr, *entry.msgstr_plural.values())]
    for parser in all_parsers():
        shown += [parser.description or "", *(str(one.help or "") for one in parser._actions)]
    found = {text: words for text in shown if (words := find_ruled_out(text or "", IN_MESSAGES))}
    assert found == {}


def test_a_word_that_is_ruled_out_would_be_found() -> None:
    assert find_ruled_out(
        "A recogniser\nthat learnt\non it. The judges hear it, a mean opinion score."
    )
    assert len(find_ruled_out("Его слушают судьи: для него строится чистый\nграф.")) == 2
    assert not find_ruled_out(
        "`make judges` predicts a mean opinion score, [here](QUALITY.md#judges)."
    )


def test_every_option_is_documented() -> None:
    command_lines = (ROOT / "docs/CLI.md").read_text(encoding="utf-8")
    parsers = [options.create_parser(), launcher_flags.create_parser()]
    parsers += [download_voices.create_parser(), export_onnx.create_parser()]
    parsers += [http_server.create_parser(), wyoming_server.create_parser()]
    parsers += verb_parsers().values()
    for parser in parsers:
        for action in parser._actions:
            names = [name for name in action.option_strings if name.startswith("--")]
            if names and names != ["--help"]:
                assert any(f"`{name}`" in command_lines for name in names), names
    training = "".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8")
        for name in ("TRAINING.md", "DATASETS.md")
    )
    ours = {f"--model.{key}" for key in presets.TRAINING_KEYS}
    ours |= {flag for flag in known_flags() if re.match(r"--(data\.\w|model\..*warmstart)", flag)}
    assert ours - {"--data.help"} == {flag for flag in ours if f"`{flag}" in training}


def test_every_logged_tag_is_documented(workspace: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(workspace / "lightning_logs/version_0"))
    log.Reload()
    tags = {tag for kind in ("scalars", "images", "audio") for tag in log.Tags()[kind]}
    text = (ROOT / "docs/TRAINING.md").read_text(encoding="utf-8")
    for tag in tags - {"epoch", "hp_metric"}:
        assert f"`{re.sub('_[0-9]+/', '_N/', tag)}`" in text, tag
