"""Container, compose file and systemd units of the servers: what they start would start."""

from __future__ import annotations

import argparse
import configparser
import importlib
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from test_docker import find_all, read_instructions

ROOT = Path(__file__).parents[1]
UNITS = sorted((ROOT / "systemd").glob("*.service"))
SERVE = ROOT / "docker" / "serve.Dockerfile"
VARIABLE = r"\$\{PIPER_VOICE(:-[\w-]+)?\}"
MODULES = ("piper.http_server", "piper.wyoming_server", "piper.download_voices")


def parse_command(words: Sequence[str]) -> argparse.Namespace:
    """Give a command `python -m piper.…` to its real parser."""
    program, flag, module, *arguments = [re.sub(VARIABLE, "a-voice", word) for word in words]
    assert (Path(program).name, flag) == ("python", "-m")
    assert module in MODULES
    return importlib.import_module(module).create_parser().parse_args(arguments)


def read_commands(path: Path) -> list[list[str]]:
    """Return the commands of the comment at a file's head, as lists of words."""
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line[4:] for line in lines if line.startswith("#   "))
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line]


def find_python(words: Sequence[str]) -> list[str]:
    """Return what a container of the image runs by `docker run` or `docker compose run`."""
    entrypoint = json.loads(find_all(read_instructions(SERVE), "ENTRYPOINT")[0])
    image = next(word for word in ("piper-serve", "http") if word in words)
    rest = list(words[words.index(image) + 1 :])
    return ["python", *rest] if "--entrypoint" in words else [*entrypoint, *rest]


def read_unit(path: Path) -> dict[str, dict[str, list[str]]]:
    """Return a unit's sections; a key may stand several times."""
    parser = configparser.RawConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    lines = path.read_text(encoding="utf-8").splitlines()
    # configparser knows no repeated keys, and systemd knows no comments after a value.
    counted = [re.sub(r"^(\w+)=", rf"\1.{number}=", line) for number, line in enumerate(lines)]
    parser.read_string("\n".join(counted))
    return {
        name: {
            key: [value for other, value in section.items() if other.partition(".")[0] == key]
            for key in dict.fromkeys(other.partition(".")[0] for other in section)
        }
        for name, section in parser.items()
        if name != parser.default_section
    }


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))


def test_the_image_s_commands_are_understood() -> None:
    commands = [words for words in read_commands(SERVE) if words[:2] == ["docker", "run"]]
    found = [parse_command(find_python(words)) for words in commands]
    assert [getattr(args, "model", None) or args.voice[0] for args in found] == (
        ["ru_RU-irina-medium"] * 3
    )
    for words in commands:
        volumes = {word.partition(":")[2] for word in words if re.match(r"piper-\w+:/", word)}
        assert volumes <= set(json.loads(find_all(read_instructions(SERVE), "VOLUME")[0]))


def test_the_image_listens_and_is_asked_where_it_listens() -> None:
    instructions = read_instructions(SERVE)
    args = parse_command(
        [*json.loads(find_all(instructions, "ENTRYPOINT")[0]), "--model", "a-voice"]
    )
    assert args.host == "0.0.0.0"
    assert [str(folder) for folder in args.data_dir] == ["/voices"]
    health = find_all(instructions, "HEALTHCHECK")[0]
    program = json.loads(health[health.index("[") :])
    compile(program[-1], "health", "exec")
    assert f"127.0.0.1:{args.port}/health" in program[-1]
    assert str(args.port) in find_all(instructions, "EXPOSE")[0].split()
    assert find_all(instructions, "STOPSIGNAL") == ["SIGTERM"]


@pytest.mark.parametrize("name", ["http", "wyoming"])
def test_a_service_of_the_compose_file(compose: Any, name: str) -> None:
    service = compose["services"][name]
    entrypoint = json.loads(find_all(read_instructions(SERVE), "ENTRYPOINT")[0])
    args = parse_command([*service.get("entrypoint", entrypoint), *service["command"]])
    assert args.model == "a-voice"
    (port,) = service["ports"]
    assert port.rpartition(":")[2] in find_all(read_instructions(SERVE), "EXPOSE")[0].split()
    folders = [volume.rpartition(":")[2] for volume in service["volumes"]]
    assert folders == json.loads(find_all(read_instructions(SERVE), "VOLUME")[0])
    assert {volume.partition(":")[0] for volume in service["volumes"]} == set(compose["volumes"])
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    if "healthcheck" in service:
        program = service["healthcheck"]["test"]
        compile(program[-1], "health", "exec")
        assert str(service["ports"][0]).rpartition(":")[2] in program[-1]


def test_the_compose_file_builds_this_image(compose: Any) -> None:
    build = compose["services"]["http"]["build"]
    assert (ROOT / "docker" / build["context"]).resolve() == ROOT
    assert ROOT / build["dockerfile"] == SERVE
    # The key comes from the environment; it stands in no file.
    assert compose["services"]["http"]["environment"] == {"PIPER_API_KEY": None}
    commands = read_commands(ROOT / "docker" / "compose.yaml")
    for words in commands:
        assert ROOT / words[words.index("-f") + 1] == ROOT / "docker" / "compose.yaml"
    (download,) = [words for words in commands if "run" in words]
    assert parse_command(find_python(download)).voice == ["ru_RU-irina-medium"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_its_server(path: Path) -> None:
    unit = read_unit(path)
    assert list(unit) == ["Unit", "Service", "Install"]
    service = unit["Service"]
    (command,) = service["ExecStart"]
    args = parse_command(shlex.split(command))
    variables = dict(text.split("=") for text in service["Environment"])
    assert args.model == "a-voice"
    assert variables["PIPER_VOICE"] == "ru_RU-irina-medium"
    # With ProtectSystem=strict nothing else can be written.
    assert service["ProtectSystem"] == ["strict"]
    assert [str(folder) for folder in args.data_dir] == [f"/var/lib/{service['StateDirectory'][0]}"]
    assert variables["PIPER_CACHE_DIR"] == f"/var/cache/{service['CacheDirectory'][0]}"
    for key, value in (
        ("Restart", "on-failure"),
        ("DynamicUser", "yes"),
        ("NoNewPrivileges", "yes"),
        ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""),
    ):
        assert service[key] == [value], key
    assert {"MemoryMax", "TasksMax", "EnvironmentFile"} <= set(service)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_s_instructions_name_what_there_is(path: Path) -> None:
    commands = [words[1:] for words in read_commands(path) if words[0] == "sudo"]
    (source,) = [words[1] for words in commands if words[0] == "cp"]
    assert ROOT / source == path
    assert commands[-1] == ["systemctl", "enable", "--now", path.name]
    (download,) = [words for words in commands if "piper.download_voices" in words]
    args = parse_command(download)
    command = shlex.split(read_unit(path)["Service"]["ExecStart"][0])
    assert download[0] == command[0]
    assert args.download_dir in parse_command(command).data_dir


def test_both_units_are_there_and_equally_bounded() -> None:
    services = [read_unit(path)["Service"] for path in UNITS]
    assert [path.name for path in UNITS] == ["piper-http.service", "piper-wyoming.service"]
    first, second = map(dict, services)
    assert first.pop("ExecStart") != second.pop("ExecStart")
    assert first == second
