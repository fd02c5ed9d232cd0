"""The list of published voices, from a real server on loopback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piper.download import find_catalogue_voice, load_catalogue, parse_catalogue
from piper.download_voices import main
from piper.errors import PiperError, VoiceNotFoundError
from publishing import CONFIG, NAME, ONNX, Hub

SIZE = f"{(len(ONNX) + len(CONFIG)) / 1e6:.1f} MB"


def test_the_long_list(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-l", "--catalogue-url", hub.url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name               language         quality  speakers  size",
        f"{NAME}  Russian (ru_RU)  medium   1         {SIZE}",
        f"zz_ZZ-last-low     zz_ZZ            low      ?         {SIZE}",
    ]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], [NAME, "zz_ZZ-last-low"]),
        (["--language", "ru"], [NAME]),
        (["--language", "ru-ru"], [NAME]),
        (["--language", "russian"], [NAME]),
        (["--language", "Русский", "--quality", "medium"], [NAME]),
        (["--language", "zz"], ["zz_ZZ-last-low"]),
        (["--quality", "low"], ["zz_ZZ-last-low"]),
        (["--quality", "low", "--quality", "medium"], [NAME, "zz_ZZ-last-low"]),
    ],
)
def test_the_list_of_a_language_and_a_quality(
    hub: Hub, options: list[str], names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--catalogue-url", hub.url]) == 0
    assert capsys.readouterr().out.split() == names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--language", "ru", "--language", "de"], "the language 'de'; it has ru_RU, zz_ZZ."),
        (["--quality", "best"], "the quality 'best'; it has low, medium."),
        (["--language", "ru", "--quality", "low"], "the language ru and the quality"),
    ],
)
def test_a_language_or_quality_that_there_is_not(
    hub: Hub, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--catalogue-url", hub.url]) == 1
    assert f"error: The catalogue has no voice of {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [[NAME, "--language", "ru"], ["--installed", "-l"], ["--installed", "--force-redownload"]],
)
def test_options_that_do_not_go_together(options: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2


def test_who_reads_the_list_may_have_enough_of_it(hub: Hub) -> None:
    command = [sys.executable, "-m", "piper.download_voices", "--catalogue-url", hub.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_an_unknown_name_is_found_before_anything_is_fetched(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [NAME, "ru_RU-tset-medium", "--download-dir", str(tmp_path / "new")]
    assert main([*command, "--catalogue-url", hub.url]) == 1
    assert capsys.readouterr().err.endswith(
        f"The catalogue has no voice 'ru_RU-tset-medium'; did you mean {NAME}?\n"
    )
    assert not (tmp_path / "new").exists()
    with pytest.raises(VoiceNotFoundError, match="list all by giving no name"):
        find_catalogue_voice({}, "x")


def test_nobody_answers_and_the_user_knows_it_at_once(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(PiperError, match=r"json\.none answers 404 Not Found; check the address"):
        load_catalogue(f"{hub.url}.none")
    url = "http://127.0.0.1:1/voices.json"
    with pytest.raises(PiperError, match=rf"{url} cannot be fetched .*check the network"):
        load_catalogue(url)
    assert "trying again" not in caplog.text


@pytest.mark.parametrize(
    "url", ["voices.json", "/voices/voices.json", "ftp://host/voices.json", "file:///voices.json"]
)
def test_an_address_that_is_not_of_the_web(url: str) -> None:
    with pytest.raises(PiperError, match=rf"^{url} is not an address of the web; give one"):
        load_catalogue(url)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<html>", "is not valid JSON"),
        ("[]", "an object is wanted"),
        ('{"a": 1}', "the entry of 'a' lacks the name, size and MD5"),
        ('{"a": {"files": {"a.onnx": {"size_bytes": 1, "md5_digest": ""}}}}', "the entry of 'a'"),
    ],
)
def test_a_catalogue_that_is_none(hub: Hub, content: str, message: str) -> None:
    (hub.root / "voices.json").write_text(content)
    with pytest.raises(PiperError, match=message):
        load_catalogue(hub.url)


def test_a_catalogue_without_an_end_is_given_up(hub: Hub) -> None:
    """A server that never stops sending filled the memory."""
    with pytest.raises(PiperError, match=r"does not end \(\d\d,\d{3},\d{3} bytes came\)"):
        load_catalogue(hub.url.replace("/main/", "/endless/"))


@given(st.data())
@settings(max_examples=100, deadline=None, database=None, derandomize=True)
def test_whatever_a_catalogue_holds_is_voices_or_a_sentence(data: st.DataObject) -> None:
    odd = st.sampled_from([None, True, -1, 1e400, [], {}, "", "a", ["a"], "//b/c.onnx", "../.."])
    facts = {"size_bytes": 1, "md5_digest": "0" * 32}
    files = {f"a/{NAME}.onnx{end}": dict(facts) for end in ("", ".json")}
    entry = {"files": files, "language": {"code": "ru_RU"}, "aliases": [], "num_speakers": 1}
    place: Any = {NAME: entry}
    while isinstance(place, dict) and place:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            place[key] = data.draw(odd)
            break
        place = place[key]
    with suppress(PiperError):
        [voice] = parse_catalogue({NAME: entry}, "http://a/b/voices.json").values()
        assert all(file.url.startswith("http://a/b/") for file in voice.files)


@pytest.mark.parametrize(
    ("prefix", "name", "voice", "facts"),
    [
        ("", NAME, NAME, {"md5_digest": "/../../../../../tmp/a"}),
        ("", NAME, NAME, {"size_bytes": 0}),
        ("", NAME, NAME, {"size_bytes": "many"}),
        *(("", NAME, voice, {}) for voice in ("../../x", "/x", "\x1b[2J", "")),
        ("", "..\\..\\a", NAME, {}),  # a backslash parts folders on Windows
        *(("", name, NAME, {}) for name in ("C:a", "a\0", "a\n")),
        ("//evil.example/", NAME, NAME, {}),  # another server
        ("../", NAME, NAME, {}),
    ],
)
def test_names_sizes_and_digests_that_are_none(
    hub: Hub, prefix: str, name: str, voice: str, facts: dict[str, object]
) -> None:
    hub.publish(**facts)
    entry = json.loads((hub.root / "voices.json").read_text(encoding="utf-8"))[NAME]
    entry["files"] = {
        prefix + path.replace(NAME, name): facts for path, facts in entry["files"].items()
    }
    (hub.root / "voices.json").write_text(json.dumps({voice: entry}))
    message = re.escape(f"the entry of {voice!r} lacks the name, size and MD5")
    with pytest.raises(PiperError, match=message):
        load_catalogue(hub.url)
