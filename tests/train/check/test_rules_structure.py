"""Each mistake in metadata.csv is found, all of them at once, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_reports import found

from piper.errors import DatasetError
from piper.train.check.rules_set import Structure, read_structure

GOOD = [
    ("a1.wav", "Она вышла на улицу."),
    ("a2.wav", "Дождь кончился к вечеру."),
    ("a3.wav", "Пойдём домой, сказал он."),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "wavs").mkdir()
    for name, _ in GOOD:
        (tmp_path / "wavs" / name).write_bytes(b"RIFF")
    return tmp_path


def read(folder: Path, *more: str, lines: list[str] | None = None) -> Structure:
    lines = [f"{name}|{text}" for name, text in GOOD] if lines is None else lines
    path = folder / "metadata.csv"
    path.write_text("\n".join([*lines, *more]) + "\n", encoding="utf-8")
    return read_structure(path, folder / "wavs")


def test_a_good_file_has_no_issues(folder: Path) -> None:
    structure = read(folder)
    assert structure.issues == []
    assert [(entry.name, entry.text) for entry in structure.entries] == GOOD
    assert str(structure.layout) == "file|text"


@pytest.mark.parametrize(
    ("line", "rule", "said"),
    [
        ("a4.wav\tТекст.", "delimiter", "it seems to use a tab"),
        ("Только текст.", "delimiter", "the line is"),
        ("a4.wav|Текст.|ещё", "columns", "3 columns, most lines have 2"),
        ("|Текст.", "empty-name", "the text is"),
        ("a9.wav|Текст.", "missing-file", "a9.wav is not in wavs/"),
        ("A4.WAV|Текст.", "other-name", "a4.wav is there"),
        (r"C:\wavs\a4.wav|Текст.", "other-name", "a4.wav is there"),
        ("/home/anna/voice/a4.wav|Текст.", "other-name", "a4.wav is there"),
        ("a4.flac|Текст.", "other-name", "a4.wav is there"),
        (r"wavs\a9.wav|Текст.", "missing-file", "a9.wav is not in wavs/"),
        ("a1.wav|Она вышла на улицу.", "duplicate-name", "already in line 1, with the same text"),
        ("a2.wav|Текст.", "duplicate-name", "already in line 2, with another text"),
        ("a4.wav|она вышла, на улицу!", "duplicate-text", "as line 1 (a1.wav)"),
        ('a4.wav|"Он сказал ""да""."', "quotes", "the text is"),
        ("a4.wav|Текст\u200b с пробелом.", "control-characters", "U+200B"),
        ("a4.wav|Те\ufffdст.", "control-characters", "U+FFFD"),
    ],
)
def test_each_mistake_is_named_with_its_line(folder: Path, line: str, rule: str, said: str) -> None:
    (folder / "wavs" / "a4.wav").write_bytes(b"RIFF")
    is_named = line.startswith("a4.wav|") or said == "a4.wav is there"
    [issue] = [f for f in read(folder, line).issues if f.rule.name != "unreferenced-file"]
    assert (issue.rule.name, issue.line) == (rule, 4)
    assert said in issue.message
    assert any(f.rule.name == "unreferenced-file" for f in read(folder, line).issues) != (
        is_named and rule not in ("columns", "delimiter")
    )


def test_a_header_is_no_missing_recording(folder: Path) -> None:
    lines = ["file|text", *(f"{name}|{text}" for name, text in GOOD)]
    assert found(read(folder, lines=lines).issues) == [("header", 1)]


def test_another_encoding_is_read_all_the_same(folder: Path) -> None:
    path = folder / "metadata.csv"
    path.write_bytes("\r\n".join(f"{n}|{t}" for n, t in GOOD).encode("cp1251"))
    structure = read_structure(path, folder / "wavs")
    assert found(structure.issues) == [("encoding", 1)]
    assert [(entry.name, entry.text) for entry in structure.entries] == GOOD


def test_a_byte_order_mark_is_no_part_of_a_name(folder: Path) -> None:
    path = folder / "metadata.csv"
    path.write_text("\n".join(f"{n}|{t}" for n, t in GOOD), encoding="utf-8-sig")
    assert found(read_structure(path, folder / "wavs").issues) == [("byte-order-mark", 1)]


def test_recordings_without_a_line_are_named(folder: Path) -> None:
    (folder / "wavs" / "more").mkdir()
    (folder / "wavs" / "more" / "b.flac").write_bytes(b"fLaC")
    [issue] = read(folder).issues
    assert (issue.rule.name, issue.name) == ("unreferenced-file", "more/b.flac")


def test_a_recording_outside_the_dataset_is_named(folder: Path, tmp_path: Path) -> None:
    # Of a stranger's dataset it may be anything of the user's, which the report then plays.
    inside, outside = folder / "b.wav", tmp_path.parent / f"{tmp_path.name}.wav"
    (folder / "wavs" / "linked.wav").symlink_to(outside)
    for path in (inside, outside):
        path.write_bytes(b"RIFF")
    lines = [f"../../{outside.name}|Раз два.", f"{outside}|Раз три.", "../b.wav|Раз пять."]
    issues = read(folder, *lines, f"{inside}|Раз шесть.", "linked.wav|Раз семь.").issues
    assert found([f for f in issues if f.rule.name == "outside-file"]) == [
        ("outside-file", 4),
        ("outside-file", 5),
    ]


def test_nothing_to_read_is_a_sentence(folder: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_structure(folder / "metadata.csv", folder / "wavs")
    with pytest.raises(DatasetError, match="is empty; write one line"):
        read(folder, lines=["", " "])
