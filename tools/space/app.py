"""A page that speaks with one voice, by Gradio: for a Space of the Hugging Face Hub, or at home.

VOICE names it: a file, or an address such as hf://USER/NAME.
"""

from __future__ import annotations

import os

import gradio
import numpy as np

from piper import PiperVoice, SynthesisConfig

WORDS = gradio.I18n(
    en={
        "text": "Text",
        "speed": "Speed",
        "speaker": "Speaker",
        "speak": "Speak",
        "speech": "Speech",
    },
    ru={
        "text": "Текст",
        "speed": "Скорость",
        "speaker": "Диктор",
        "speak": "Озвучить",
        "speech": "Речь",
    },
)


def create_page(voice: PiperVoice) -> gradio.Blocks:
    """Return the page of a voice."""
    speakers = list(voice.config.speaker_id_map)

    def speak(text: str, speed: float, speaker: str | None) -> tuple[int, np.ndarray]:
        settings = SynthesisConfig(
            length_scale=voice.config.length_scale / speed,
            speaker_id=voice.config.speaker_id_map[speaker] if speaker else None,
        )
        chunks = [chunk.audio_int16_array for chunk in voice.synthesize(text, settings)]
        return voice.config.sample_rate, np.concatenate([np.zeros(0, np.int16), *chunks])

    with gradio.Blocks(title="Piper") as page:
        text = gradio.Textbox(label=WORDS("text"), lines=3, max_length=1000)
        with gradio.Row():
            speed = gradio.Slider(0.5, 2.0, 1.0, step=0.05, label=WORDS("speed"))
            speaker = gradio.Dropdown(speakers, label=WORDS("speaker"), visible=len(speakers) > 1)
        button = gradio.Button(WORDS("speak"), variant="primary")
        sound = gradio.Audio(label=WORDS("speech"), autoplay=True)
        gradio.on([button.click, text.submit], speak, [text, speed, speaker], sound)
    return page


if __name__ == "__main__":
    create_page(PiperVoice.load(os.environ.get("VOICE", "voice.onnx"))).launch(i18n=WORDS)
