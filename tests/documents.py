"""Reads the documents' examples, and checks command lines against the real parsers. For tests.

Runs no example; what a checked command line names (flags, tools, targets, packages) must exist.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "runpod"))

import start_training as launcher_flags  # noqa: E402

from piper import (  # noqa: E402
    download_voices,
    http_server,
    options,
    patch_voice_with_alignment,
    wyoming_server,
)
from piper.train import cli, export_onnx  # noqa: E402
from piper.train.command import SUBCOMMANDS  # noqa: E402
from piper.train.flags import find_family  # noqa: E402
from piper.train.presets import QUICK  # noqa: E402

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LANGUAGES = {"", "bash", "python", "text", "json", "csv", "html"}
MODES = {"run", "flags", "server", "key"}
LAUNCHERS = {"tools/runpod/start_training.py", "start_training.py"}
TOOLS = (
    "tools/demo.py",
    "tools/inference/test_model.py",
    "tools/datasets/make_test_dataset.py",
    "tools/datasets/fetch_festvox_ru.py",
    "tools/datasets/asterisk_prompts.py",
    "tools/voices/train_festvox_ru.py",
)
PEERS = {"--piper-tts", "--sherpa-onnx", "--streaming-vits"}
"""Flags that benchmarks make of the names of the programs that they are compared with."""
ADDS = re.compile(r"(.*\.)?add(_argument|_option)?")
WRAPPERS = {"setsid", "nohup", "time", "exec"}
# Programs of others; what they are given is not checked.
FOREIGN = {"printf", "aplay", "cat", "cd", "echo", "export", "find", "git", "kill", "ls", "mkdir"}
FOREIGN |= {"uv", "nvidia-smi", "rm", "sbatch", "source", "tail", "tensorboard", "tmux", "torchrun"}
FOREIGN |= {"curl", "docker", "ffplay", "journalctl", "rsync", "sky", "ssh", "sudo", "watch", "wc"}
FOREIGN.add("npm")
FOREIGN_FLAGS = {"--help", "--logdir", "--no-deps", "--node-rank", "--shm-size", "--user"}
FOREIGN_FLAGS |= {"--auto-punctuation", "--backend", "--log-format", "--update-voices"}
FOREIGN_FLAGS |= {"--break-system-packages", "--system-site-packages"}
FOREIGN_FLAGS |= {"--add-host", "--bind", "--web-server", "--zeroconf"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a document; `line` is that of its first line."""

    path: Path
    line: int
    language: str
    mode: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def read_blocks(path: Path) -> list[Block]:
    blocks = []
    lines = path.read_text(encoding="utf-8").splitlines()
    start, before = None, ""
    for number, line in enumerate(lines):
        fence = re.fullmatch(r"\s*```(\w*)", line)
        if fence and start is None:
            marker = re.fullmatch(r"\s*<!-- test: (\w+) -->", before)
            start, language, mode = number + 1, fence[1], marker[1] if marker else "flags"
            assert language in LANGUAGES, f"{path}:{number + 1}: {language}"
            assert mode in MODES, f"{path}:{number}: {mode}"
        elif fence:
            text = "\n".join(lines[start:number])
            blocks.append(Block(path, start + 1, language, mode, text))
            start = None
        elif line.strip():
            before = line
    assert start is None, f"{path}: a fence is not closed"
    return blocks


def read_prose(path: Path) -> str:
    return re.sub(r"(?ms)^\s*```.*?^\s*```$", "", path.read_text(encoding="utf-8"))


def split_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command, redirections left out."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        tokens = list(lexer)
        while tokens:
            token = tokens.pop(0)
            if set(token) <= set("<>&") and set(token) & set("<>"):
                tokens.pop(0)
                if words and words[-1].isdigit():
                    words.pop()
            elif set(token) <= set("|&;"):
                yield words
                words = []
            else:
                words.append(token)
        if words:
            yield words


def accept(parse: Callable[[list[str]], Any], arguments: Sequence[str]) -> None:
    """Parse flags; --help ends with code 0, a wrong flag with another."""
    try:
        parse(list(arguments))
    except SystemExit as stop:
        assert stop.code in (0, None), shlex.join(arguments)


@cache
def train_parser(family: str | None = None) -> Any:
    """Return the trainer's own parser for a family, built once, for it takes a second."""
    parsers = []

    class ParserOnly(cli.TrainCLI):
        def parse_arguments(self, parser: Any, args: Any) -> None:
            parsers.append(parser)
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cli, "TrainCLI", ParserOnly)
        cli.run(["fit", *([f"--model.quality={family}"] if family else [])])
    return parsers[0]


HANDED_ON = re.compile(r"--(trainer|data|model)\.")


def accept_training(arguments: Sequence[str]) -> None:
    """Parse a trainer's flags by the parser of the family that they ask for."""
    accept(train_parser(find_family(arguments).quality).parse_args, arguments)


@cache
def help_flags(tool: str) -> frozenset[str]:
    """Return the flags that a tool's source adds; what the tool imports of ours must be there.

    Starting it for its help would take seconds, most of them for torch.
    """
    flags = {"-h", "--help"} | (PEERS if tool.startswith("benchmarks/") else set())
    for node in ast.walk(ast.parse((ROOT / tool).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "piper":
            module = import_module(str(node.module))
            for alias in node.names:
                is_there = hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
                assert is_there, f"{tool}: {node.module} has no {alias.name}"
        elif isinstance(node, ast.Call) and ADDS.fullmatch(ast.unparse(node.func)):
            names = {str(name.value) for name in node.args if isinstance(name, ast.Constant)}
            flags |= names
            if "BooleanOptionalAction" in ast.unparse(node):
                flags |= {f"--no-{name.removeprefix('--')}" for name in names}
    return frozenset(flags)


def parse_launcher(arguments: list[str]) -> None:
    accept_training(["fit", *launcher_flags.parse_arguments(arguments).trainer_flags])


def check_tool(tool: str, arguments: list[str]) -> None:
    assert (ROOT / tool).is_file(), tool
    if tool in LAUNCHERS:
        accept(parse_launcher, arguments)
        return
    if "--" in arguments:  # what follows is handed on to the trainer
        place = arguments.index("--")
        accept_training(["fit", *arguments[place + 1 :]])
        arguments = arguments[:place]
    given = {word.split("=")[0] for word in arguments if word.startswith("-")}
    assert given <= help_flags(tool), f"{tool} {given - help_flags(tool)}"


def verb_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the verbs of `python -m piper.train` that are no trainings."""
    return {verb: import_module(name).create_parser() for verb, (name, _) in SUBCOMMANDS.items()}


def check_module(module: str, arguments: list[str]) -> None:
    if module == "piper.train" and arguments[0] in SUBCOMMANDS:
        handed = [word for word in arguments if HANDED_ON.match(word) and arguments[0] == "copy"]
        if handed:
            accept_training(["fit", *handed])
        own = [word for word in arguments[1:] if word not in handed]
        accept(verb_parsers()[arguments[0]].parse_args, own)
        return
    if module == "piper.train":
        accept_training(arguments)
        return
    parsers = {
        "piper": options.parse_arguments,
        "piper.download_voices": download_voices.create_parser().parse_args,
        "piper.http_server": http_server.create_parser().parse_args,
        "piper.patch_voice_with_alignment": patch_voice_with_alignment.create_parser().parse_args,
        "piper.wyoming_server": wyoming_server.create_parser().parse_args,
        "piper.train.export_onnx": export_onnx.create_parser().parse_args,
    }
    if module in parsers:
        accept(parsers[module], arguments)
    elif module == "pytest":
        for word in arguments:
            assert word.startswith("-") or (ROOT / word.split("::")[0]).exists(), word
    else:
        others = ("venv", "pip", "build", "http.server", "tensorboard.main", "wyoming_piper")
        assert module in others, f"python -m {module}"


def check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([\w-]+):", makefile))
    variables = set(re.findall(r"(?m)^(\w+) \??:?=|\$\((\w+)\)", makefile))
    for word in arguments:
        name, sign, value = word.partition("=")
        assert name in ({v for pair in variables for v in pair} if sign else targets), (
            f"make {word}"
        )
        if name == "DEMO_ARGS":
            check_tool("tools/demo.py", shlex.split(value))


def check_command(words: list[str]) -> None:
    variables = []
    while words and (re.match(r"\w+=", words[0]) or words[0] in WRAPPERS):
        variables.append(words.pop(0).partition("=")[0])
    program, arguments = (words[0], words[1:]) if words else ("export", [])
    if program in ("python", "python3") and arguments[0] == "-m":
        check_module(arguments[1], arguments[2:])
    elif program in ("python", "python3") and arguments[0] == "-c":
        compile(arguments[1], "example", "exec")
    elif program in ("python", "python3"):
        check_tool(arguments[0], arguments[1:])
    elif program == "piper":
        check_module("piper", arguments)
    elif program == "bash":
        script = (ROOT / arguments[0]).read_text(encoding="utf-8")
        for name in variables:
            assert name in WRAPPERS or f" {name}\n" in script, f"{arguments[0]} reads no {name}"
        accept(parse_launcher, arguments[1:])
    elif program == "sh" and arguments[0].endswith("packed/train.sh"):
        # Written by the tool, and hands its flags on to it.
        check_tool("tools/voices/train_festvox_ru.py", arguments[1:])
    elif program == "make":
        check_make(arguments)
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for name in re.findall(r"\[(\w+)\]", " ".join(arguments)):
            assert name in extras["optional-dependencies"], name
    else:
        assert program in FOREIGN, f"{program} is not known; add it to FOREIGN if it is meant"


def known_flags() -> set[str]:
    """Return every flag of every command line of the project, and a few of others."""
    found = {flag for parser in all_parsers() for flag in parser._option_string_actions}
    return found.union(FOREIGN_FLAGS, *(help_flags(tool) for tool in TOOLS))


def all_parsers() -> list[argparse.ArgumentParser]:
    """Return the parsers of every command line of the package, and of the launcher."""
    parsers = [
        train_parser(family)._subcommands_action._name_parser_map["fit"] for family in (None, QUICK)
    ]
    parsers += [launcher_flags.create_parser(), options.create_parser()]
    parsers += [download_voices.create_parser(), export_onnx.create_parser()]
    parsers += [http_server.create_parser(), patch_voice_with_alignment.create_parser()]
    parsers += [wyoming_server.create_parser()]
    return [*parsers, *verb_parsers().values()]
