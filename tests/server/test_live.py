"""`/live`: a WebSocket that takes parts of a text and gives sound, by a real client on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from piper import PiperVoice, SynthesisConfig
from piper.server.settings import Access, ServerSettings, SpeechDefaults, SpeechLimits

START = {"type": "start", "noise_scale": 0, "noise_w_scale": 0}
FIRST, SECOND = "Hello there, how are you today?", "I am very well."

Start = Callable[..., Any]
Speak = Callable[..., Any]


class Client:
    """Sends messages as JSON; keeps what comes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self.sound = b""

    def send(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def say(self, *parts: str) -> None:
        for part in parts:
            self.send(type="text", text=part)

    def receive(self, kind: str) -> dict[str, Any]:
        """Take what comes until an event of a kind; return that."""
        while True:
            message = self.socket.recv(timeout=120)
            if isinstance(message, bytes):
                self.sound += message
                continue
            self.events.append(json.loads(message))
            if self.events[-1]["type"] == kind:
                return self.events[-1]

    def flush(self) -> None:
        """Have spoken what was said."""
        self.send(type="flush")
        self.receive("flushed")

    def end(self) -> float:
        """Say that nothing follows; return how many seconds were spoken."""
        self.send(type="end")
        return float(self.receive("end")["seconds"])

    def receive_close(self) -> int:
        with pytest.raises(ConnectionClosed) as caught:
            self.receive("never")
        assert caught.value.rcvd is not None
        return caught.value.rcvd.code

    @property
    def sentences(self) -> list[str]:
        return [event["text"] for event in self.events if event["type"] == "sentence"]


@contextmanager
def open_client(
    server: Any, start: dict[str, Any] | None = START, **options: Any
) -> Iterator[Client]:
    with connect(f"ws://127.0.0.1:{server.port}/live", **options) as socket:
        client = Client(socket)
        if start is not None:
            client.send(**start)
        yield client


def test_text_in_parts_becomes_sound_with_times(server: Any, voices_folder: Path) -> None:
    with open_client(server) as client:
        assert client.receive("ready") == {
            "type": "ready",
            "voice": "tiny",
            "sample_rate": 16000,
            "encoding": "pcm_s16le",
            "channels": 1,
        }
        client.say(FIRST[:7], FIRST[7:9], f"{FIRST[9:]} {SECOND[:4]}", SECOND[4:])
        seconds = client.end()
        assert client.receive_close() == 1000
    config = SynthesisConfig(noise_scale=0, noise_w_scale=0, normalize_audio=False)
    voice = PiperVoice.load(voices_folder / "tiny.onnx")
    first, second = voice.synthesize(f"{FIRST} {SECOND}", config, include_alignments=True)
    samples = np.frombuffer(client.sound, dtype="<i2")
    wanted = np.concatenate([first.audio_int16_array, second.audio_int16_array])
    assert len(samples) == len(wanted)
    # The windows are others than the library's.
    assert np.abs(samples.astype(int) - wanted).max() <= 1
    assert seconds == pytest.approx(len(wanted) / 16000)
    assert client.sentences == [FIRST, SECOND]
    sentence = [event for event in client.events if event["type"] == "sentence"][1]
    start = len(first.audio_int16_array) / 16000
    assert sentence["number"] == 1
    assert sentence["start_seconds"] == pytest.approx(start)
    assert [word["text"] for word in sentence["words"]] == ["I", "am", "very", "well"]
    for word, timing in zip(sentence["words"], second.word_timings, strict=True):
        assert word["start_seconds"] == pytest.approx(start + timing.start_seconds)
        assert word["end_seconds"] == pytest.approx(start + timing.end_seconds)
    assert "".join(item["phoneme"] for item in sentence["phonemes"]) == "".join(second.phonemes)
    assert sentence["phonemes"][-1]["end_seconds"] <= seconds


def test_sound_comes_while_the_text_is_still_written(server: Any) -> None:
    with open_client(server) as client:
        client.say(f"{FIRST} And")
        client.receive("sentence")
        # Nobody has said yet how the second sentence goes on.
        assert client.sentences == [FIRST]
        client.say(" so on")
        client.flush()
        assert client.sentences == [FIRST, "And so on"]
        client.say("More.")
        client.end()
        assert client.sentences == [FIRST, "And so on", "More."]


def test_pauses_between_sentences_that_come_apart(start_server: Start, speak: Speak) -> None:
    config = SynthesisConfig(sentence_silence_seconds=0.5)
    server = start_server(ServerSettings(defaults=SpeechDefaults(config=config)))
    with open_client(server) as client:
        for text in (FIRST, SECOND):
            client.say(text)
            client.flush()
        seconds = client.end()
    assert seconds == pytest.approx(0.5 + len(speak(f"{FIRST} {SECOND}")) / 16000)


def test_markdown_is_spoken_as_it_comes(server: Any) -> None:
    with open_client(server, {**START, "input_format": "markdown", "lexicon": {"you": "thou"}}) as (
        client
    ):
        client.say("Sure, I can do that. Thi")
        client.receive("sentence")  # a line without markup does not wait for its end
        client.say("s is **import", "ant**.\n\n* one\n* two `x`\n\n```\ncode()\n\n")
        client.say("```\n\n# And <b>you", "</b>?")
        client.end()
    sentences = ["Sure, I can do that.", "This is important.", "one", "two x", "And you?"]
    assert client.sentences == sentences


def test_ssml_is_spoken_when_it_is_whole(server: Any) -> None:
    with open_client(server, {**START, "input_format": "ssml"}) as client:
        client.say("<speak><p>One.", "</p><break time='1s'/><p>Two.</p></speak>")
        client.flush()
        assert client.sentences == ["One.", "Two."]
        client.say("<speak>")
        client.send(type="end")
        assert client.receive_close() == 1008
    assert "not well-formed" in client.events[-1]["detail"]


def test_voice_speaker_and_speed(server: Any, speak: Speak) -> None:
    start = {**START, "voice": "speakers", "speaker": "vera", "length_scale": 2.0}
    with open_client(server, start) as client:
        assert client.receive("ready")["voice"] == "speakers"
        client.say(SECOND)
        client.end()
    wanted = speak(SECOND, "speakers", speaker_id=2, length_scale=2.0)
    samples = np.frombuffer(client.sound, dtype="<i2")
    assert np.abs(samples.astype(int) - wanted).max() <= 1


def test_cancelled_text_is_not_spoken_and_the_connection_goes_on(server: Any) -> None:
    with open_client(server, {**START, "length_scale": 4}) as client:
        client.say(f"{FIRST} " * 150)
        client.receive("sentence")
        client.send(type="cancel")
        client.receive("cancelled")
        spoken = len(client.sentences)
        assert spoken < 140
        client.say(SECOND)
        client.flush()
        assert client.sentences[spoken:] == [SECOND]
        # Also after the end of the text: a listener has heard enough.
        client.say(f"{FIRST} " * 150)
        client.send(type="end")
        client.receive("sentence")
        client.send(type="cancel")
        client.receive("end")
        assert len(client.sentences) < spoken + 140
    server.wait_until_idle()


def test_a_client_that_goes_away_ends_its_work(server: Any) -> None:
    server.wait_until_idle()
    with open_client(server, {**START, "length_scale": 8}) as client:
        client.say(f"{FIRST} " * 150)
        client.receive("sentence")
        assert len(server.app.state.service.queue) == 1
        client.socket.close_socket()
    server.wait_until_idle()


def test_a_full_queue_only_makes_wait(start_server: Start) -> None:
    limits = SpeechLimits(at_once=1, max_waiting=0)
    server = start_server(ServerSettings(limits=limits))
    with open_client(server) as one, open_client(server) as other:
        for client in (one, other):
            client.say(f"{FIRST} {SECOND} " * 3)
            client.send(type="end")
        for client in (one, other):
            client.receive("end")
            assert len(client.sentences) == 6


def test_a_text_may_last_longer_than_one_answer(start_server: Start) -> None:
    # A language model writes faster than is spoken: all of this waits when the first sound is made.
    limits = SpeechLimits(max_group_ids=200, max_audio_seconds=10)
    server = start_server(ServerSettings(limits=limits))
    with open_client(server) as client:
        client.say(f"{FIRST} " * 30)
        assert client.end() > 2 * limits.max_audio_seconds
    assert client.sentences == [FIRST] * 30


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([{"type": "text", "text": "Hello."}], '"type" cannot be used'),
        ([{**START, "voice": "nobody"}], "There is no voice 'nobody' here"),
        ([{**START, "voice": "../other/secret"}], "There is no voice"),
        ([{**START, "voice": "speakers", "speaker": "nobody"}], "nobody"),
        ([{**START, "length_scale": 1e9}], '"length_scale" cannot be used'),
        ([START, START], "does not match any of the expected tags"),
        ([START, {"type": "text"}], "cannot be used: field required"),
        ([START, {"type": "text", "text": "a" * 5001}], "5000 characters cannot be spoken"),
        ([START, "nonsense"], "The message is not valid JSON"),
        ([START, b"\0\1"], "A message must be text, as JSON"),
    ],
)
def test_mistakes_are_one_sentence(server: Any, messages: list[Any], sentence: str) -> None:
    with open_client(server, None) as client:
        for message in messages:
            is_raw = isinstance(message, str | bytes)
            client.socket.send(message if is_raw else json.dumps(message))
        error = client.receive("error")
        assert sentence in error["detail"]
        assert client.receive_close() == 1008


def test_text_after_the_end_is_a_mistake_unless_all_has_ended(server: Any) -> None:
    with open_client(server) as client:
        with suppress(ConnectionClosed):  # the server may be done before the mistake is sent
            client.send(type="end")
            client.say("More.")
        assert client.receive_close() in (1000, 1008)


def test_unspoken_text_is_bounded(start_server: Start) -> None:
    server = start_server(ServerSettings(limits=SpeechLimits(max_unspoken_characters=1000)))
    with open_client(server, {**START, "length_scale": 10}) as client:
        for _ in range(10):
            client.say(f"{FIRST} " * 30)
        assert "send the text more slowly" in client.receive("error")["detail"]
        assert client.receive_close() == 1008
    server.wait_until_idle()


def test_messages_are_bounded(server: Any) -> None:
    with open_client(server) as client:
        client.receive("ready")
        client.socket.send("x" * (1 << 17))
        assert client.receive_close() == 1009
    assert server.synthesize(text="Hello.").status == 200


def test_the_key_comes_in_the_first_message_or_in_a_header(start_server: Start) -> None:
    server = start_server(ServerSettings(access=Access(api_key="secret")))
    with open_client(server, {**START, "api_key": "secret"}) as client:
        client.receive("ready")
    headers = {"Authorization": "Bearer secret"}
    with open_client(server, START, additional_headers=headers) as client:
        client.receive("ready")
    for start in (START, {**START, "api_key": "wrong"}):
        with open_client(server, start) as client:
            assert client.receive("error")["detail"].startswith("The API key is missing or wrong")
            assert client.receive_close() == 1008


def test_pages_of_other_origins_are_kept_out(start_server: Start) -> None:
    # Any page in the same browser could open a WebSocket to this machine.
    server = start_server(ServerSettings(access=Access(allowed_origins=("https://a.example",))))
    for origin in ("https://a.example", f"http://127.0.0.1:{server.port}"):
        with open_client(server, START, origin=origin) as client:
            client.receive("ready")
    with pytest.raises(InvalidStatus) as caught, open_client(server, origin="https://b.example"):
        pass
    assert caught.value.response.status_code == 403


def test_a_long_sentence_comes_in_growing_pieces(server: Any) -> None:
    with open_client(server) as client:
        client.say(" and ".join(["hello there"] * 60) + ".")
        client.send(type="end")
        sizes = [len(message) for message in client.socket if isinstance(message, bytes)]
    # A fifth of a second first, so that it is soon there.
    assert sizes[0] == 2 * 256 * 16
    assert len(sizes) > 4
    assert sizes[0] < sizes[1] < sizes[2]
