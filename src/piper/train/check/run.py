"""Checks a dataset: measures its recordings and texts, then asks the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from piper.config import PhonemeType, VoiceConfig
from piper.errors import ConfigError
from piper.train.check import rules_audio, rules_set, rules_text
from piper.train.check.aligning import load_heard, measure_fits, recognise_recordings
from piper.train.check.entries import Entry, add_measures
from piper.train.check.issues import CheckReport, Issue, Rule
from piper.train.check.measuring import measure_audio, measure_texts
from piper.train.check.terminal import count_things
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
        recogniser: A speech recogniser that hears every recording (`recognisers.SPECIFICATIONS`).
    """
    hear = load_recogniser(recogniser, settings.espeak_voice) if recogniser else None
    structure = rules_set.read_structure(settings.csv_path, settings.audio_dir)
    entries = structure.entries
    settings = count_speakers(settings, entries)
    if structure.layout.find(IDS) is not None:
        settings = replace(settings, dataset_type=PHONEME_IDS)
    voice = create_voice(settings, entries)
    paths = list(dict.fromkeys(e.audio_path for e in entries if e.audio_path is not None))
    measured = measure_audio(paths, settings.cache_dir, num_processes)
    audio = {path: m for path, m in measured.items() if not isinstance(m, str)}
    errors = {path: m for path, m in measured.items() if isinstance(m, str)}
    texts = measure_texts(entries, settings, voice, num_processes)
    entries = add_measures(entries, audio, texts)
    issues = [
        *structure.issues,
        *ask_rules(settings, entries, errors),
        *(rules_text.find_stresses(entries) if has_stress else ()),
    ]
    report = _create_report(settings, entries, issues)
    if structure.layout not in DOCUMENTED:
        report = _include(report, [], "columns", str(structure.layout))
    report = _include_fits(report, settings, num_processes, is_quick=is_quick)
    if hear is not None and recogniser is not None:
        heard = recognise_recordings(entries, settings.cache_dir, hear, recogniser)
    else:
        recogniser, heard = load_heard(entries, settings.cache_dir)
    return _include_heard(report, recogniser, heard) if recogniser else report


def _include_heard(report: CheckReport, recogniser: str, heard: Mapping[int, str]) -> CheckReport:
    """Return the report with what a recogniser heard, now or in an earlier check."""
    issues = rules_text.find_in_heard(report.entries, heard)
    fact = rules_text.describe_heard(report.entries, heard)
    report = _include(report, issues, "recognised", f"{fact} ({recogniser})")
    missing = sum(bool(e.audio) and e.line not in heard for e in report.entries)
    if not missing:
        return report
    what = f"what {recogniser} hears in {count_things(missing, 'recording')} (--recogniser)"
    return replace(report, not_looked_at=(*report.not_looked_at, what))


def _include(report: CheckReport, issues: list[Issue], name: str, fact: str) -> CheckReport:
    """Return the report with more issues, and a fact of the set."""
    facts = {title: dict(values) for title, values in report.facts.items()}
    facts["The set"][name] = fact
    return replace(report, issues=[*report.issues, *issues], facts=facts)


def ask_rules(
    settings: DataSettings, entries: Sequence[Entry], errors: Mapping[Path, str]
) -> list[Issue]:
    """Return what is wrong with recordings, texts, how they match, and the set."""
    return [
        *rules_audio.find_in_audio(
            entries,
            errors,
            sample_rate=settings.sample_rate,
            segment_seconds=settings.segment_size / settings.sample_rate,
        ),
        *rules_text.find_in_texts(
            entries,
            language=settings.espeak_voice,
            writes_numbers=bool(settings.text_options.write_numbers),
            has_stress_marks=settings.has_stress_marks,
            has_spelling=settings.dataset_type != PHONEME_IDS
            and settings.phoneme_type is not PhonemeType.TEXT,
        ),
        *rules_audio.find_in_matches(
            entries, frame_seconds=settings.hop_length / settings.sample_rate
        ),
        *rules_set.find_in_set(entries),
    ]


def _include_fits(
    report: CheckReport, settings: DataSettings, num_processes: int | None, *, is_quick: bool
) -> CheckReport:
    """Return the report with what an aligner says of the texts, or said in an earlier check."""
    fits = measure_fits(
        report.entries,
        settings.cache_dir,
        doubtful_lines=report.lines_with_errors,
        num_processes=num_processes,
        is_kept_only=is_quick,
    )
    issues = rules_text.find_in_fits(report.entries, fits)
    if fits is not None or not is_quick:
        report = _include(report, issues, "texts and recordings", rules_text.describe_fits(fits))
    known = fits.fits if fits is not None else {}
    missing = sum(bool(e.audio) and e.line not in known for e in report.entries)
    if not missing or (fits is not None and not is_quick):
        return report  # what cannot be aligned was looked at
    texts = count_things(len(report.entries), "text")
    what = f"whether {missing} of {texts} are what is said (too little speech for an aligner)"
    if is_quick:
        what = f"whether {missing} of {texts} are what is said (--quick)"
    return replace(report, not_looked_at=(*report.not_looked_at, what))


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


def _create_report(
    settings: DataSettings, entries: list[Entry], issues: list[Issue]
) -> CheckReport:
    usable = rules_set.find_usable(entries)
    held_out = rules_set.choose_held_out(usable, settings)
    lines = {entry.line for entry in held_out}
    training = [entry for entry in usable if entry.line not in lines]
    issues = [*issues, *rules_set.find_in_split(training, held_out)]
    facts = {
        "The set": rules_set.describe_set(entries),
        "Validation": rules_set.describe_split(held_out, settings.num_test_examples),
        "Training": describe_training(settings, training),
    }
    tables = [rules_set.tabulate_phonemes(entries)]
    if settings.num_speakers > 1:
        tables.insert(0, rules_set.tabulate_speakers(entries))
    names = [entry.name for entry in held_out]
    folder = settings.csv_path.parent
    return CheckReport(folder, entries, issues, facts, tables, names)


def leave_out_rules(report: CheckReport, names: str) -> CheckReport:
    """Return a report without the issues of some rules."""
    wanted = [name for name in (part.strip() for part in names.split(",")) if name]
    known = {rule.name for rule in RULES}
    for name in wanted:
        if name not in known:
            raise ConfigError(
                f'There is no rule "{name}"; choose from {", ".join(sorted(known))} (--ignore).'
            )
    kept = [issue for issue in report.issues if issue.rule.name not in wanted]
    return replace(report, issues=kept)
