"""Makes the phonemes of a text for sherpa-onnx 2, which makes none for Piper's voices by itself.

python tools/inference/sherpa_phonemes.py voice.onnx 'Hello. How are you?' > phonemes.json

Prints a JSON list of sentences, each a list of code points, for `GenerationConfig`:

    config = sherpa_onnx.GenerationConfig()
    config.phoneme_codepoints = json.load(open("phonemes.json"))
    audio = sherpa_onnx.OfflineTts(...).generate("", config)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import chain

from piper.config import load_voice_config
from piper.errors import PiperError
from piper.text.frontend import create_frontend
from piper.voices import find_voice


def make_phonemes(model: str, text: str) -> list[list[int]]:
    """Return the phonemes of each sentence that the voice has ids for, as code points."""
    config = load_voice_config(find_voice(model).config)
    sentences = create_frontend(config).text_to_phonemes(text)
    known = [[phoneme for phoneme in one if phoneme in config.phoneme_id_map] for one in sentences]
    for phoneme in chain(*known):
        if len(phoneme) > 1:
            raise PiperError(
                f"The voice has a phoneme of several characters, {phoneme!r}, which "
                "sherpa-onnx cannot be given; speak with `python -m piper`."
            )
    return [[ord(phoneme) for phoneme in sentence] for sentence in known]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="phonemes of a text for sherpa-onnx 2")
    parser.add_argument("model", help="the voice's ONNX file; its JSON lies beside it")
    parser.add_argument("text")
    arguments = parser.parse_args(argv)
    try:
        print(json.dumps(make_phonemes(arguments.model, arguments.text)))
    except PiperError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
