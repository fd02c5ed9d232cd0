"""Training end to end, in this process: what is logged, kept, resumed and exported."""

from __future__ import annotations

import json
import multiprocessing
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from piper.train import cli
from piper.train.checkpoints import LOG_FOLDER, hold_run, load_checkpoint
from piper.train.event_log import EventLog
from trainings import StopAfter, add_callback, last_checkpoint, read_log, read_scalars, train


def checkpoint_folder(root: Path, version: int = 0) -> Path:
    return root / f"lightning_logs/version_{version}/checkpoints"


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Dataset and folder of a training of three epochs."""
    root = tmp_path_factory.mktemp("trained")
    flags = ("--data.batch_size=5", "--trainer.max_epochs=3", "--data.num_test_examples=2")
    assert train(dataset, root, *flags) == 0
    return dataset, root


def test_losses_rates_and_test_sentences_are_logged(trained: tuple[Path, Path]) -> None:
    _, root = trained
    log = read_log(root)
    tags = set(log.Tags()["scalars"])
    for name in ("mel", "kl", "duration", "adversarial", "feature", "discriminator", "loss"):
        assert f"train_{name}" in tags
    assert {"val_loss", "val_mel", "val_kl", "val_duration"} <= tags
    # Each validation speaks the test sentences at its own step.
    steps = [event.step for event in log.Scalars("val_loss")]
    assert len(steps) == 4
    assert steps == sorted(set(steps))
    for tag in ("sentence_0/speech", "sentence_0/mel", "sentence_0/alignment"):
        kind = log.Audio if tag.endswith("speech") else log.Images
        assert len({event.step for event in kind(tag)}) == 4, tag
    assert log.Audio("sentence_0/recording")


def test_learning_rates_decay_as_configured(trained: tuple[Path, Path]) -> None:
    """The existing trainer returned its schedules and never stepped them."""
    _, root = trained
    for name, first, decay in (("generator", 2e-4, 0.999875), ("discriminator", 1e-4, 0.9999)):
        rates = read_scalars(root, f"learning_rate_{name}").values()
        expected = [first * decay**epoch for epoch in range(3)]
        assert sorted(set(rates), reverse=True) == pytest.approx(expected, rel=1e-6)


def test_checkpoints_are_named_as_users_know_them(trained: tuple[Path, Path]) -> None:
    _, root = trained
    names = {path.name for path in checkpoint_folder(root).iterdir()}
    assert "last.ckpt" in names
    pattern = re.compile(r"epoch=(\d+)-step=(\d+)-val_loss=\d+\.\d{4}\.ckpt")
    found = [match for name in names if (match := pattern.fullmatch(name))]
    assert len(found) == 3
    # Three batches an epoch, and each counts for both optimizers.
    assert {(int(m[1]), int(m[2])) for m in found} == {(0, 6), (1, 12), (2, 18)}


def test_a_checkpoint_has_piper_s_keys(trained: tuple[Path, Path]) -> None:
    _, root = trained
    saved = load_checkpoint(last_checkpoint(root))
    prefixes = {name.split(".")[0] for name in saved["state_dict"]}
    assert prefixes == {"model_g", "model_d"}
    hyper_parameters = saved["hyper_parameters"]
    assert hyper_parameters["sample_rate"] == 22050
    assert hyper_parameters["resblock_dilation_sizes"] == ((1, 2), (2, 6), (3, 12))
    # Any weights-only reader may open what is written here.
    torch.load(last_checkpoint(root), weights_only=True)


def test_config_json_is_completed_not_overwritten(trained: tuple[Path, Path]) -> None:
    dataset, _ = trained
    data = json.loads((dataset / "config.json").read_text(encoding="utf-8"))
    assert data["espeak"]["voice"] == "ru"
    assert data["audio"] == {"sample_rate": 22050, "quality": "tiny"}
    assert data["num_symbols"] == 256
    assert data["phonemizer"]["name"] == "espeak-ng"


def test_validation_is_the_same_for_the_same_weights(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Random segments made two epochs incomparable in the existing trainer."""
    dataset, root = trained
    saved = last_checkpoint(root)
    results = []
    for _ in range(2):
        torch.manual_seed(torch.seed())
        places = (f"--ckpt_path={saved}", "--data.batch_size=5")
        assert train(dataset, root / "validated", *places, verb="validate") == 0
        results.append(re.findall(r"val_\w+\s+│?\s+(\d+\.\d+)", capsys.readouterr().out))
    assert results[0]
    assert results[0] == results[1]
    last = [*read_scalars(root, "val_loss").values()][-1]
    assert any(float(value) == pytest.approx(last, rel=1e-4) for value in results[0])


def test_flags_of_a_resumed_training_hold_and_are_kept(
    trained: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They stood in config.yaml, while the optimizers went on with the checkpoint's."""
    dataset, root = trained
    saved = last_checkpoint(root)
    changes = ("--model.learning_rate=1e-5", "--model.lr_decay=0.5", "--model.c_mel=30")
    changes += ("--model.ema_decay=0.9", "--trainer.gradient_clip_val=7")
    flags = ("--data.batch_size=5", "--trainer.max_epochs=5", f"--ckpt_path={saved}")
    assert train(dataset, tmp_path, *flags, *changes) == 0
    rates = {*read_scalars(tmp_path, "learning_rate_generator").values()}
    assert sorted(rates) == pytest.approx([5e-6, 1e-5], rel=1e-6)
    said = [line for line in caplog.text.splitlines() if "from here on" in line]
    assert len(said) == 5
    assert (
        "--model.learning_rate is 1e-05 from here on; the checkpoint was trained with 0.0002, "
        "0.0001999 by now." in caplog.text
    )
    assert "--trainer.gradient_clip_val is 7 from here on" in caplog.text

    # Without the flags, and with one of them again, it goes on as it was.
    caplog.clear()
    last = last_checkpoint(tmp_path)
    flags = ("--data.batch_size=5", "--trainer.max_epochs=6", f"--ckpt_path={last}")
    assert train(dataset, tmp_path / "again", *flags, "--model.learning_rate=1e-5") == 0
    rates = {*read_scalars(tmp_path / "again", "learning_rate_generator").values()}
    assert [*rates] == pytest.approx([2.5e-6], rel=1e-6)
    assert "from here on" not in caplog.text
    assert "--model.learning_rate=1e-05 goes on at 2.5e-06" in caplog.text
    kept = load_checkpoint(last_checkpoint(tmp_path / "again"))
    assert kept["hyper_parameters"]["c_mel"] == 30
    assert kept["averages"]["decay"] == 0.9
    assert kept["training_settings"]["gradient_clip_val"] == 7


def test_what_belongs_to_the_beginning_is_refused_later(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, root = trained
    saved = last_checkpoint(root)
    assert train(dataset, tmp_path, "--model.warmup_updates=4", f"--ckpt_path={saved}") == 1
    message = "--model.warmup_updates=4 is for the first 4 updates, and the checkpoint has made 9"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("place", ["carried", "beside"])
def test_another_phoneme_map_of_the_same_size_is_no_resuming(
    place: str,
    trained: tuple[Path, Path],
    copy_dataset: Callable[[Path], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each symbol would have spoken with another one's row, without a word."""
    source, root = trained
    dataset = copy_dataset(source)
    saved = tmp_path / "last.ckpt"
    checkpoint = load_checkpoint(last_checkpoint(root))
    if place == "beside":  # as a trainer leaves it that writes no JSON into its checkpoints
        config = json.dumps(checkpoint.pop("voice_config"))
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
    torch.save(checkpoint, saved)
    path = dataset / "config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    ids = data["phoneme_id_map"]
    ids["a"], ids["o"] = ids["o"], ids["a"]
    path.write_text(json.dumps(data), encoding="utf-8")
    assert train(dataset, tmp_path / "new", f"--ckpt_path={saved}", "--data.batch_size=5") == 1
    printed = capsys.readouterr().err
    assert "was trained with another phoneme map: " in printed
    assert "(2 of " in printed and "--model.warmstart" in printed


@pytest.mark.long
def test_other_loggers_get_figures_sound_and_pictures_beside_tensorboard(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    # A database would bring three more packages; the client is the same.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = (tmp_path / "mlruns").as_uri()
    logger = "--trainer.logger=lightning.pytorch.loggers.MLFlowLogger"
    flags = ("--data.batch_size=5", "--data.num_test_examples=1", "--trainer.max_epochs=1")
    flags += (logger, f"--trainer.logger.tracking_uri={store}")
    assert train(trained[0], tmp_path, *flags) == 0
    client = MlflowClient(store)
    [run] = client.search_runs([one.experiment_id for one in client.search_experiments()])
    assert {"val_loss", "train_mel"} <= set(run.data.metrics)
    names = {file.path for file in client.list_artifacts(run.info.run_id, "sentence_0")}
    kinds = ("speech", "recording", "mel", "alignment")
    assert names >= {f"sentence_0/{kind}" for kind in kinds}
    [sound, *_] = client.list_artifacts(run.info.run_id, "sentence_0/speech")
    assert sound.path.endswith(".wav")
    assert last_checkpoint(tmp_path).is_file()
    assert "sentence_0/speech" in read_log(tmp_path).Tags()["audio"]


def test_a_class_that_cannot_be_made_is_one_sentence(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A logger without its package or its settings: jsonargparse raised forty lines."""
    logger = "--trainer.logger=lightning.pytorch.loggers.CometLogger"
    assert train(trained[0], tmp_path, logger) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and "comet" in printed
    assert "Traceback" not in printed and printed.count("\n") == 1


@pytest.mark.long
def test_whatever_lies_in_lightning_s_parts_is_a_sentence_or_a_training(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loops, callbacks and versions of a checkpoint are Lightning's to read: its tracebacks are not
    the user's."""
    dataset, root = trained
    path = tmp_path / "odd.ckpt"
    odd: list[dict[str, Any]] = [
        {"pytorch-lightning_version": 7},
        {"loops": {"fit_loop": []}},
        {"loops": {"fit_loop": {"state_dict": {}, "epoch_loop.state_dict": "x"}}},
        {"callbacks": [1]},
        {"callbacks": {"Budget": {"begin": "x", "is_warm": []}}},
        {"VitsDataModule": {"batch_size": -3}, "loops": None},
        {"global_step": "many"},
    ]
    for change in odd:
        whole = load_checkpoint(last_checkpoint(root))
        torch.save({**whole, **change}, path)
        flags = ("--data.batch_size=5", "--trainer.max_epochs=4", f"--ckpt_path={path}")
        code = train(dataset, tmp_path, *flags)
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        assert code == 0 or f"error: {path} cannot be gone on from: " in printed, change


def test_last_goes_on_from_the_newest_and_begins_where_there_is_none(
    trained: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One command for the first start and for every restart of a container."""
    dataset, _ = trained
    flags = ("--data.batch_size=5", "--ckpt_path=last")
    assert train(dataset, tmp_path, *flags, "--trainer.max_epochs=1") == 0
    assert "training begins anew" in caplog.text
    assert train(dataset, tmp_path, *flags, "--trainer.max_epochs=2") == 0
    # In the folder that it goes on from: a machine that restarts daily fills no new ones.
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] == 12
    assert not checkpoint_folder(tmp_path, 1).exists()
    caplog.clear()
    assert train(dataset, tmp_path, *flags, "--trainer.max_epochs=2") == 0
    assert "Nothing to train: the checkpoint has already reached the end, 2 epochs" in caplog.text


def test_config_yaml_holds_what_was_asked_for(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """It can be given back with -c, so what Lightning is told instead must not stand in it."""
    import yaml

    dataset, _ = trained
    flags = ("--trainer.max_steps=2", "--trainer.accumulate_grad_batches=2")
    assert train(dataset, tmp_path, "--data.batch_size=5", *flags) == 0
    written = tmp_path / "lightning_logs/version_0/config.yaml"
    config = yaml.safe_load(written.read_text(encoding="utf-8"))
    assert config["trainer"]["max_steps"] == 2
    assert config["trainer"]["accumulate_grad_batches"] == 2
    again = [f"--config={written}", f"--trainer.default_root_dir={tmp_path / 'again'}"]
    assert cli.main(["fit", *again]) == 0
    assert load_checkpoint(last_checkpoint(tmp_path / "again"))["global_step"] == 4


def test_an_interrupted_epoch_goes_on_with_the_batches_it_has_not_seen(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping in the middle of an epoch and going on equals never having stopped."""
    dataset, _ = trained
    flags = ("--data.batch_size=4", "--trainer.max_epochs=2", "--trainer.limit_val_batches=0")
    seen = spy_on_batches(monkeypatch)
    assert train(dataset, tmp_path / "whole", *flags) == 0
    whole = list(seen)
    assert len(whole) == 8
    for stop in (2, 4):
        folder = tmp_path / f"stop{stop}"
        with monkeypatch.context() as patched:
            add_callback(StopAfter(stop), patched)
            assert train(dataset, folder / "a", *flags) == 128 + signal.SIGTERM
        seen.clear()
        saved = last_checkpoint(folder / "a")
        assert train(dataset, folder / "b", *flags, f"--ckpt_path={saved}") == 0
        assert [*whole[:stop], *seen] == whole, stop


def spy_on_batches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Record the ids of each batch that is trained on."""
    seen: list[Any] = []
    original = cli.VitsModel.training_step

    def recording(self: Any, batch: Any, batch_index: int) -> None:
        seen.append((batch_index, batch.ids.tolist()))
        original(self, batch, batch_index)

    monkeypatch.setattr(cli.VitsModel, "training_step", recording)
    return seen


def test_gradient_accumulation_and_clipping_work_with_two_optimizers(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    """Lightning refuses both under manual optimization; they are the advice against OOM."""
    dataset, _ = trained
    flags = ("--trainer.accumulate_grad_batches=3", "--trainer.gradient_clip_val=0.5")
    assert train(dataset, tmp_path, "--data.batch_size=2", "--trainer.max_epochs=1", *flags) == 0
    last = load_checkpoint(last_checkpoint(tmp_path))
    # Seven batches are three updates, the last one of a single batch; two optimizers step.
    assert last["global_step"] == 3 * 2


def test_max_steps_counts_updates(trained: tuple[Path, Path], tmp_path: Path) -> None:
    dataset, _ = trained
    assert train(dataset, tmp_path, "--data.batch_size=5", "--trainer.max_steps=4") == 0
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] == 8
    # The fourth step is the first of an epoch; it is validated all the same.
    assert [*read_scalars(tmp_path, "val_loss")] == [0, 2, 4]
    names = [path.name for path in checkpoint_folder(tmp_path).glob("epoch=*")]
    assert len(names) == 2
    assert any(name.startswith("epoch=1-step=8-") for name in names)
    # What ended inside an epoch goes on there.
    flags = ("--data.batch_size=5", "--trainer.max_steps=7", "--ckpt_path=last")
    assert train(dataset, tmp_path, *flags) == 0
    last = load_checkpoint(last_checkpoint(tmp_path))
    assert last["global_step"] == 14
    assert [*read_scalars(tmp_path, "val_loss")] == [0, 2, 4, 5, 7]


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_trains(precision: str, trained: tuple[Path, Path], tmp_path: Path) -> None:
    dataset, _ = trained
    flags = (f"--trainer.precision={precision}", "--trainer.max_steps=3")
    assert train(dataset, tmp_path, "--data.batch_size=5", *flags) == 0
    losses = read_scalars(tmp_path, "train_loss").values()
    assert len(losses) == 3
    assert all(value == value and value < 1e4 for value in losses)


def test_several_speakers_train_and_export(
    two_speaker_dataset: Path, copy_dataset: Callable[[Path], Path], tmp_path: Path
) -> None:
    from piper.train.export import export_voice
    from piper.voice import PiperVoice

    flags = ("--data.batch_size=4", "--trainer.max_epochs=1", "--model.num_speakers=2")
    assert train(copy_dataset(two_speaker_dataset), tmp_path, *flags) == 0
    report = export_voice(last_checkpoint(tmp_path), tmp_path / "voice" / "two.onnx")
    voice = PiperVoice.load(report.model_path)
    assert voice.config.num_speakers == 2
    assert len(voice.config.speaker_id_map) == 2


def test_clips_shorter_than_a_segment_and_tiny_datasets_train(
    speech_dataset: Path, copy_dataset: Callable[[Path], Path], tmp_path: Path
) -> None:
    """Single words crashed late in the existing trainer, and few rows trained nothing, silently."""
    import soundfile

    dataset = copy_dataset(speech_dataset)
    lines = (dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()[:2]
    rows = []
    for index, word in enumerate(("Да.", "Нет.")):
        name = lines[index].split("|")[0]
        audio, rate = soundfile.read(dataset / "wavs" / name)
        start = len(audio) // 3
        soundfile.write(dataset / "wavs" / name, audio[start : start + rate // 4], rate)
        rows.append(f"{name}|{word}")
    (dataset / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    flags = ("--model.segment_size=8192", "--data.trim_silence=false", "--trainer.max_epochs=2")
    assert train(dataset, tmp_path, "--data.batch_size=16", *flags) == 0
    assert load_checkpoint(last_checkpoint(tmp_path))["global_step"] == 4


@pytest.mark.parametrize(("limit", "reached"), [("max_epochs=2", "3"), ("max_steps=8", "9")])
def test_an_end_that_has_passed_is_one_sentence(
    limit: str,
    reached: str,
    trained: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A published checkpoint of epoch 2,164 and a limit of 1,000 ended in Lightning's traceback."""
    dataset, root = trained
    saved = last_checkpoint(root)
    assert train(dataset, tmp_path, f"--ckpt_path={saved}", f"--trainer.{limit}") == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == (
        f"error: --trainer.{limit} is over: {saved} has {reached} of them behind it. Give more "
        "than that, or leave the flag out, and training ends by itself."
    )


def hold_until(folder: Path, is_held: Any, may_end: Any) -> None:
    held = hold_run(folder)
    is_held.set()
    may_end.wait(120)
    assert held is not None


def test_a_folder_that_another_training_writes_to_is_left_to_it(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two resumes of one folder wrote their checkpoints over each other."""
    dataset, root = trained
    folder = root / "lightning_logs/version_0"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*.*")}
    context = multiprocessing.get_context("fork")
    events = context.Event(), context.Event()
    other = context.Process(target=hold_until, args=(folder, *events))
    other.start()
    assert events[0].wait(120)
    capsys.readouterr()
    assert train(dataset, root, "--ckpt_path=last", "--trainer.max_epochs=4") == 1
    said = capsys.readouterr().err
    assert f"Another training (process {other.pid} on " in said
    assert f"writes into {folder}" in said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*.*")} == before
    # Also where it was killed it holds nothing.
    other.kill()
    other.join()
    held = hold_run(folder)
    assert held is not None
    held.close()


def test_trainings_that_begin_at_once_take_folders_of_their_own(tmp_path: Path) -> None:
    """All of them found version_0 free, until the first one wrote to it."""
    logs = [EventLog(tmp_path, LOG_FOLDER) for _ in range(3)]
    assert [log.version for log in logs] == [0, 1, 2]
