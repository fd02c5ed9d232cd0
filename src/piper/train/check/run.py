"""Checks a dataset: measures its recordings and texts, then asks the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from piper.config import VoiceConfig
from piper.errors import ConfigError
from piper.progress import count_things
from piper.train.check import rules_audio, rules_set, rules_text
from piper.train.check.aligning import load_recognised, measure_fits, recognise_recordings
from piper.train.check.entries import Entry, add_measures
from piper.train.check.issues import CheckReport, Issue, Rule
from piper.train.check.measuring import measure_audio, measure_texts
from piper.train.check.training import describe_training
from piper.train.data.dataset_config import create_voice_config
from piper.train.data.metadata import IDS, PHONEME_IDS, Row, create_layout
from piper.train.data.settings import DataSettings
from piper.train.recognisers import load_recogniser

RULES = tuple(
    value
    for module in (rules_set, rules_audio, rules_text)
    for value in vars(module).values()
    if isinstance(value, Rule)
)
"""All that a check looks for."""
DOCUMENTED = [
    create_layout(count, has_ids=has_ids) for count in (1, 2) for has_ids in (False, True)
]
"""Columns that need no word."""


def check_dataset(
    settings: DataSettings,
    *,
    num_processes: int | None = None,
    has_stress: bool = False,
    is_quick: bool = False,
    recogniser: str | None = None,
) -> CheckReport:
    """Check a dataset as training would read it.

    Args:
        settings: Of the dataset; the number of speakers is taken from its columns.
        num_processes: None takes one a core for more than a few recordings.
        has_stress: Whether Russian stresses are compared with those of silero-stress.
        is_quick: Whether the aligner is left out, which takes long. What an earlier check has
            measured of unchanged lines counts all the same.
        recogniser: A speech recogniser for every recording (`recognisers.SPECIFICATIONS`).
    """
    recognise = load_recogniser(recogniser, settings.espeak_voice) if recogniser else None
    structure = rules_set.read_structure(settings.csv_path, settings.audio_dir)
    settings = count_speakers(settings, structure.entries)
    if structure.layout.find(IDS) is not None:
        settings = replace(settings, dataset_type=PHONEME_IDS)
    paths = dict.fromkeys(e.audio_path for e in structure.entries if e.audio_path is not None)
    audio, errors = measure_audio(list(paths), settings.cache_dir, num_processes)
    voice = create_voice(settings, structure.entries)
    texts = measure_texts(structure.entries, settings, voice, num_processes)
    entries = add_measures(structure.entries, audio, texts)
    report = _create_report(settings, entries)
    report.issues += [*structure.issues, *ask_rules(settings, entries, errors)]
    if has_stress:
        report.issues += rules_text.find_stresses(entries)
    if structure.layout not in DOCUMENTED:
        report.facts["The set"]["columns"] = str(structure.layout)
    _include_fits(report, settings, num_processes, is_quick=is_quick)
    if recogniser and recognise:
        recognised = recognise_recordings(entries, settings.cache_dir, recognise, recogniser)
    else:
        recogniser, recognised = load_recognised(entries, settings.cache_dir)
    if recogniser:
        _include_recognised(report, recogniser, recognised)
    return report


def _create_report(settings: DataSettings, entries: list[Entry]) -> CheckReport:
    usable = rules_set.find_usable(entries)
    held_out = rules_set.choose_held_out(usable, settings)
    lines = {entry.line for entry in held_out}
    training = [entry for entry in usable if entry.line not in lines]
    tables = [rules_set.tabulate_phonemes(entries)]
    if settings.num_speakers > 1:
        tables.insert(0, rules_set.tabulate_speakers(entries))
    return CheckReport(
        settings.csv_path.parent,
        entries,
        rules_set.find_in_split(training, held_out),
        facts={
            "The set": rules_set.describe_set(entries),
            "Validation": rules_set.describe_split(held_out, settings.num_test_examples),
            "Training": describe_training(settings, training),
        },
        tables=tables,
        held_out=[entry.name for entry in held_out],
    )


def ask_rules(
    settings: DataSettings, entries: Sequence[Entry], errors: Mapping[Path, str]
) -> list[Issue]:
    """Return what is wrong with recordings, texts, how they match, and the set."""
    return [
        *rules_audio.find_in_audio(entries, errors, settings),
        *rules_text.find_in_texts(entries, settings),
        *rules_audio.find_in_matches(entries, settings),
        *rules_set.find_in_set(entries),
    ]


def _include_fits(
    report: CheckReport, settings: DataSettings, num_processes: int | None, *, is_quick: bool
) -> None:
    """Add what an aligner says of the texts, or said in an earlier check."""
    fits = measure_fits(
        report.entries,
        settings.cache_dir,
        unfit_lines=report.lines_with_errors,
        num_processes=num_processes,
        is_cached_only=is_quick,
    )
    report.issues += rules_text.find_in_fits(report.entries, fits)
    if fits is not None or not is_quick:
        report.facts["The set"] |= {"texts and recordings": rules_text.describe_fits(fits)}
    known = fits.fits if fits is not None else {}
    missing = sum(bool(e.audio) and e.line not in known for e in report.entries)
    if not missing or (fits is not None and not is_quick):
        return  # what cannot be aligned was looked at
    texts = count_things(len(report.entries), "text")
    what = f"whether {missing} of {texts} are what is said (too little speech for an aligner)"
    if is_quick:
        what = f"whether {missing} of {texts} are what is said (--quick)"
    report.not_looked_at.append(what)


def _include_recognised(
    report: CheckReport, recogniser: str, recognised: Mapping[int, str]
) -> None:
    """Add what a recogniser understood, now or in an earlier check."""
    issues, fact = rules_text.check_recognised(report.entries, recognised)
    report.issues += issues
    report.facts["The set"]["recognised"] = f"{fact} ({recogniser})"
    if missing := sum(bool(e.audio) and e.line not in recognised for e in report.entries):
        what = (
            f"what {recogniser} recognises in {count_things(missing, 'recording')} (--recogniser)"
        )
        report.not_looked_at.append(what)


def count_speakers(settings: DataSettings, entries: Sequence[Entry]) -> DataSettings:
    """Return the settings with as many speakers as the lines name, whatever config.json says."""
    speakers = {entry.speaker for entry in entries}
    return replace(settings, num_speakers=max(1, len(speakers)), speaker_id_map=None)


def create_voice(settings: DataSettings, entries: Sequence[Entry]) -> VoiceConfig:
    """Return the voice's JSON as training would begin it."""
    return create_voice_config(count_speakers(settings, entries), entries_to_rows(entries))


def entries_to_rows(entries: Sequence[Entry]) -> list[Row]:
    """Return the lines that have a recording as training's rows."""
    return [
        Row(entry.line, entry.audio_path, entry.text, entry.speaker, None)
        for entry in entries
        if entry.audio_path is not None
    ]


def ignore_rules(report: CheckReport, names: str) -> CheckReport:
    """Return a report without the issues of some rules, named with commas between them."""
    ignored = [name for name in (part.strip() for part in names.split(",")) if name]
    known = {rule.name for rule in RULES}
    for name in ignored:
        if name not in known:
            raise ConfigError(
                f'There is no rule "{name}"; choose from {", ".join(sorted(known))} (--ignore).'
            )
    return replace(report, issues=[one for one in report.issues if one.rule.name not in ignored])
