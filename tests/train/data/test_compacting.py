"""What is not used any more goes, and nobody who reads or writes meanwhile is disturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prepared import flip_byte, load

from piper.train import prepare_cli
from piper.train.data.cache import PackReader, PackWriter, compact, load_entries, measure_use
from piper.train.data.module import VitsDataModule
from piper.train.data.prepare import prepare_dataset
from piper.train.data.settings import resolve_settings


@pytest.fixture
def dataset(speech_dataset: Path, copy_dataset: Callable[[Path], Path]) -> Path:
    return copy_dataset(speech_dataset)


def test_only_what_is_used_stays(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = resolve_settings(dataset_dir=dataset)
    cache = settings.cache_dir
    for sample_rate in (16000, 24000, 22050):
        (dataset / "config.json").unlink(missing_ok=True)
        other = resolve_settings(dataset_dir=dataset, espeak_voice="ru", sample_rate=sample_rate)
        prepared = prepare_dataset(other)
    for name in (f"{'ab' * 16}.npz", f"manifest-{'01' * 16}.json", "mine.npz", "check-2.jsonl"):
        (cache / name).write_bytes(b"x" * 2_000_000)
    assert len(load_entries(cache)) == 48
    arguments = [str(dataset), "--espeak-voice=ru", "--sample-rate=22050"]
    assert prepare_cli.main(arguments) == 0
    assert "7 MB more are not used here; the flag --compact removes them" in capsys.readouterr().out
    assert prepare_cli.main([*arguments, "--compact"]) == 0
    assert "not used" not in capsys.readouterr().out
    assert set(load_entries(cache)) == {u.key for u in prepared.utterances}
    used, whole = measure_use(cache, {u.key for u in prepared.utterances})
    assert used <= whole < used + 8 * 16
    names = {path.name for path in cache.iterdir() if not path.name.startswith("utterances-")}
    assert names == {"mine.npz", "check-2.jsonl", "prepare.lock"}
    for utterance in prepare_dataset(other).utterances:
        assert len(load(utterance).samples) == utterance.num_samples
    assert capsys.readouterr().err == ""


def test_a_training_goes_on_while_its_cache_is_compacted(dataset: Path) -> None:
    module = VitsDataModule(dataset_dir=str(dataset), batch_size=4, num_workers=0)
    expected = [batch.audio.sum() for batch in module.val_dataloader()]
    cache = module.settings.cache_dir
    stamp = {u.entry.stamp for u in module.split.training}
    PackWriter(cache).append("stale", [], b"x" * 9_000_000)
    compact(cache, {u.key for u in [*module.split.training, *module.split.validation]})
    moved = load_entries(cache)
    assert stamp.isdisjoint(entry.stamp for entry in moved.values())
    assert [batch.audio.sum() for batch in module.val_dataloader()] == expected
    assert load_entries(cache) == moved  # found again, not made anew


def test_a_pack_that_is_written_to_stays(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path)
    first = writer.append("a", [], b"a" * 100)
    compact(tmp_path, set())
    assert load_entries(tmp_path) == {"a": first}
    writer.append("b", [], b"b" * 100)
    writer.close()
    compact(tmp_path, {"b"})
    assert set(load_entries(tmp_path)) == {"b"}
    compact(tmp_path, set())
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_entry_is_not_taken_along(tmp_path: Path) -> None:
    writer = PackWriter(tmp_path)
    entries = [writer.append(key, [], key.encode() * 100) for key in "abc"]
    writer.close()
    flip_byte(entries[1])
    compact(tmp_path, {"b", "c"})
    found = load_entries(tmp_path)
    assert set(found) == {"c"}
    assert PackReader().read("c", found["c"]).tobytes() == b"c" * 100
