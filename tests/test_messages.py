"""Messages in the user's language: the catalogue is whole, and commands speak it."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import polib
import pytest

from piper.messages import find_language, take_language, translate

ROOT = Path(__file__).parents[1]
PLACEHOLDER = re.compile(r"\{(\d+)\}")
VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


@pytest.fixture(scope="module")
def catalogue() -> polib.POFile:
    return polib.pofile(str(ROOT / "src" / "piper" / "locale" / "ru" / "piper.po"))


@pytest.fixture
def no_language(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without a language, which a test may set."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("piper.messages._chosen", [])


def messages_of(entry: polib.POEntry) -> list[str]:
    return [message for message in (entry.msgid, entry.msgid_plural) if message]


def translations_of(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) or [entry.msgstr]


def test_the_catalogue_is_what_stands_in_the_code(catalogue: polib.POFile) -> None:
    """Where this fails, a message was changed: run `make messages`, and translate what is new."""
    in_code = set(runpy.run_path(str(ROOT / "tools" / "update_messages.py"))["find_messages"]())
    entries = {message for entry in catalogue for message in messages_of(entry)}
    put_together = {m for e in catalogue if "displayed" in e.flags for m in messages_of(e)}
    assert in_code - entries == set()
    assert entries - put_together - in_code == set()


def test_each_message_is_translated_with_all_its_values(catalogue: polib.POFile) -> None:
    wrong = []
    for entry in catalogue:
        values = set(PLACEHOLDER.findall(entry.msgid))
        told = translations_of(entry)
        is_whole = all(text and set(PLACEHOLDER.findall(text)) == values for text in told)
        if not is_whole or len(told) not in (1, 3) or "fuzzy" in entry.flags:
            wrong.append(entry.msgid)
    assert wrong == []


def test_no_message_is_taken_for_another(catalogue: polib.POFile) -> None:
    taken = {}
    for entry in catalogue:
        if "page" in entry.flags:  # looked up as it is, by a page's script
            continue
        value = r"5\1" if "numbers" in entry.flags else r"№\1"
        for message in messages_of(entry):
            shown, *told = (
                PLACEHOLDER.sub(value, text) for text in (message, *translations_of(entry))
            )
            if (found := translate(shown, "ru")) not in told:
                taken[shown] = found
    assert taken == {}


@pytest.mark.parametrize(
    ("english", "russian"),
    [
        ("3 errors, 1 warning", "3 ошибки, 1 предупреждение"),
        (
            "620 recordings, 1.66 hours; nothing found.",
            "620 записей, 1.66 часа; ничего не найдено.",
        ),
        ("1 issue, 6.2 % of the recordings", "1 находка, 6.2 % записей"),
        ("11 recordings", "11 записей"),
        ("1,021 recordings", "1\N{NO-BREAK SPACE}021 запись"),
        ("12/590 recordings", "12/590 записей"),
        ("31:09:51 left · epoch 3", "осталось 31:09:51 · эпоха 3"),  # no "1 day, 7:09:51"
        ("best val_loss 31.20 found 20 min ago", "лучшее val_loss 31.20 найдено 20 мин назад"),
        ("2:20 left · epoch 3 · batch 7/21", "осталось 2:20 · эпоха 3 · батч 7/21"),
        # What stands in a message is one, too; a name is none, not in a list either.
        (
            "--data.max_seconds must be above 0; it is -1.",
            "--data.max_seconds должно быть больше 0; сейчас -1.",
        ),
        ("about 50 minutes, 0.20 s a step", "примерно 50 минут, шаг 0.20 с"),
        ("the first of many errors", "the first of many errors"),
        ("Words of others, 3 errors", "Words of others, 3 errors"),
    ],
)
def test_what_is_put_together(english: str, russian: str) -> None:
    assert translate(english, "ru") == russian
    assert translate(english, "en") == english


@pytest.mark.parametrize(
    "piece", ["word is, foo; bar (x): baz ", "a. B ", "1 error, ", "Next: ", "a, b c; ", "\n · "]
)
def test_a_strangers_text_is_soon_shown_as_it_is(piece: str) -> None:
    """Not minutes later, as by regular expressions, nor never."""
    begin = time.process_time()
    shown = translate(piece * 2000 + "the end", "ru")
    assert time.process_time() - begin < 10
    assert shown.endswith("the end")


def test_the_environment_or_the_option_says_the_language(
    no_language: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_language() == "en"
    monkeypatch.setenv("LANG", "ru_RU.UTF-8")
    assert find_language() == "ru"
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert find_language() == "en"
    monkeypatch.setenv("LANGUAGE", "be:ru")
    assert find_language() == "ru"
    assert take_language(["--language=xx", "-m", "a", "--", "--language", "ru"]) == [
        *("-m", "a", "--", "--language", "ru")
    ]
    assert find_language() == "en"


@pytest.mark.parametrize(
    ("language", "arguments", "said"),
    [
        (
            "ru_RU.UTF-8",
            ["piper", "-m", "no.onnx"],
            "ошибка: В текущей папке нет no.onnx; проверьте",
        ),
        ("ru_RU.UTF-8", ["piper", "-m", "no.onnx", "--language=xx"], "error: There is no no.onnx"),
        (
            "C.UTF-8",
            ["piper.train", "check", "no", "--language", "ru"],
            "ошибка: Папки датасета no",
        ),
    ],
)
def test_commands_speak_russian(language: str, arguments: list[str], said: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        env=environment | {"LANG": language, "PYTHONIOENCODING": "utf-8"},
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.decode().startswith(said)
