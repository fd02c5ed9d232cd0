"""Speaking, beside other programs: a table of seconds, megabytes and ratios, then one JSON line.

Each figure is the median of several processes, ours and the others' in turn, so that whatever else
the machine does meets all. Speaks one sentence of about eleven seconds. Our second start counts:
the first one makes the voice's optimised model. A program that is not installed is left out, with
the command that installs it. With `--peers-model` the others speak another voice: so a quick voice
is set beside a VITS voice. With `--one-core` all run on one core, in processor seconds. With
`--cuda` a column more is ours on an NVIDIA GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from train_programs import find_peer

from piper.config import load_voice_config
from piper.text.frontend import create_frontend
from piper.voice.session import find_cuda
from piper.voice.sherpa import add_sherpa_metadata, tokens_text

SHORT = "This is a test."
# 481 ids of espeak-ng 1.52; one sentence.
LONG = (
    "The old lighthouse keeper walked slowly along the windy shore every single morning and "
    "looked for the small wooden boats that had left the quiet harbour long before the first "
    "pale light of the sun appeared over the cold and grey water"
)
FLOOR = "import numpy, onnxruntime"

QUICK_GOALS = {"load": 0.30, "first": 0.10, "whole": 0.20, "peak": 0.50}
"""Of a quick voice beside a VITS voice of piper-tts."""
ROWS = {
    "cold": ("one command from a cold start, four words", "s", 0.30),
    "short": ("four words, in a process that has spoken", "s", None),
    "load": ("import and loading of the voice", "s", 0.20),
    "first": ("first audio of an 11-second sentence", "s", 0.16),
    "whole": ("the whole of it, not streamed", "s", 0.90),
    "peak": ("peak memory of a process that speaks it", "MB", 0.60),
}

# Each program's own few lines define `load(model)`, which returns two functions of a text: one that
# yields pieces of audio as early as the program can, and one that yields whole sentences. The files
# that a program wants beside the voice lie in its folder: `tokens.txt`, and `ids.json` with the
# sentence's phoneme ids for the one that cannot make them without a program of the system.
_PIPER = """
def load(model):
    from piper import PiperVoice
    voice = PiperVoice.load(model)
    return getattr(voice, "synthesize_stream", voice.synthesize), voice.synthesize
"""

_SHERPA_ONNX = """
def load(model):
    import os, espeakng_loader, sherpa_onnx
    vits = sherpa_onnx.OfflineTtsVitsModelConfig(
        model=model,
        tokens=os.path.join(os.path.dirname(model), "tokens.txt"),
        data_dir=str(espeakng_loader.get_data_path()),
    )
    network = sherpa_onnx.OfflineTtsModelConfig(vits=vits, num_threads=len(os.sched_getaffinity(0)))
    tts = sherpa_onnx.OfflineTts(sherpa_onnx.OfflineTtsConfig(model=network))
    def speak(text):
        yield tts.generate(text).samples
    return speak, speak
"""

_STREAMING_VITS = """
def load(model):
    import json, os
    import numpy as np
    from streaming_vits import StreamingTTS
    folder = os.path.dirname(model)
    ids = json.load(open(os.path.join(folder, "ids.json")))
    # It wants to find the program espeak-ng, and is given the phonemes that this one would make.
    os.environ["PATH"] += os.pathsep + folder
    tts = StreamingTTS(
        model,
        tokens_path=os.path.join(folder, "tokens.txt"),
        config_path=model + ".json",
        threads=len(os.sched_getaffinity(0)),
        verbose=False,
    )
    tts.phoneme_ids = lambda text: (np.array([ids[text]]), [])
    def whole(text):
        yield tts.synthesize(text)
    return tts.stream, whole
"""

MEASURE = """
import json, os, sys, time
model, text, task = sys.argv[1:]
# On one core, which a busy machine shares, processor time is what counts.
clock = time.process_time if len(os.sched_getaffinity(0)) == 1 else time.perf_counter
start = clock()
stream, speak = load(model)
result = {"load": clock() - start}
if task == "peak":
    for chunk in speak(text):
        pass
    # Not ru_maxrss, in which a process begins with what its parent has.
    [peak] = (line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    result = {"peak": int(peak.split()[1]) / 1024}
elif task == "time":
    first, whole = [], []
    for _ in range(4):
        start = clock()
        pieces = iter(stream(text))
        next(pieces)
        first.append(clock() - start)
        for piece in pieces:
            pass
        start = clock()
        for chunk in speak(text):  # ours speaks a sentence of this length in two parts
            pass
        whole.append(clock() - start)
    # The first run of a process is slower in all.
    result.update(first=sorted(first[1:])[1], whole=sorted(whole[1:])[1])
print(json.dumps(result))
"""


@dataclass(frozen=True)
class Program:
    """A program that speaks with Piper voices; perhaps by `python -m MODULE -m VOICE -f FILE`."""

    name: str
    packages: str
    module: str
    code: str
    has_command: bool = False
    flags: tuple[str, ...] = ()


OURS = Program("ours", "", "piper", _PIPER, has_command=True)
_CUDA = _PIPER.replace(".load(model)", '.load(model, use_cuda="strict")')
ON_GPU = replace(OURS, name="ours, GPU", code=_CUDA, flags=("--strict-cuda",))
PEERS = (
    Program("piper-tts", "piper-tts==1.8.0", "piper", _PIPER, has_command=True),
    Program(
        "sherpa-onnx",
        "sherpa-onnx==1.12.40 espeakng-loader==0.2.4 numpy",
        "sherpa_onnx",
        _SHERPA_ONNX,
    ),
    Program("streaming-vits", "streaming-vits==0.4.2", "streaming_vits", _STREAMING_VITS),
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, type=Path, help="the voice's ONNX")
    for peer in PEERS:
        text = f"Python of an environment that has {peer.packages}"
        parser.add_argument(f"--{peer.name}", type=Path, metavar="PYTHON", help=text)
    parser.add_argument(
        "--peers-model", type=Path, help="what the others speak (default: the same)"
    )
    parser.add_argument("--one-core", action="store_true", help="one core, processor seconds")
    parser.add_argument("--cuda", action="store_true", help="ours on a GPU, too")
    parser.add_argument("--repeats", type=int, default=5, help="processes of each (default: 5)")
    return parser.parse_args()


def copy_voice(model: Path, folder: Path) -> Path:
    """Copy a voice with all that the others want to find in or beside it."""
    config = load_voice_config(Path(f"{model}.json"))
    copy = folder / model.name
    graph = onnx.load(model)
    add_sherpa_metadata(graph, config, model.stem)
    onnx.save(graph, copy)
    shutil.copy(f"{model}.json", f"{copy}.json")
    (folder / "tokens.txt").write_text(tokens_text(config), encoding="utf-8")
    frontend = create_frontend(config)
    ids = {text: frontend.text_to_sentences(text)[0].ids for text in (SHORT, LONG)}
    (folder / "ids.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "espeak-ng").touch(mode=0o755)
    print(f"{len(ids[LONG])} ids")
    return copy


def measure(python: Path, program: Program, model: Path, text: str, task: str) -> dict[str, float]:
    command = [str(python), "-c", program.code + MEASURE, str(model), text, task]
    # An empty folder: a checkout's own packages must not be found in the current one.
    with tempfile.TemporaryDirectory() as folder:
        output = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=folder, env=find_env(program)
        )
    return dict(json.loads(output.stdout.splitlines()[-1]))


def measure_cold_start(python: Path, program: Program, model: Path) -> float:
    with tempfile.TemporaryDirectory() as folder:
        if program.has_command:
            command = [str(python), "-m", program.module, "-m", str(model), "-f", "out.wav"]
            command += program.flags
        else:
            command = [str(python), "-c", program.code + MEASURE, str(model), SHORT, "peak"]
        return time_command(command, folder, SHORT, find_env(program))


def find_env(program: Program) -> dict[str, str]:
    """Return a program's environment: the others must not find our modules."""
    return {k: v for k, v in os.environ.items() if not program.packages or k != "PYTHONPATH"}


def time_command(
    command: list[str], folder: str, text: str = "", env: dict[str, str] | None = None
) -> float:
    def read_clock() -> float:
        if len(os.sched_getaffinity(0)) > 1:
            return time.perf_counter()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    start = read_clock()
    subprocess.run(
        command, input=text.encode(), capture_output=True, check=True, cwd=folder, env=env
    )
    return read_clock() - start


def measure_all(
    programs: dict[Program, Path], models: dict[Program, Path], repeats: int
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {program.name: {} for program in programs}
    for program, python in programs.items():  # fills the caches of programs and system
        measure_cold_start(python, program, models[program])
    for _ in range(repeats):
        for program, python in programs.items():
            model = models[program]
            figures = measure(python, program, model, LONG, "time")
            figures |= measure(python, program, model, LONG, "peak")
            figures["short"] = measure(python, program, model, SHORT, "time")["whole"]
            figures["cold"] = measure_cold_start(python, program, model)
            if program is OURS:
                # What no program in Python that runs ONNX can do without.
                figures["floor"] = time_command([str(python), "-c", FLOOR], tempfile.gettempdir())
            for key, value in figures.items():
                found[program.name].setdefault(key, []).append(value)
    return {
        name: {key: statistics.median(values) for key, values in figures.items()}
        for name, figures in found.items()
    }


def find_programs(args: argparse.Namespace) -> dict[Program, Path]:
    programs = {OURS: Path(sys.executable)}
    for peer in PEERS:
        given = getattr(args, peer.name.replace("-", "_"))
        python = find_peer(peer.name, given, peer.packages, (peer.module,))
        if python is not None:
            programs[peer] = python
    if args.cuda:
        programs[ON_GPU] = programs[OURS]
    return programs


def print_table(figures: dict[str, dict[str, float]], goals: dict[str, float]) -> None:
    """Print a row for each figure; the ratio is that of ours to the first peer's."""
    others = [name for name in figures if name != OURS.name]
    print(f"{'what':45}" + "".join(f"{name:>16}" for name in figures) + f"{'ratio':>8}{'goal':>6}")
    for key, (what, unit, usual) in ROWS.items():
        goal = goals.get(key, usual)
        values = [figures[name][key] for name in figures]
        columns = "".join(f"{value:>13.3g} {unit:2}" for value in values)
        ratio = f"{values[0] / values[1]:>8.2f}" if PEERS[0].name in others else ""
        ratio += f"{goal:>6.2f}" if ratio and goal else ""
        print(f"{what:45}{columns}{ratio}")
    print(f"{FLOOR}, in a process of its own: {figures[OURS.name]['floor']:.3g} s")


def main() -> int:
    args = parse_arguments()
    if args.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if args.cuda:
        find_cuda("strict")  # says what is missing before anything is measured
    programs = find_programs(args)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        model = copy_voice(args.model.resolve(), Path(folder))
        theirs = copy_voice(args.peers_model.resolve(), Path(other)) if args.peers_model else model
        models = {p: model if p in (OURS, ON_GPU) else theirs for p in programs}
        figures = measure_all(programs, models, args.repeats)
    print_table(figures, QUICK_GOALS if args.peers_model else {})
    print(json.dumps({"benchmark": "synthesis", "voice": args.model.stem, **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
