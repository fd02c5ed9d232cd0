"""What is held out, said before anything is prepared: the choice is training's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from test_rules_set import create_set, names

from piper.train.check.entries import Entry, TextMeasures
from piper.train.check.rules_set import choose_held_out, describe_split, find_in_split, find_usable
from piper.train.data.module import VitsDataModule
from piper.train.data.settings import DataSettings, resolve_settings

HERE = Path("recordings")
SETTINGS = DataSettings(
    **dict.fromkeys(("csv_path", "audio_dir", "cache_dir"), HERE),
    config_path=HERE,
    voice_name="voice",
    espeak_voice="ru",
)


def test_the_choice_is_that_of_training(dataset: Path) -> None:
    """Without preparing; signs of stress are taken out as training takes them out."""
    text = (dataset / "metadata.csv").read_text(encoding="utf-8")
    (dataset / "metadata.csv").write_text(text.replace("о", "+о"), encoding="utf-8")
    config = json.loads((dataset / "config.json").read_text(encoding="utf-8"))
    config["text_options"] = {"stress": "off"}
    (dataset / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for flags in ({}, {"validation_split": 0.4, "seed": 5}):
        settings = resolve_settings(dataset_dir=dataset, **flags)
        lines = (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()
        entries = []
        for number, line in enumerate(lines, 1):
            name, said = line.split("|")
            entries.append(Entry(number, name, dataset / "wavs" / name, None, said))
        split = VitsDataModule(dataset_dir=str(dataset), num_workers=0, **flags).split
        held_out = [entry.line for entry in choose_held_out(entries, settings)]
        assert held_out == [u.row.line for u in split.validation]


def test_lines_that_training_refuses_are_not_in_the_split() -> None:
    entries = create_set([9.0] * 20)
    entries[2] = replace(entries[2], read=None)
    entries[4] = replace(entries[4], audio=None)
    entries.append(Entry(21, "gone.wav", None, None, "нет"))
    usable = find_usable(entries)
    assert [entry.line for entry in usable] == [1, 2, 4, *range(6, 21)]


def test_little_and_nothing() -> None:
    entries = create_set([60.0] * 20)
    held_out = choose_held_out(entries, SETTINGS)
    facts = describe_split(held_out, 5)
    assert facts["held out"] == "2 recordings, 2.0 minutes (--data.validation_split)"
    assert facts["spoken at each validation"] == f"{held_out[0].name}, {held_out[1].name}"
    assert choose_held_out(entries[:1], SETTINGS) == []
    assert choose_held_out(entries, replace(SETTINGS, validation_split=0.0)) == []
    assert describe_split([], 5)["held out"].startswith("none")
    assert find_in_split(entries, []) == []


def test_speakers_of_one_part_only_are_named() -> None:
    speakers: list[str | None] = ["anna", "anna", "boris", "vera", "vera", "vera"]
    entries = create_set([9.0] * 6, speakers)
    issues = find_in_split([entries[0], *entries[3:]], entries[1:3])
    assert [(issue.rule.name, issue.message) for issue in issues] == [
        ("untrained-speaker", "boris"),
        ("unvalidated-speaker", "vera: 3 recordings"),
    ]


def test_a_column_of_texts_has_no_speakers() -> None:
    entries = create_set([9.0] * 20, [f"text {n}" for n in range(20)])
    assert find_in_split(entries[2:], entries[:2]) == []


def test_phonemes_that_training_never_hears_are_named() -> None:
    entries = create_set([9.0] * 4)
    read = TextMeasures(("ɕ", "!", "d"), (), ("щи",), 7)
    entries[1] = replace(entries[1], read=read)
    issues = find_in_split([entries[0], *entries[2:]], [entries[1]])
    assert names(issues) == ["untrained-phonemes"]
    assert issues[0].message == "'ɕ' in 'да'"
    assert find_in_split(entries[1:], [entries[0]]) == []
