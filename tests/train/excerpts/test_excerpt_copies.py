"""Which phrases are chosen, and the copy with them, where the phrases are known; and mistakes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from piper.errors import DatasetError
from piper.train.check.issues import CheckReport
from piper.train.check.measuring import measure_decoded
from piper.train.check.run import check_dataset
from piper.train.data.audio import DecodedAudio
from piper.train.data.settings import DataSettings, resolve_settings
from piper.train.excerpts import cli
from piper.train.excerpts.excerpts import Candidate, Phrase, choose_excerpts, cut_phrase, write_copy


@pytest.fixture(scope="module")
def checked(two_speaker_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> CheckReport:
    """A check of eight recordings by two speakers, and of a line without a recording."""
    folder = tmp_path_factory.mktemp("chosen") / "dataset"
    shutil.copytree(two_speaker_dataset, folder)
    with (folder / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write("gone.wav|speaker1|Её нет.\n")
    return check_dataset(find_settings(folder), is_quick=True)


def find_settings(folder: Path) -> DataSettings:
    return resolve_settings(dataset_dir=folder)


def create(report: CheckReport, index: int, text: str, **changes: object) -> Candidate:
    """Return a phrase that takes the whole of a recording."""
    entry = report.entries[index]
    assert entry.audio_path is not None
    seconds = report.audio[entry.audio_path].seconds
    values = {"num_words": 1, "score": -0.2, "ends_sentence": True, **changes}
    phrase = replace(Phrase(0.0, seconds, 1, text, 0.0, True), **values)  # type: ignore[arg-type]
    samples, rate = cut_phrase(entry.audio_path, phrase)
    decoded = DecodedAudio(samples[:, np.newaxis], rate, "PCM_16", len(samples))
    return Candidate(entry, phrase, measure_decoded(decoded))


def choose(report: CheckReport, candidates: list[Candidate], most: int | None = 9) -> list[str]:
    chosen = choose_excerpts(candidates, report, find_settings(report.folder), most)
    return [one.phrase.text for one in chosen]


def test_ends_of_sentences_come_first_then_few_words_then_good_ones(checked: CheckReport) -> None:
    candidates = [
        create(checked, 0, "Снег шёл.", ends_sentence=False, score=-0.1),
        create(checked, 1, "Тихий белый вечер.", num_words=3, score=-0.15),
        create(checked, 2, "Вечер.", score=-0.3),
        create(checked, 3, "Утро.", score=-0.2),
    ]
    found = [choose(checked, candidates, most) for most in (1, 2, 3, 4)]
    assert found[0] == ["Утро."]
    assert found[1] == ["Вечер.", "Утро."]
    assert found[2] == ["Тихий белый вечер.", "Вечер.", "Утро."]
    assert len(found[3]) == 4


def test_no_text_stands_twice_for_a_speaker(checked: CheckReport) -> None:
    assert checked.entries[0].text == "Привет, это тест."
    candidates = [
        create(checked, 2, "Утро.", score=-0.3),
        create(checked, 4, "утро!", score=-0.2),
        create(checked, 5, "Утро.", score=-0.2),  # by the other speaker
        create(checked, 6, "Привет это тест."),  # which a recording says already
    ]
    assert choose(checked, candidates) == ["утро!", "Утро."]


def test_what_the_check_would_find_fault_with_is_left_out(checked: CheckReport) -> None:
    good, quiet = create(checked, 2, "Утро."), create(checked, 3, "Вечер.")
    quiet = replace(quiet, measures=replace(quiet.measures, loud_db=-40.0, speech_db=-50.0))
    clipped = create(checked, 4, "Ночь.")
    clipped = replace(clipped, measures=replace(clipped.measures, clipped_share=0.1))
    foreign = create(checked, 5, "Windows.")
    assert choose(checked, [good, quiet, clipped, foreign]) == ["Утро."]


def test_a_poor_fit_is_left_out(checked: CheckReport) -> None:
    words = ("Утро.", "Вечер.", "Ночь.", "День.")
    good = [create(checked, number, word) for number, word in enumerate(words)]
    assert choose(checked, [*good, create(checked, 5, "Зима.", score=-2.0)]) == list(words)


def test_by_default_excerpts_take_a_tenth_of_the_time(checked: CheckReport) -> None:
    whole = sum(measures.seconds for measures in checked.audio.values())
    short = [
        replace(
            one,
            measures=replace(
                one.measures,
                seconds=whole / 25,
                start_silence_seconds=0.2,
                end_silence_seconds=0.2,
            ),
        )
        for one in (create(checked, n, f"{'а' * n}х.") for n in range(1, 8))
    ]
    assert len(choose(checked, short, None)) == 2


def test_the_copy_has_speakers_and_silence_at_both_ends(
    checked: CheckReport, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    cut = create(checked, 1, "Утро.", start_seconds=0.1, end_seconds=1.0)
    write_copy(checked, [cut], checked.folder / "config.json", out)
    old = (checked.folder / "metadata.csv").read_text(encoding="utf-8").splitlines()
    new = (out / "metadata.csv").read_text(encoding="utf-8").splitlines()
    assert new == [*old[:-1], "utterance002-w01.wav|speaker2|Утро."]
    for line in old[:-1]:
        name = line.split("|")[0]
        original = (checked.folder / "wavs" / name).read_bytes()
        assert (out / "wavs" / name).read_bytes() == original
    changes = json.loads((out / "changes.json").read_text(encoding="utf-8"))
    assert [(one["name"], one["what"]) for one in changes] == [("gone.wav", "left out")]
    (listed,) = json.loads((out / "excerpts.json").read_text(encoding="utf-8"))
    assert listed["source"] == "utterance002.wav"
    assert (listed["start"], listed["end"], listed["words"]) == (0.1, 1.0, 1)
    whole, rate = soundfile.read(checked.folder / "wavs" / "utterance002.wav", dtype="int16")
    samples, _ = soundfile.read(out / "wavs" / "utterance002-w01.wav", dtype="int16")
    first, fade = round(0.1 * rate), round(0.005 * rate)
    source = whole[first : first + len(samples)]
    assert np.array_equal(samples[fade:-fade], source[fade:-fade])
    assert samples[0] == samples[-1] == 0


def test_a_copy_that_fails_leaves_nothing(checked: CheckReport, tmp_path: Path) -> None:
    cut = create(checked, 1, "Утро.")
    gone = replace(cut, source=replace(cut.source, audio_path=tmp_path / "gone.wav"))
    with pytest.raises(DatasetError, match="cannot be decoded any more; replace it"):
        write_copy(checked, [gone], checked.folder / "config.json", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_one_sentence(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for arguments, said in (
        ([str(dataset)], "The copy has no folder; name one after the dataset, or pass --list."),
        ([str(dataset), str(tmp_path / "full")], "is there already; name a new folder."),
        ([str(dataset), "--list", "--words=0"], "--words=0 leaves nothing to cut; give 1 or more."),
        ([str(dataset), str(tmp_path / "out")], "Where words lie could not be determined from"),
        ([str(tmp_path / "none"), "--list"], "The dataset's folder"),
    ):
        assert cli.main(arguments) == 1
        messages = capsys.readouterr()
        assert messages.out == ""
        (error,) = [line for line in messages.err.splitlines() if line.startswith("error: ")]
        assert said in error
    assert not (tmp_path / "out").exists()
