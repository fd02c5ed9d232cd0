"""What `benchmarks/synthesis.py` measures: each program's own few lines of Python.

Each entry defines `load(model)`, which returns two functions of a text: one that yields pieces of
audio as early as the program can, and one that yields whole sentences. The files that a program
wants beside the voice lie in its folder: `tokens.txt`, and `ids.json` with the sentence's phoneme
ids for the one that cannot make them without a program of the system.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """A program that speaks with Piper voices.

    Attributes:
        name: Its column.
        packages: What `pip install` needs to make its environment.
        module: What it is imported as.
        code: Defines `load`.
        has_command: Whether `python -m MODULE -m VOICE -f FILE` speaks standard input.
    """

    name: str
    packages: str
    module: str
    code: str
    has_command: bool = False


OURS = Program("ours", "", "piper", _PIPER, has_command=True)
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
