"""`python -m piper.train evaluate` from voices and sentences to figures, by real voices."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from piper.train.evaluate.cli import NOT_REACHED, main
from trainings import fit_command, last_checkpoint, wait_until

SCORES = "--scores=quality,trouble"
SOURCE = '''
from pathlib import Path

def level(samples, rate):
    """Loudness, as if it were quality."""
    return float(abs(samples).mean())

def failing(samples, rate):
    raise RuntimeError("no memory")
'''


@pytest.fixture
def predictors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "ear.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "ear"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def load_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def find_system(report: dict[str, Any], label: str) -> dict[str, Any]:
    return next(system for system in report["systems"] if system["label"] == label)


def test_a_voice_is_scored_beside_its_recordings(
    dataset: Path, tiny_voice: Path, tmp_path: Path, predictors: str, capsys: Any
) -> None:
    flags = ["--quality-predictor=ear:level", "--validation-split=0.4", "--sentences=5"]
    flags += ["--words=2"]
    out = tmp_path / "out"
    code = run("--model", tiny_voice, "--dataset", dataset, "--output-dir", out, *flags)
    assert code == 0
    report = load_report(out)
    read = (line.split(" ", 1) for line in (out / "lists" / "text").read_text("utf-8").splitlines())
    texts = dict(read)
    for system in report["systems"]:
        lines = (out / "lists" / f"{system['label']}.scp").read_text("utf-8").splitlines()
        assert len(lines) == len(system["sentences"])
        for name, path in (line.split(" ", 1) for line in lines):
            assert Path(path).is_file() and texts[name]
    recordings, voice = report["systems"]
    assert recordings["label"] == "recordings"
    assert voice["details"]["sample rate"] == "16,000 Hz"
    sentences = [one for one in voice["sentences"] if one["kind"] == "sentence"]
    assert [one["name"] for one in sentences] == [one["name"] for one in recordings["sentences"]]
    assert len(sentences) == 5
    assert [one["kind"] for one in voice["sentences"]].count("word") == 2
    # What was spoken is there, and is what was scored.
    samples, _ = soundfile.read(out / sentences[0]["audio"], dtype="float32")
    assert sentences[0]["values"]["ear:level"] == pytest.approx(float(abs(samples).mean()))
    mean = sum(one["values"]["ear:level"] for one in sentences) / 5
    assert voice["figures"]["ear:level"]["value"] == pytest.approx(mean)
    assert {"mel_cepstral_distance", "clicks", "real_time_factor"} <= voice["figures"].keys()
    # A process of its own, and not what this one has, torch included.
    assert 30 < voice["figures"]["memory_megabytes"]["value"] < 250
    # Judges that are not here are named, with the way to get them; nothing else is lost.
    missing = " ".join(report["missing"])
    for name in ("DistillMOS is not installed", "Resemblyzer is not installed", "--fit-recogniser"):
        assert name in missing
    printed = capsys.readouterr().out
    assert "DistillMOS is not installed" in printed and "ear:level" in printed
    assert (out / "report.html").is_file()


def test_identical_voices_compare_as_equal(
    dataset: Path, tiny_voice: Path, tmp_path: Path, predictors: str, capsys: Any
) -> None:
    common = ["--dataset", dataset, "--held-out=all", "--words=0", "--sentences=5", SCORES]
    common += ["--quality-predictor=ear:level"]
    systems = ["--model", f"one={tiny_voice}", "--model", f"two={tiny_voice}"]
    assert run(*systems, *common, "--output-dir", tmp_path / "out") == 0
    comparisons = load_report(tmp_path / "out")["comparisons"]
    assert len(comparisons) >= 4
    for comparison in comparisons:
        assert (comparison["first"], comparison["second"]) == ("one", "two")
        assert (comparison["difference"], comparison["low"], comparison["high"]) == (0, 0, 0)
        assert comparison["better"] is None
    assert "no difference that could not be chance" in capsys.readouterr().out


@pytest.mark.long
def test_a_worse_voice_is_found_in_pairs(
    dataset: Path, tiny_voice: Path, tmp_path: Path, predictors: str, capsys: Any
) -> None:
    """Speech from elsewhere: the voice's own, half as loud."""
    common = ["--dataset", dataset, "--held-out=all", "--words=0", "--quality-predictor=ear:level"]
    common += ["--scores=ear:level"]
    assert run("--model", tiny_voice, *common, "--output-dir", tmp_path / "first") == 0
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    for one in load_report(tmp_path / "first")["systems"][1]["sentences"]:
        samples, rate = soundfile.read(tmp_path / "first" / one["audio"], dtype="float32")
        soundfile.write(quiet / f"{one['name']}.wav", 0.5 * samples, rate)
    systems = ["--model", f"loud={tiny_voice}", "--speech", f"quiet={quiet}"]
    assert run(*systems, *common, "--output-dir", tmp_path / "second") == 0
    [comparison] = load_report(tmp_path / "second")["comparisons"]
    assert comparison["better"] == "loud" and comparison["high"] < 0
    assert "loud is better" in capsys.readouterr().out


@pytest.mark.long
def test_a_checkpoint_is_exported_and_a_gate_sets_the_exit_code(
    dataset: Path, tmp_path: Path, predictors: str, capsys: Any
) -> None:
    flags = ("--trainer.max_steps=1", "--validation_quality=off")
    subprocess.run(fit_command(dataset, tmp_path, *flags), check=True, capture_output=True)
    common = ["--checkpoint", f"new={last_checkpoint(tmp_path)}", "--dataset", dataset]
    common += ["--words=0", "--scores=ear:level", "--quality-predictor=ear:level"]
    common += ["--output-dir", tmp_path / "out"]
    assert run(*common, "--require", "ear:level>=0") == 0
    assert (tmp_path / "out/voices/new.onnx").is_file()
    assert run(*common, "--require", "ear:level>=1,per<=0.1") == NOT_REACHED
    said = capsys.readouterr().err
    assert "not reached: new: ear:level is 0." in said
    assert "not reached: new: per was not measured, but per<=0.1 is required." in said


def test_a_sentence_that_is_said_often_has_the_mean_of_its_scores(
    tiny_voice: Path, tmp_path: Path, predictors: str
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("Hello there.\nGood morning.\n", encoding="utf-8")
    flags = ["--scores=quality", "--quality-predictor=ear:level", "--words=0", "--seed=7"]
    out = tmp_path / "out"
    systems = ["--model", f"a={tiny_voice}", "--texts", texts, "--output-dir", out]
    assert run(*systems, *flags, "--readings=3") == 0
    report = load_report(out)
    [voice] = report["systems"]
    assert report["facts"]["readings of each sentence"] == "3"
    for sentence in voice["sentences"]:
        heard = [abs(soundfile.read(p)[0]).mean() for p in out.rglob(f"{sentence['name']}.flac")]
        assert len(set(heard)) == 3
        assert sentence["values"]["ear:level"] == pytest.approx(sum(heard) / 3)
        assert Path(sentence["audio"]).parent.name.endswith("-7")


def test_texts_need_no_recordings(tiny_voice: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("Hello there.\nGood morning, everyone. How are you?\n", encoding="utf-8")
    out = tmp_path / "out"
    assert run("--model", tiny_voice, "--texts", texts, SCORES, "--output-dir", out) == 0
    [voice] = load_report(out)["systems"]
    assert [one["text"] for one in voice["sentences"]][:2] == texts.read_text().splitlines()
    # Of two sentences nothing can be said about others.
    assert voice["figures"]["clicks"]["low"] is None


@pytest.mark.long
def test_speakers_are_those_of_the_recordings(
    two_speaker_dataset: Path, tiny_voice_multi_speaker: Path, tmp_path: Path, capsys: Any
) -> None:
    flags = ["--num-speakers=2", "--held-out=all", "--words=0", SCORES]
    flags += ["--dataset", two_speaker_dataset, "--output-dir", tmp_path / "out"]
    voice = tmp_path / "voice.onnx"
    shutil.copy(tiny_voice_multi_speaker, voice)
    config = json.loads(Path(f"{tiny_voice_multi_speaker}.json").read_text())
    lines = (two_speaker_dataset / "metadata.csv").read_text(encoding="utf-8").splitlines()
    names = sorted({line.split("|")[1] for line in lines})
    for known, code in ((names, 0), (["nobody", "anybody"], 1)):
        config["speaker_id_map"] = {name: place for place, name in enumerate(known)}
        Path(f"{voice}.json").write_text(json.dumps(config), encoding="utf-8")
        assert run("--model", voice, *flags) == code
        shutil.rmtree(tmp_path / "out/speech", ignore_errors=True)
    assert "The voice has no speaker" in capsys.readouterr().err


@pytest.mark.long
def test_each_speaker_is_compared_with_recordings_of_its_own(
    judges: None, prompts: dict[str, list[Path]], tmp_path: Path
) -> None:
    """Of two speakers, nobody sounds like the mean."""
    dataset = tmp_path / "dataset"
    (dataset / "wavs").mkdir(parents=True)
    lines = []
    for speaker, paths in prompts.items():
        for path in paths:
            name = f"{speaker}-{path.name}"
            (dataset / "wavs" / name).symlink_to(path)
            lines.append(f"{name}|{speaker}|Один.\n")
    (dataset / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    flags = ["--espeak-voice=ru", f"--num-speakers={len(prompts)}", "--held-out=all", "--words=0"]
    flags += ["--dataset", dataset, "--scores=similarity", "--output-dir", tmp_path / "out"]
    # Recordings of the speakers as if a voice had spoken them, and each speaker's by another.
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    names = [line.partition("|")[0] for line in lines]
    for name, other in zip(names, reversed(names), strict=True):
        (swapped / name).symlink_to((dataset / "wavs" / other).resolve())
    speech = ["--speech", f"same={dataset / 'wavs'}", "--speech", f"swapped={swapped}"]
    assert run(*speech, *flags) == 0
    report = load_report(tmp_path / "out")
    recorded, same, other = (
        find_system(report, label)["figures"]["similarity"]["value"]
        for label in ("recordings", "same", "swapped")
    )
    assert recorded > 0.85 and same > recorded
    assert other < 0.75


@pytest.mark.long
def test_a_killed_evaluation_goes_on(
    dataset: Path, tiny_voice: Path, tmp_path: Path, predictors: str
) -> None:
    """What was spoken and measured is not done again."""
    slow = "import time\n" + SOURCE.replace(
        "    return float", "    time.sleep(0.5)\n    return float"
    )
    (tmp_path / "ear.py").write_text(slow, encoding="utf-8")
    flags = ["--dataset", dataset, "--held-out=all", "--words=0", "--scores=ear:level"]
    flags += ["--quality-predictor=ear:level", "--output-dir", tmp_path / "out"]
    arguments = [str(one) for one in ("--model", tiny_voice, *flags)]
    command = [sys.executable, "-m", "piper.train", "evaluate", *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    kept = tmp_path / "out/measures-2.jsonl"
    wait_until(lambda: kept.exists() and kept.read_bytes().count(b"\n") >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    count = kept.read_bytes().count(b"\n")
    assert 3 <= count < 32
    assert main(arguments) == 0
    assert kept.read_bytes().count(b"\n") == 32
    before = kept.read_bytes()
    assert main(arguments) == 0
    assert kept.read_bytes() == before
    assert len(find_system(load_report(tmp_path / "out"), tiny_voice.stem)["sentences"]) == 16


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Nothing to evaluate: pass --model"),
        (["--model={voice}"], "Pass either --dataset DIR"),
        (["--model={voice}", "--dataset={data}", "--texts=a"], "Pass either --dataset DIR"),
        (["--model=none.onnx", "--dataset={data}"], "none.onnx"),
        (["--checkpoint=none.ckpt", "--dataset={data}"], "--checkpoint: none.ckpt does not exist"),
        (["--speech=none", "--dataset={data}"], "--speech: none is no folder"),
        (["--speech={data}", "--dataset={data}"], "name each file as the sentence's recording"),
        (["--model={voice}", "--dataset={data}", "--scores=mos"], 'there is no score "mos"'),
        (["--model={voice}", "--dataset={data}", "--require=mos>1"], 'there is no score "mos"'),
        (["--require=per<1", "--fit-recogniser={data}"], "--require needs a --model"),
        (["--model=recordings={voice}", "--dataset={data}"], 'label "recordings" is taken'),
        (["--model={voice}", "--dataset={data}", "--held-out=none.txt"], "cannot be read"),
        (["--model={voice}", "--dataset={data}", "--phoneme-recogniser=a.pt"], "does not exist"),
        (
            ["--model={voice}", "--dataset={data}", "--sentences=0"],
            "--sentences and --readings are",
        ),
        (["--model={voice}", "--dataset={data}", "--readings=0"], "are numbers from 1"),
        (["--model={voice}", "--dataset={data}", "--quality-predictor=ear:none"], "ear:none"),
        (["--model={voice}", "--dataset={data}", "--quality-predictor=ear:failing"], "no memory"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str],
    said: str,
    dataset: Path,
    tiny_voice: Path,
    tmp_path: Path,
    predictors: str,
    capsys: Any,
) -> None:
    filled = [one.format(voice=tiny_voice, data=dataset) for one in arguments]
    filled += ["--sentences=2"] if not any("--sentences" in one for one in filled) else []
    filled += [] if any("--scores" in one for one in filled) else ["--scores=quality"]
    assert run(*filled, "--words=0", "--output-dir", tmp_path / "out") == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and said in errors[0]
