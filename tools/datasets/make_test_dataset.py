#!/usr/bin/env python3
"""Makes a small dataset of real synthetic Russian speech: config.json, metadata.csv, wavs/.

The bundled espeak-ng speaks the sentences, so that there is something to learn without a download.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import espeakng_loader
import numpy as np
import soxr

from piper.audio.output import write_wav
from piper.files import replace_on_success

SENTENCES = (
    "Привет, это тест.",
    "Сегодня утром выпал первый снег.",
    "Мы вышли из дома, когда ещё не рассвело.",
    "На столе лежала раскрытая книга и чашка остывшего чая.",
    "Где ты был вчера вечером?",
    "Поезд отправляется со второго пути через десять минут.",
    "Какая чудесная погода, правда?",
    "Дети бежали к реке, смеясь и перекрикивая друг друга.",
    "Да.",
    "Старый маяк стоит на самом краю мыса.",
    "Пожалуйста, говорите медленнее.",
    "Он долго молчал, потом кивнул и вышел.",
    "В этом городе я знаю каждую улицу.",
    "Щука жила в глубоком омуте под мельницей.",
    "Завтра обещают дождь, не забудь зонт!",
    "Бабушка пекла пироги с капустой и яблоками.",
    "Учитель объяснил правило ещё раз, и все поняли.",
    "Над полем кружил одинокий ястреб.",
    "Сколько стоит этот синий шарф?",
    "Музыка стихла, и зал взорвался аплодисментами.",
    "Мне нужно починить велосипед до выходных.",
    "Река медленно несла жёлтые листья к морю.",
    "Позвони мне, как только приедешь.",
    "В лесу пахло грибами, хвоей и мокрой землёй.",
    "Я не согласен с этим решением.",
    "Кошка спала на подоконнике, свернувшись клубком.",
    "Директор подписал приказ и закрыл папку.",
    "Чей это чемодан стоит у двери?",
    "Звёзды над степью казались близкими и тёплыми.",
    "Осторожно, двери закрываются!",
    "Через неделю начинаются летние каникулы.",
    "Художник смешал краски и отошёл от холста.",
    "Этот ключ не подходит к замку.",
    "Вечером мы играли в шахматы и пили кофе.",
    "Туман рассеялся, и показались вершины гор.",
    "Спасибо за помощь, я этого не забуду.",
    "Врач посоветовал больше гулять и меньше волноваться.",
    "Корабль вошёл в гавань на рассвете.",
    "Почему ты ничего не сказал раньше?",
    "Фонари отражались в лужах длинными полосами.",
    "Внук подарил деду тёплую жилетку.",
    "Эхо трижды повторило моё имя.",
)
SPEAKER_VARIANTS = ("", "+f2", "+m3", "+f4", "+m7", "+f5")
VOICE = "ru"
FULL_SCALE = 32768.0
SILENCE_SECONDS = (0.4, 0.6)
"""Before and after each sentence, as a recording has; training trims it."""
NOISE_DB = -70.0
"""Of a quiet room, so that the silence is not digital silence."""

_RETRIEVAL = 1  # AUDIO_OUTPUT_RETRIEVAL: samples go to the callback
_POSITION_CHARACTER = 1
_UTF8 = 1
_RATE_PARAMETER = 1
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def make_test_dataset(
    output_dir: Path | str, *, sentences: int = 36, sample_rate: int = 22050, speakers: int = 1
) -> Path:
    """Make the dataset, unless the same one is there already.

    Args:
        output_dir: Folder that gets config.json, metadata.csv and wavs/.
        sentences: How many recordings; beyond the sentences at hand they repeat at another pace.
        sample_rate: Hertz of the WAVs.
        speakers: Voices that take turns; above 1 the CSV has a speaker column.

    Returns:
        The folder.
    """
    folder = Path(output_dir)
    texts = [SENTENCES[index % len(SENTENCES)] for index in range(sentences)]
    voices = [VOICE + SPEAKER_VARIANTS[index % speakers] for index in range(sentences)]
    # Slow and quick readings of a sentence differ, as a person's do; 165 words a minute on average.
    rates = [165 + (index * 7) % 21 - 10 for index in range(sentences)]
    lines = []
    for index, text in enumerate(texts):
        speaker = f"speaker{index % speakers + 1}|" if speakers > 1 else ""
        lines.append(f"utterance{index + 1:03}.wav|{speaker}{text}\n")
    csv_text = "".join(lines)
    config_text = json.dumps(
        {
            "audio": {"sample_rate": sample_rate},
            "espeak": {"voice": VOICE},
            "language": {"code": "ru"},
            "num_speakers": speakers,
        },
        indent=2,
    )
    if _is_made(folder, csv_text, sample_rate):
        return folder
    # A process of its own: espeak-ng has one global state, and the caller's phonemizer may use it.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        spoken, source_rate = executor.submit(synthesize_speech, texts, voices, rates).result()
    for index, samples in enumerate(spoken):
        recording = record(samples, source_rate, sample_rate, seed=index)
        write_wav(folder / "wavs" / f"utterance{index + 1:03}.wav", recording, sample_rate)
    with replace_on_success(folder / "config.json") as temporary:
        temporary.write_text(config_text + "\n", encoding="utf-8")
    # Last, because it marks the dataset as whole.
    with replace_on_success(folder / "metadata.csv") as temporary:
        temporary.write_text(csv_text, encoding="utf-8")
    return folder


def synthesize_speech(
    texts: Sequence[str], voices: Sequence[str], words_a_minute: Sequence[int]
) -> tuple[list[np.ndarray], int]:
    """Speak texts with espeak-ng; call it in a process that uses espeak-ng for nothing else.

    Returns:
        For each text (S,) int16, and their rate in hertz.
    """
    library = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
    data_path = espeakng_loader.get_data_path().encode()
    sample_rate = library.espeak_Initialize(_RETRIEVAL, 0, data_path, 0)
    if sample_rate <= 0:
        raise RuntimeError("espeak-ng found no data; install espeakng-loader again.")
    pieces: list[np.ndarray] = []

    def collect(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int) -> int:
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(collect)
    library.espeak_SetSynthCallback(callback)
    spoken = []
    for text, voice, rate in zip(texts, voices, words_a_minute, strict=True):
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {voice}.")
        library.espeak_SetParameter(_RATE_PARAMETER, rate, 0)
        data = text.encode()
        library.espeak_Synth(data, len(data) + 1, 0, _POSITION_CHARACTER, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        spoken.append(np.concatenate(pieces))
        pieces.clear()
    return spoken, sample_rate


def record(samples: np.ndarray, source_rate: int, sample_rate: int, seed: int) -> np.ndarray:
    """Return speech as a microphone in a quiet room gives it, (S,) float32."""
    speech = samples.astype(np.float32) / FULL_SCALE
    if source_rate != sample_rate:
        speech = soxr.resample(speech, source_rate, sample_rate)
    before, after = (np.zeros(round(s * sample_rate), np.float32) for s in SILENCE_SECONDS)
    recording = np.concatenate([before, speech, after])
    noise = np.random.default_rng(seed).standard_normal(len(recording)).astype(np.float32)
    return np.clip(recording + noise * np.float32(10 ** (NOISE_DB / 20)), -1.0, 1.0)


def _is_made(folder: Path, csv_text: str, sample_rate: int) -> bool:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = (folder / "metadata.csv").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    if found != csv_text or config.get("audio", {}).get("sample_rate") != sample_rate:
        return False
    return all((folder / "wavs" / line.split("|")[0]).is_file() for line in csv_text.splitlines())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", default="datasets/test", help="default: %(default)s")
    parser.add_argument("--sentences", type=int, default=36, help="default: %(default)s")
    parser.add_argument("--sample-rate", type=int, default=22050, help="default: %(default)s")
    parser.add_argument("--speakers", type=int, default=1, help="default: %(default)s")
    args = parser.parse_args()
    if args.sentences < 1 or not 1 <= args.speakers <= len(SPEAKER_VARIANTS):
        parser.error(f"give 1 or more sentences and 1 to {len(SPEAKER_VARIANTS)} speakers")
    if args.sample_rate < 8000:
        parser.error("give a sample rate of 8000 or more")
    folder = make_test_dataset(
        args.output_dir,
        sentences=args.sentences,
        sample_rate=args.sample_rate,
        speakers=args.speakers,
    )
    print(f"{args.sentences} recordings of synthetic Russian speech are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
