"""The learning curve of piper-tts on the Russian voice's data, for equal time on the same machine.

`tools/voices/train_festvox_ru.py` makes the data and our own curves. Here piper-tts trains the same
network on the same recordings, held-out sentences apart, and what its checkpoints say is written
as our pieces' is, so that the same judges score both. Trains and speaks; scores nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools" / "voices"))

from festvox_ru import HELD_OUT, RECORDINGS, TRAINING
from held_out_speech import speak_checkpoint
from timed_training import CHECK_SECONDS, Clock
from train_programs import PEER, PEER_PACKAGES

from piper.files import replace_on_success

_PROGRAM = f"""
import runpy, sys
sys.path.append({str(Path(__file__).resolve().parent)!r})
from train_process import stand_in_for_alignment
stand_in_for_alignment()
runpy.run_module("piper.train", run_name="__main__")
"""
EVERY_UPDATES = 10
SETTLED_SECONDS = 20.0
"""A checkpoint that did not grow for so long is whole."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--work-dir", type=Path, required=True, help="as train_festvox_ru.py made it")
    add(f"--{PEER}", type=Path, required=True, dest="peer", help=f"a Python with {PEER_PACKAGES}")
    add("--run", default=PEER, help="folder of the training; default: %(default)s")
    add("--minutes", type=float, default=20.0, help="of training; default: %(default)g")
    add("--piece-minutes", type=float, default=10.0, help="between two points of the curve")
    add("--processor-time", action="store_true", help="count the processor's minutes")
    add("--batch-size", type=int, default=4)
    return parser.parse_args()


def write_texts(folder: Path, run: Path) -> Path:
    """Write the training's lines without marks of stress, which the peer reads aloud."""
    text = (folder / TRAINING / "metadata.csv").read_text(encoding="utf-8").replace("+", "")
    with replace_on_success(run / "metadata.csv") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return run / "metadata.csv"


def create_command(args: argparse.Namespace, run: Path) -> list[str]:
    checkpoints = run / "checkpoints"
    callback = "lightning.pytorch.callbacks.ModelCheckpoint"
    return [
        *(str(args.peer.absolute()), "-c", _PROGRAM, "fit"),
        f"--data.csv_path={write_texts(args.work_dir, run)}",
        f"--data.audio_dir={args.work_dir / RECORDINGS / 'wavs'}",
        f"--data.cache_dir={run / 'cache'}",
        f"--data.config_path={run / 'config.json'}",
        "--data.voice_name=peer",
        "--data.espeak_voice=ru",
        f"--data.batch_size={args.batch_size}",
        "--data.num_workers=0",
        "--data.num_test_examples=0",
        "--model.sample_rate=22050",
        # A speech quality network that would be downloaded.
        "--model.mos_metric=null",
        "--trainer.accelerator=cpu",
        "--trainer.max_epochs=1000000",
        "--trainer.limit_val_batches=0",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.enable_progress_bar=false",
        "--trainer.logger=false",
        f"--trainer.default_root_dir={run}",
        f"--trainer.callbacks+={callback}",
        f"--trainer.callbacks.dirpath={checkpoints}",
        # Lightning counts the steps of both optimizers.
        f"--trainer.callbacks.every_n_train_steps={2 * EVERY_UPDATES}",
        "--trainer.callbacks.save_top_k=-1",
    ]


def find_newest(run: Path) -> Path | None:
    """Return the newest checkpoint that is whole, and remove older ones: 845 MB each."""
    paths = sorted((run / "checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    whole = [path for path in paths if time.time() - path.stat().st_mtime > SETTLED_SECONDS]
    for path in whole[:-1]:
        path.unlink()
    return whole[-1] if whole else None


def main() -> int:
    args = parse_arguments()
    args.work_dir = args.work_dir.absolute()
    run = args.work_dir / args.run
    shutil.rmtree(run, ignore_errors=True)  # this trainer's pieces cannot be put together
    run.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    clock = Clock(args.processor_time)
    command = create_command(args, run)
    with (run / "training.log").open("wb") as log:
        # In a folder of its own: a checkout's package must not be found in the present one.
        where = {"stdout": log, "stderr": subprocess.STDOUT, "env": environment, "cwd": run}
        # One update, so that preparing the data takes nothing from the training's time.
        aside = f"--trainer.default_root_dir={run / 'prepared'}"
        subprocess.run([*command, "--trainer.max_steps=2", aside], check=True, **where)
        shutil.rmtree(run / "checkpoints", ignore_errors=True)
        begin = time.monotonic()
        process = subprocess.Popen(command, **where)
        try:
            _follow(args, run, process, clock, begin)
        finally:
            process.kill()
            process.wait()
    return 0


def _follow(
    args: argparse.Namespace,
    run: Path,
    process: subprocess.Popen[bytes],
    clock: Clock,
    begin: float,
) -> None:
    until = 0.0
    while until < 60 * args.minutes:
        until = min(60 * args.minutes, until + 60 * args.piece_minutes)
        while clock.read(process, begin) < until:
            if process.poll() is not None:
                raise SystemExit(f"{PEER} ended; {run / 'training.log'} says why.")
            find_newest(run)
            time.sleep(CHECK_SECONDS)
        process.send_signal(signal.SIGSTOP)  # speaking takes nothing from its time
        stopped = time.monotonic()
        time.sleep(SETTLED_SECONDS)
        newest = find_newest(run)
        if newest is None:
            raise SystemExit(f"{PEER} has written no checkpoint yet; give more --piece-minutes.")
        speech = run / "curve" / f"{round(until):06d}"
        speak_checkpoint(newest, args.work_dir / HELD_OUT, "text", speech, as_opus=False)
        (speech / "done").touch()
        print(f"{until / 60:g} minutes: {newest.name}", flush=True)
        begin += time.monotonic() - stopped
        process.send_signal(signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main())
