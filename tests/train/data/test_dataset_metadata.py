"""Each mistake in metadata.csv is named by file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from piper.errors import DatasetError
from piper.train.data.metadata import load_metadata, remove_stress_marks
from piper.train.data.settings import resolve_settings

WriteDataset = Callable[[str | bytes], Path]


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteDataset:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.wav").write_bytes(b"only its name is looked at here")

    def write(content: str | bytes) -> Path:
        path = tmp_path / "metadata.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def load_error(path: Path, **options: int | str) -> str:
    with pytest.raises(DatasetError) as caught:
        load_metadata(path, path.parent, **options)
    return str(caught.value).replace(str(path), "CSV")


def load_texts(path: Path) -> list[str]:
    return [row.text for row in load_metadata(path, path.parent)]


def test_two_columns_with_and_without_wav(write_csv: WriteDataset) -> None:
    path = write_csv("a.wav|Привет.\r\n\r\nb|Мир.\n")
    rows = load_metadata(path, path.parent)
    found = [(row.line, row.audio_path.name, row.text, row.speaker, row.ids) for row in rows]
    assert found == [(1, "a.wav", "Привет.", None, None), (3, "b.wav", "Мир.", None, None)]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        (b"\xef\xbb\xbfa.wav|Text.\n", ["Text."]),
        # With CSV quoting, the unbalanced quote would swallow the second row.
        (
            'a.wav|"Hello," she said.\nb.wav|"Well\nc.wav|End.\n',
            ['"Hello," she said.', '"Well', "End."],
        ),
        ("a.wav|One\u2028two.\n", ["One\u2028two."]),
        # What a spreadsheet has put around all texts is no part of them.
        ('"a.wav"|"Hello, ""old"" man."\n"b.wav"|"Well."\n', ['Hello, "old" man.', "Well."]),
    ],
)
def test_what_is_part_of_a_text(
    write_csv: WriteDataset, content: str | bytes, texts: list[str]
) -> None:
    assert load_texts(write_csv(content)) == texts


def test_audio_is_also_found_beside_the_csv(write_csv: WriteDataset, tmp_path: Path) -> None:
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs/d.wav").write_bytes(b"x")
    path = write_csv("wavs/d.wav|Text.\nd|Other.\n")
    with pytest.raises(DatasetError, match="already in line 1"):
        load_metadata(path, tmp_path / "wavs")


@pytest.mark.parametrize(
    "name",
    [
        "A.WAV",
        "a.flac",
        r"wavs\a.wav",
        r"C:\voice\A.wav",
        "/home/anna/voice/a.wav",
        "../gone/a",
        '"a.wav"',
    ],
)
def test_names_of_another_machine(write_csv: WriteDataset, name: str) -> None:
    path = write_csv(f"{name}|Text.\n")
    assert load_metadata(path, path.parent)[0].audio_path == path.parent / "a.wav"


def test_a_name_that_may_mean_several_recordings_is_missing(
    write_csv: WriteDataset, tmp_path: Path
) -> None:
    for folder in ("anna", "boris"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "u1.wav").write_bytes(b"x")
    path = write_csv("d:/boris/U1.wav|Text.\n")
    assert load_metadata(path, path.parent)[0].audio_path == tmp_path / "boris/u1.wav"
    assert "1 of 1 recordings are not in" in load_error(write_csv("U1.wav|Text.\n"))


@pytest.mark.parametrize("folder", ["wavs", "Wavs", "wav", "WAV", "audio"])
def test_the_folder_of_the_recordings_is_found(write_csv: WriteDataset, folder: str) -> None:
    path = write_csv("a.wav|Text.\n")
    (path.parent / folder).mkdir()
    (path.parent / "other").mkdir()
    settings = resolve_settings(dataset_dir=path.parent, espeak_voice="ru")
    assert settings.audio_dir == path.parent / folder


def test_speaker_column(write_csv: WriteDataset) -> None:
    path = write_csv("a|anna|One.\nb|boris|Two.\n")
    rows = load_metadata(path, path.parent, num_speakers=2)
    assert [row.speaker for row in rows] == ["anna", "boris"]


def test_phoneme_ids(write_csv: WriteDataset) -> None:
    path = write_csv("a|One.|1 0 14 0 2\n")
    assert load_metadata(path, path.parent, dataset_type="phoneme_ids")[0].ids == [1, 0, 14, 0, 2]


def test_missing_csv(tmp_path: Path) -> None:
    message = load_error(tmp_path / "metadata.csv")
    assert message.startswith("CSV does not exist")
    assert "--data.dataset_dir" in message


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"a|Text.\n" + "b|Привет.\n".encode("cp1251"), {}, "CSV line 2: the text is not UTF-8"),
        ("\n \n", {}, "CSV is empty"),
        (
            "a,Text.\n",
            {},
            "CSV line 1: no '|' found (it seems to use ','); separate the columns as",
        ),
        (
            "a;Text.\n",
            {},
            "CSV line 1: no '|' found (it seems to use ';'); separate the columns as",
        ),
        (
            "a\tText.\n",
            {},
            "CSV line 1: no '|' found (it seems to use a tab); separate the columns",
        ),
        ("a|One.\nb\n", {}, "CSV line 2: no '|' found; separate the columns as file|text."),
        ("a|One.\nb| \n", {}, "CSV line 2: the text is empty"),
        ("a||One.\n", {"num_speakers": 2}, "CSV line 1: the speaker is empty"),
        (
            "a|anna|One.\nb|boris|Two|three.\n",
            {"num_speakers": 2},
            "CSV line 2: 4 columns, but 3 are wanted (file|speaker|text",
        ),
        (
            "a|x|One.\nb|y|Two.\nc|z|Three.\n",
            {"num_speakers": 2},
            "CSV has 3 speakers (x, y, z), but --model.num_speakers=2; pass "
            "--model.num_speakers=3.",
        ),
        (
            "a|One.|1 0 x\n",
            {"dataset_type": "phoneme_ids"},
            "CSV line 1: the last column is '1 0 x'",
        ),
        ("a|One.\n", {"dataset_type": "words"}, '--data.dataset_type is "words"'),
        ("a|One.\nb|Two.\na.wav|Three.\n", {}, "CSV line 3: a.wav is already in line 1"),
    ],
)
def test_mistakes_name_file_and_line(
    write_csv: WriteDataset, content: str | bytes, options: dict[str, int | str], said: str
) -> None:
    assert load_error(write_csv(content), **options).startswith(said)


def test_three_columns_without_several_speakers(write_csv: WriteDataset) -> None:
    message = load_error(write_csv("a|anna|One.\nb|boris|Two.\nc|anna|Three.\n"))
    assert message.startswith("CSV: 3 columns, but file|text is wanted")
    assert "--model.num_speakers=2" in message


RAW = ["Printed in 1455.", "Mr. Smith is here.", "Yes.", "He has two dogs."]
SAID = ["Printed in fourteen fifty-five.", "Mister Smith is here.", "Yes.", "He has two dogs."]
MANY = [f"{name}{number}" for number in range(3) for name in "abcd"]


@pytest.fixture
def write_rows(write_csv: WriteDataset, tmp_path: Path) -> Callable[..., Path]:
    """A CSV of columns, each repeated over twelve recordings."""
    for name in MANY:
        (tmp_path / f"{name}.wav").write_bytes(b"x")

    def write(*columns: list[str]) -> Path:
        rows = zip(MANY, *(column * (12 // len(column)) for column in columns), strict=True)
        return write_csv("".join("|".join(row) + "\n" for row in rows))

    return write


def test_ljspeech_s_columns_are_no_speakers(write_rows: Callable[..., Path]) -> None:
    """The second column was called the speaker: ten speakers named by sentences were trained."""
    path = write_rows(RAW, SAID)
    rows = load_metadata(path, path.parent)
    assert [row.text for row in rows[:4]] == SAID
    assert {row.speaker for row in rows} == {None}
    message = load_error(path, num_speakers=12)
    assert "the columns look like file|text|normalised text, and name no speakers" in message
    assert "leave out --model.num_speakers=12" in message


@pytest.mark.parametrize(
    "number", [lambda text: str(len(text)), lambda text: f"{len(text) / 9:.1f}"]
)
def test_a_length_beside_the_text_is_no_text(
    write_rows: Callable[..., Path], number: Callable[[str], str]
) -> None:
    """Mimic Recording Studio's third column."""
    path = write_rows(RAW, [number(text) for text in RAW])
    assert [row.text for row in load_metadata(path, path.parent)[:4]] == RAW


def test_speakers_after_the_text(write_rows: Callable[..., Path]) -> None:
    path = write_rows(RAW, ["anna", "boris"])
    assert "look like file|text|speaker, so pass --model.num_speakers=2" in load_error(path)
    rows = load_metadata(path, path.parent, num_speakers=2)
    assert (rows[0].speaker, rows[0].text) == ("anna", RAW[0])


def test_ids_without_their_flag(write_rows: Callable[..., Path]) -> None:
    assert "pass --data.dataset_type=phoneme_ids" in load_error(write_rows(RAW, ["1 0 14 0 2"]))


@pytest.mark.parametrize("num_speakers", [1, 12])
def test_columns_that_tell_nothing_are_refused(
    write_rows: Callable[..., Path], num_speakers: int
) -> None:
    path = write_rows([f"take{number}" for number in range(12)], SAID)
    message = load_error(path, num_speakers=num_speakers)
    assert "the second has 12 different values in 12 lines, such as 'take0', so it is no" in message


def test_phoneme_ids_may_have_their_frames(write_csv: WriteDataset) -> None:
    path = write_csv("a|One.|1:3 0:1 14:7 2:4\n")
    [row] = load_metadata(path, path.parent, dataset_type="phoneme_ids")
    assert (row.ids, row.durations) == ([1, 0, 14, 2], [3, 1, 7, 4])
    message = load_error(write_csv("a|One.|1:3 0 14:7\n"), dataset_type="phoneme_ids")
    assert "none or all of them with frames" in message


def test_missing_recordings_are_all_counted(write_csv: WriteDataset) -> None:
    lines = "".join(f"gone{index}|Text.\n" for index in range(7))
    message = load_error(write_csv("a|One.\n" + lines))
    assert "7 of 8 recordings are not in" in message
    assert "gone0 (line 2), gone1 (line 3)" in message
    assert "gone4 (line 6), and 2 more" in message
    assert "gone5" not in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("прядь вол+ос за ухо", "прядь волос за ухо"),
        ("+Окна и +окна, глаз+а", "Окна и окна, глаза"),
        ("«+ёлка» (+ель)", "«ёлка» (ель)"),
        ("2+2 и 2 + 2", "2+2 и 2 + 2"),
        ("x+а, C++а, +7, +к", "x+а, C++а, +7, +к"),
    ],
)
def test_stress_marks_are_taken_out(text: str, expected: str) -> None:
    """espeak-ng 1.52 reads the sign aloud as a word (festvox-ru has it in 132 lines)."""
    assert remove_stress_marks(text) == expected


def test_stress_marks_stay_where_they_are_honoured(write_csv: WriteDataset) -> None:
    path = write_csv("a|прядь вол+ос\n")
    assert load_metadata(path, path.parent)[0].text == "прядь волос"
    kept = load_metadata(path, path.parent, has_stress_marks=True)
    assert kept[0].text == "прядь вол+ос"
