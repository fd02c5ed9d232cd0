"""Each format: a small real tree is imported and read by the project's own reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from piper.errors import DatasetError
from piper.train.data.audio import decode
from piper.train.formats.readers import FORMATS, find_format
from piper.train.formats.source import ReadOptions, parse_columns

Write = Callable[..., Path]


def write_lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_ljspeech(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "LJSpeech"
    for number in (1, 2, 3):
        write_audio(source / f"wavs/LJ001-000{number}.wav", number)
    lines = ["LJ001-0001|В 5 часов.|В пять часов.", 'LJ001-0002|"Да," — сказал он.|']
    write_lines(source / "metadata.csv", *lines, "LJ001-0003|№ 3|Номер три.")

    assert find_format(source).name == "ljspeech"
    imported = import_source(source)
    assert imported.names == ["LJ001-0001.wav", "LJ001-0002.wav", "LJ001-0003.wav"]
    # Where no normalised text is, the other is all there is; quotes are no quoting.
    assert imported.texts == ["В пять часов.", '"Да," — сказал он.', "Номер три."]
    assert imported.config == {"audio": {"sample_rate": 22050}, "espeak": {"voice": "ru"}}
    original = import_source(source, tmp_path / "other", read=ReadOptions(use_original_text=True))
    assert original.texts[0] == "В 5 часов."


def test_a_bar_within_a_text_loses_nothing(
    tmp_path: Path, write_audio: Write, import_source
) -> None:
    source = tmp_path / "LJSpeech"
    rows = {
        "1": "Он сказал да.|Он сказал да.",
        "2": "Ночь и день | был дождь.",  # its normalised text is missing
        "3": "Раз | два в 5 часов.|Раз | два в пять часов.",
        "4": "Было поздно.|Было поздно.",
        "5": "Только один текст.",
    }
    for number in rows:
        write_audio(source / f"wavs/{number}.wav", int(number))
    write_lines(source / "metadata.csv", *(f"{name}|{text}" for name, text in rows.items()))
    imported = import_source(source)
    assert imported.report.format_name == "ljspeech"
    assert imported.texts == [
        "Он сказал да.",
        "Ночь и день был дождь.",
        "Раз два в пять часов.",
        "Было поздно.",
        "Только один текст.",
    ]
    assert imported.speakers == [None] * 5


@pytest.mark.parametrize("name", ["metadata.csv", "anna-metadata.txt"])
def test_mimic_recording_studio(
    tmp_path: Path, write_audio: Write, import_source, name: str
) -> None:
    """The length in its third column was taken for the text: `u01.wav|50`."""
    source = tmp_path / "mimic"
    texts = ["Дождь кончился к вечеру.", "Он сказал: да | нет.", "Поздно.", "Она вышла.", "Пойдём."]
    for number in range(5):
        write_audio(source / f"u0{number}.wav", number)
    lines = [f"u0{n}.wav|{text}|{len(text)}" for n, text in enumerate(texts)]
    write_lines(source / name, *lines)
    # What an earlier training left behind says nothing of the columns.
    config = {"audio": {"sample_rate": 22050}, "num_speakers": 5, "espeak": {"voice": "ru"}}
    write_lines(source / "config.json", json.dumps(config))
    imported = import_source(source)
    assert imported.texts == [text.replace(" |", "") for text in texts]
    assert imported.speakers == [None] * 5
    assert "num_speakers" not in imported.config


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("cp1251", "Windows-1251"), ("utf-16", "UTF-16"), ("cp1252", "Windows-1252")],
)
def test_other_encodings_are_read_with_a_note(
    tmp_path: Path,
    write_audio: Write,
    import_source,
    caplog: pytest.LogCaptureFixture,
    encoding: str,
    said: str,
) -> None:
    source = tmp_path / f"of {encoding}"
    texts = ["Déjà vu à Nîmes.", "Un été."] if encoding == "cp1252" else ["Он ушёл.", "Ночь."]
    for number, _ in enumerate(texts):
        write_audio(source / f"{number}.wav", number)
    lines = "\r".join(f"{number}|{text}" for number, text in enumerate(texts))
    (source / "metadata.csv").write_bytes(lines.encode(encoding))
    assert import_source(source).texts == texts
    [message] = caplog.messages
    assert message.endswith(f"metadata.csv is not UTF-8; it is read as {said}.")


def test_pairs_and_a_folder_a_speaker(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "pairs"
    for speaker, ending in (("anna", "flac"), ("boris", "wav")):
        for number in (1, 2):
            write_audio(source / speaker / f"{number}.{ending}", number)
    write_lines(source / "anna/1.txt", "Раз.")
    write_lines(source / "anna/2.lab", "Два.")
    write_lines(source / "boris/1.txt", "Три.")
    assert find_format(source).name == "pairs"
    imported = import_source(source)
    assert imported.names == ["anna_1.wav", "anna_2.wav", "boris_1.wav"]
    assert imported.texts == ["Раз.", "Два.", "Три."]
    assert imported.speakers == ["anna", "anna", "boris"]
    assert imported.config["num_speakers"] == 2
    assert imported.reasons == ["no text file"]
    one = import_source(source, tmp_path / "one", is_one_speaker=True)
    assert one.names == ["1.wav", "2.wav", "1-2.wav"]
    assert "num_speakers" not in one.config


def test_pairs_in_folders_beside_each_other(
    tmp_path: Path, write_audio: Write, import_source
) -> None:
    write_audio(tmp_path / "s/wav/a.wav")
    write_lines(tmp_path / "s/txt/a.txt", "Текст.")
    assert import_source(tmp_path / "s").texts == ["Текст."]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_with_a_header(
    tmp_path: Path, write_audio: Write, import_source, delimiter: str
) -> None:
    source = tmp_path / "csv"
    for number in (1, 2):
        write_audio(source / f"audio/{number}.wav", number)
    header = delimiter.join(("Speaker_ID", "path", "Sentence"))
    first = delimiter.join(("7", "audio/1.wav", '"Да, ""это""; он | она,\nи всё."'))
    second = delimiter.join(("8", "2", "Без кавычек."))
    broken = delimiter.join(("8", "2", "Лишняя", "запятая"))
    write_lines(source / "list.csv", f"\ufeff{header}", first, second, broken)
    assert find_format(source).name == "csv"
    imported = import_source(source)
    assert imported.texts == ['Да, "это"; он она, и всё.', "Без кавычек."]
    assert imported.speakers == ["7", "8"]
    assert imported.reasons == ["wrong number of columns"]
    (change,) = imported.journal["changes"]
    assert "\n" in change["before"]
    assert change["after"] == imported.texts[0]


def test_russian_headers_and_subfolders(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "студия"
    for number in (1, 2):
        write_audio(source / f"записи/день {number}/U0{number}.WAV", number, format="WAV")
    rows = ["Имя файла;Текст;Диктор", "u01.wav;Раз.;Анна", r"D:\студия\u02.wav;Два.;Борис"]
    (source / "список.csv").parent.mkdir(exist_ok=True)
    (source / "список.csv").write_bytes("\r\n".join(rows).encode("cp1251"))
    imported = import_source(source)
    assert imported.texts == ["Раз.", "Два."]
    assert imported.speakers == ["Анна", "Борис"]
    assert imported.report.columns == "audio=Имя файла, text=Текст, speaker=Диктор"


def test_csv_without_a_header(tmp_path: Path, write_audio: Write, import_source) -> None:
    """As recording studios write it: the text in quotes, for the sake of its commas."""
    source = tmp_path / "studio"
    for number in range(3):
        write_audio(source / f"wav/u0{number}.wav", number)
    texts = ["Да, он ушёл.", 'Она сказала: ""нет"".', "Ночь, улица, фонарь."]
    write_lines(source / "list.csv", *(f'"u0{n}.wav","{text}"' for n, text in enumerate(texts)))
    assert find_format(source).name == "csv"
    assert import_source(source).texts == [text.replace('""', '"') for text in texts]


def test_csv_with_named_columns(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "csv"
    write_audio(source / "a.wav")
    table = write_lines(source / "x.csv", "звук,слова", "a.wav,Текст.")
    said = r"--columns audio=NAME,text=NAME \(there are: звук, слова\)"
    with pytest.raises(DatasetError, match=said):
        import_source(source, format_name="csv")
    with pytest.raises(DatasetError, match=f"{said}; name the language, too: --language"):
        import_source(source, format_name="csv", language=None)
    read = ReadOptions(columns=parse_columns("audio=звук, text=слова"))
    assert import_source(table, format_name="csv", read=read).texts == ["Текст."]
    read = ReadOptions(columns=parse_columns("audio=звук,text=слова,speaker=кто"))
    with pytest.raises(DatasetError, match='no column "кто"'):
        import_source(table, tmp_path / "other", format_name="csv", read=read)
    with pytest.raises(DatasetError, match="audio=NAME,text=NAME,speaker=NAME is wanted"):
        parse_columns("sound=a")


@pytest.mark.parametrize("key", ["audio_path", "audio_filepath", "audio"])
def test_json_lines(tmp_path: Path, write_audio: Write, import_source, key: str) -> None:
    source = tmp_path / "jsonl"
    paths = [write_audio(source / f"clips/{number}.wav", number) for number in (1, 2)]
    rows = [
        {key: "clips/1.wav", "text": "Раз.", "speaker": "a", "duration": 1.5},
        {key: str(paths[1].absolute()), "text": "Два.", "speaker": 2},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    write_lines(source / "train.jsonl", *lines, "{broken")
    assert find_format(source).name == "jsonl"
    imported = import_source(source)
    assert imported.texts == ["Раз.", "Два."]
    assert imported.speakers == ["a", "2"]
    assert imported.reasons == ["no JSON object"]


def test_the_older_trainer_s_dataset(tmp_path: Path, write_audio: Write, import_source) -> None:
    """dataset.jsonl with paths of another machine, and the language in config.json beside it."""
    source = tmp_path / "training"
    write_audio(source / "wav/0001.wav")
    row = {
        "text": "Раз.",
        "audio_path": "/home/anna/dataset/wav/0001.wav",
        "audio_norm_path": "/home/anna/training/cache/22050/ab.pt",
        "phoneme_ids": [1, 0, 14, 0, 2],
    }
    write_lines(source / "dataset.jsonl", json.dumps(row, ensure_ascii=False))
    write_lines(source / "config.json", json.dumps({"espeak": {"voice": "uk"}}))
    imported = import_source(source, language=None)
    assert imported.texts == ["Раз."]
    assert imported.config["espeak"] == {"voice": "uk"}


def test_m4a_called_wav(tmp_path: Path, write_audio: Write, import_source) -> None:
    import av

    source = tmp_path / "phone"
    samples, rate = soundfile.read(write_audio(tmp_path / "a.wav"), dtype="float32")
    source.mkdir()
    with av.open(str(source / "a.wav"), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux([*stream.encode(frame), *stream.encode(None)])
    write_lines(source / "metadata.csv", "a.wav|Текст.")
    with pytest.raises(DatasetError, match=r"a\.wav is M4A by its content; .* import` makes WAVs"):
        decode(source / "a.wav")
    assert import_source(source).rates == [22050]


@pytest.mark.parametrize(
    ("folders", "are_speakers"),
    [
        (("0000000001_0300000050_General", "0000000051_0300000100_Chat"), False),
        (("part1", "part2"), False),
        (("часть 1", "часть 2"), False),
        (("1272", "84"), True),
        (("p225", "p226"), True),
        (("anna", "part1"), True),
    ],
)
def test_groups_of_prompts_are_no_speakers(
    tmp_path: Path, write_audio: Write, import_source, folders: tuple[str, str], are_speakers: bool
) -> None:
    source = tmp_path / "studio"
    for number, folder in enumerate(folders):
        write_audio(source / folder / f"{number}.flac", number)
        write_lines(source / folder / f"{number}.txt", "Текст.")
    imported = import_source(source)
    assert imported.speakers == (list(folders) if are_speakers else [None, None])
    assert bool(imported.report.notes) != are_speakers


def test_vctk_takes_the_first_microphone(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "VCTK"
    for speaker in ("p225", "p226"):
        for microphone in ("mic1", "mic2"):
            name = f"wav48_silence_trimmed/{speaker}/{speaker}_001_{microphone}.flac"
            write_audio(source / name, rate=48000 if microphone == "mic1" else 96000)
        write_lines(source / f"txt/{speaker}/{speaker}_001.txt", f"Я {speaker}.")
    write_audio(source / "wav48_silence_trimmed/p225/p225_002_mic2.flac", 1, rate=48000)
    assert find_format(source).name == "vctk"
    imported = import_source(source)
    assert imported.names == ["p225_001.wav", "p226_001.wav"]
    assert imported.speakers == ["p225", "p226"]
    assert imported.rates == [48000, 48000]
    assert imported.config["audio"]["sample_rate"] == 22050
    assert imported.reasons == ["no text file"]


@pytest.mark.parametrize("ending", ["flac", "opus"])
def test_mls(tmp_path: Path, write_audio: Write, import_source, ending: str) -> None:
    source = tmp_path / "mls_russian_opus"
    options = {"rate": 48000, "format": "OGG", "subtype": "OPUS"} if ending == "opus" else {}
    for split, name in (("train", "10_20_000001"), ("dev", "11_21_000002")):
        speaker, book, _ = name.split("_")
        write_audio(source / f"{split}/audio/{speaker}/{book}/{name}.{ending}", **options)
        write_lines(source / f"{split}/transcripts.txt", f"{name}\tтекст {split}")
    assert find_format(source).name == "mls"
    imported = import_source(source)
    assert imported.names == ["10_20_000001.wav", "11_21_000002.wav"]
    assert imported.texts == ["текст train", "текст dev"]
    assert imported.speakers == ["10", "11"]


def test_common_voice(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "cv-corpus/ru"
    write_audio(source / "clips/common_voice_ru_1.mp3", rate=32000, format="MP3")
    write_audio(source / "clips/common_voice_ru_2.mp3", 1, rate=32000, format="MP3")
    write_lines(
        source / "validated.tsv",
        "client_id\tpath\tsentence\tlocale",
        f'{"ab" * 64}\tcommon_voice_ru_1.mp3\t«Да», "сказал он.\tru',
        f"{'ab' * 5}{'cd' * 59}\tcommon_voice_ru_2\tНет.\tru",
    )
    write_lines(source / "invalidated.tsv", "client_id\tpath\tsentence\tlocale")
    assert find_format(source).name == "common_voice"
    imported = import_source(source, language=None)
    # No quoting in these files: an unbalanced quote swallows nothing.
    assert imported.texts == ['«Да», "сказал он.', "Нет."]
    assert imported.speakers == ["ab" * 5 + "a", "ab" * 5 + "c"]
    assert imported.rates == [32000, 32000]
    assert imported.config["espeak"] == {"voice": "ru"}


def test_festvox(tmp_path: Path, write_audio: Write, import_source) -> None:
    source = tmp_path / "msu_ru"
    write_audio(source / "wav/ru_0001.wav", rate=16000)
    text = r'( ru_0001 "В+ол \"старый\"." )'
    write_lines(source / "etc/txt.done.data", text, "( ru_0002 без кавычек )")
    assert find_format(source).name == "festvox"
    imported = import_source(source)
    assert imported.texts == ['В+ол "старый".']
    assert imported.config["audio"]["sample_rate"] == 16000
    assert imported.reasons == ['no ( name "text" )']


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_audiofolder(tmp_path: Path, write_audio: Write, import_source, kind: str) -> None:
    source = tmp_path / "hf"
    for split in ("train", "test"):
        write_audio(source / split / "a.wav", 1 if split == "test" else 0)
        if kind == "csv":
            write_lines(source / split / "metadata.csv", "file_name,transcription", "a.wav,Да.")
        else:
            row = '{"file_name": "a.wav", "transcription": "Да."}'
            write_lines(source / split / "metadata.jsonl", row)
    assert find_format(source).name == "hugging_face"
    assert import_source(source).names == ["a.wav", "a-2.wav"]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_recordings_in_tables(tmp_path: Path, write_audio: Write, import_source, kind: str) -> None:
    import pyarrow
    import pyarrow.parquet

    source = tmp_path / "hf"
    clips = [
        write_audio(tmp_path / "a.flac"),
        write_audio(tmp_path / "b.mp3", 1, rate=24000, format="MP3"),
        write_audio(tmp_path / "c.wav", 2, rate=96000, subtype="FLOAT"),
    ]
    cells = [{"bytes": clip.read_bytes(), "path": clip.name} for clip in clips]
    columns = {
        "speech": [*cells, {"bytes": b"no audio", "path": "d.wav"}],
        "text": ["Раз.", "Два.", "Три.", "Четыре."],
        "speaker_id": [1, 2, 1, 2],
    }
    table = pyarrow.table(columns)
    (source / "data").mkdir(parents=True)
    if kind == "parquet":
        path = source / "data/train-00000-of-00001.parquet"
        pyarrow.parquet.write_table(table, path, row_group_size=2)
    else:
        write_lines(source / "data/dataset_info.json", "{}")
        path = source / "data/data-00000-of-00001.arrow"
        with pyarrow.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    assert find_format(source).name == "hugging_face"
    imported = import_source(source)
    assert imported.names == ["1_a.wav", "2_b.wav", "1_c.wav"]
    assert imported.texts == ["Раз.", "Два.", "Три."]
    assert imported.speakers == ["1", "2", "1"]
    assert imported.rates == [22050, 24000, 96000]
    assert imported.reasons == ["undecodable"]


def test_damaged_table_ends_with_a_sentence(tmp_path: Path, import_source) -> None:
    source = tmp_path / "hf"
    source.mkdir()
    (source / "train.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DatasetError, match=r"train\.parquet cannot be read .*fetch the file again"):
        import_source(source)


def test_the_structure_itself(
    two_speaker_dataset: Path, speech_dataset: Path, import_source, tmp_path: Path
) -> None:
    assert find_format(speech_dataset).name == "piper"
    imported = import_source(speech_dataset, language=None)
    before = (speech_dataset / "metadata.csv").read_text(encoding="utf-8")
    assert (imported.folder / "metadata.csv").read_text(encoding="utf-8") == before
    for path in (speech_dataset / "wavs").iterdir():
        assert (imported.folder / "wavs" / path.name).read_bytes() == path.read_bytes()
    two = import_source(two_speaker_dataset, tmp_path / "two", language=None)
    assert two.config["num_speakers"] == 2
    assert two.speakers[:2] == ["speaker1", "speaker2"]
    assert two.config["language"] == {"code": "ru"}, "what the source's file says is kept"


def test_every_format_has_a_test_here() -> None:
    # What is imported of it: tests/test_hub.py.
    assert find_format(Path("hf://datasets/anna/speech")).name == "hub"
    tested = Path(__file__).read_text(encoding="utf-8")
    for one in FORMATS:
        assert f'.name == "{one.name}"' in tested


def test_sources_that_are_none_or_several(tmp_path: Path, write_audio: Write) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        find_format(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"none of the formats ljspeech, .*--format"):
        find_format(tmp_path)
    write_audio(tmp_path / "a.wav")
    write_lines(tmp_path / "a.txt", "Текст.")
    write_lines(tmp_path / "list.csv", "file,text", "a.wav,Текст.")
    with pytest.raises(DatasetError, match=r"looks like pairs and csv; say which with --format"):
        find_format(tmp_path)
    assert find_format(tmp_path, "common-voice").name == "common_voice"
    with pytest.raises(DatasetError, match='no format "vtck"; pass one of ljspeech'):
        find_format(tmp_path, "vtck")
