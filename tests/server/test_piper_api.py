"""The existing client's endpoints on a real server: what they answer, and what is a mistake."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from servers import copy_voice

from piper.audio.output import encode_samples
from piper.http_server import create_parser
from piper.server.app import create_app
from piper.server.wyoming import create_info, find_voice_of
from piper.server_options import create_settings, create_store
from piper.voices import find_voice

Start = Callable[..., Any]
Speak = Callable[..., bytes]
NO_NOISE = {"noise_scale": 0, "noise_w_scale": 0}


@pytest.fixture(scope="module")
def speak_wav(speak: Callable[..., Any]) -> Speak:
    """Return the WAV that the library gives; each sentence has full range."""
    return lambda *text, **values: encode_samples(
        speak(*text, normalize_audio=True, **values), 16000
    )


@pytest.fixture
def place_model(voices_folder: Path, tmp_path: Path) -> Callable[..., None]:
    """Put a voice into a folder whose graph has been changed."""

    def place(name: str, change: Callable[[onnx.ModelProto], None]) -> None:
        model = onnx.load(voices_folder / "tiny.onnx")
        change(model)
        path = copy_voice(voices_folder / "tiny.onnx", tmp_path / f"{name}.onnx")
        onnx.save(model, path)

    return place


def test_speech_is_the_library_s_with_its_length_known(server: Any, speak_wav: Speak) -> None:
    answer = server.synthesize(text="Hello there. And you?", **NO_NOISE)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/wav")
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.body == speak_wav("Hello there. And you?")
    with wave.open(io.BytesIO(answer.body)) as wav:
        assert wav.getnframes() == (len(answer.body) - 44) // 2


@pytest.mark.parametrize(
    ("request_", "values"),
    [
        ({"speaker": "boris"}, {"speaker_id": 1}),
        ({"speaker": "2"}, {"speaker_id": 2}),
        ({"speaker": 2}, {"speaker_id": 2}),
        ({"speaker_id": 1}, {"speaker_id": 1}),
        ({"speaker": "boris", "speaker_id": 2}, {"speaker_id": 2}),
        ({"speaker": "0:0.5,vera:0.5"}, {"speaker_mix": {0: 0.5, 2: 0.5}}),
        ({"length_scale": "2"}, {"length_scale": 2.0}),
        ({"speaker": None, "length_scale": None, "model": "unknown keys pass"}, {}),
        ({"speaker": ""}, {}),
    ],
)
def test_speaker_and_scales(
    server: Any, speak_wav: Speak, request_: dict[str, Any], values: dict[str, Any]
) -> None:
    answer = server.synthesize(text="Hello.", voice="speakers", **(NO_NOISE | request_))
    assert answer.body == speak_wav("Hello.", "speakers", **values)


def test_a_speaker_s_number_means_nothing_to_a_voice_of_one(
    server: Any, speak_wav: Speak, caplog: pytest.LogCaptureFixture
) -> None:
    # Programs that speak by several voices send it with each of them.
    caplog.set_level("INFO")
    wanted = speak_wav("Hello.")
    for speaker in ({"speaker_id": 7}, {"speaker": "3"}, {"speaker": 12}, {"speaker": ""}):
        assert server.synthesize(text="Hello.", **speaker, **NO_NOISE).body == wanted
    assert "The speaker 7 is ignored: the voice has one." in caplog.text
    query = server.get("/?text=Hello.&speaker_id=4&speaker=&noise_scale=0&noise_w_scale=0&voice=")
    assert query.body == wanted
    assert server.synthesize(text="Hello.", speaker="boris").status == 422


def test_null_is_as_good_as_nothing(server: Any) -> None:
    keys = ("voice", "speaker", "speaker_id", "length_scale", "noise_scale", "noise_w_scale")
    assert server.synthesize(text="Hello.", **dict.fromkeys(keys)).status == 200
    assert "field required" in server.synthesize(text=None).sentence
    body = json.dumps({"voice": "tiny", "force_redownload": None})
    assert server.ask("POST", "/download", body).body == b"tiny"


def test_head_is_answered_as_get_is(server: Any) -> None:
    # A media player asks so before it asks for the sound.
    quiet = "noise_scale=0&noise_w_scale=0"
    for path in (
        f"/?text=Hello.&{quiet}",
        f"/?text=Hello.+And+you?&voice=speakers&speaker=vera&{quiet}",
        "/",
        "/voices",
        "/info",
        "/health",
        "/openapi.json",
        "/v1/models",
        "/v1/models/tiny",
        "/v1/audio/voices",
        "/?text=Hello.&voice=nobody",
        "/nothing",
        "/synthesize",
    ):
        asked, head = server.get(path), server.ask("HEAD", path)
        assert (head.status, head.body) == (asked.status, b""), path
        for name in ("Content-Type", "Content-Length"):
            assert head.headers[name] == asked.headers[name], path
    assert server.ask("HEAD", "/metrics").status == 200
    server.wait_until_idle()
    paths = server.get_json("/openapi.json")["paths"]
    assert not any("head" in methods for methods in paths.values())


def test_another_voice_speaks_for_one_that_is_not_there(
    start_server: Start, voices_folder: Path, speak_wav: Speak, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fallback = find_voice(voices_folder / "speakers.onnx")
    server = start_server(fallback=fallback)
    wanted = speak_wav("Hello.", "speakers")
    assert server.synthesize(text="Hello.", voice="nobody", speaker="ivan", **NO_NOISE).body == (
        wanted
    )
    assert "There is no voice 'nobody'; speakers speaks." in caplog.text
    assert server.synthesize(text="Hello.", voice="speakers", speaker="ivan").status == 422
    assert server.speech(input="Hello.", voice="nobody", response_format="wav").status == 200
    assert find_voice_of(server.app.state.service.voices, "xx") == "speakers"


@pytest.mark.parametrize(
    ("request_", "read"),
    [
        ({"text": "**Hello** there.", "input_format": "markdown"}, "Hello there."),
        ({"text": "Hello <sub alias='there'>x</sub>.", "input_format": "ssml"}, "Hello there."),
        ({"text": "Hello there.", "input_format": "text"}, "Hello there."),
        ({"text": "Hello there.", "input_format": None}, "Hello there."),
        ({"text": "I have 2.", "write_numbers": True}, "I have two."),
        ({"text": "Hello SQL.", "lexicon": {"sql": "sequel"}}, "Hello sequel."),
        ({"text": "Hello SQL.", "lexicon": {"SQL": "[[sˈiːkwəl]]"}}, "Hello sequel."),
        ({"text": "Hello.", "stress": "off", "write_numbers": False}, "Hello."),
    ],
)
def test_how_a_text_is_read(
    server: Any, speak_wav: Speak, request_: dict[str, Any], read: str
) -> None:
    assert server.synthesize(**request_, **NO_NOISE).body == speak_wav(read)


def test_what_the_command_says_of_texts_counts_where_a_request_says_nothing(
    start_server: Start, voices_folder: Path, speak_wav: Speak, tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("SQL\tsequel\nGIF\tjiff\n")
    model = str(voices_folder / "tiny.onnx")
    options = ["--write-numbers", "--lexicon", str(tmp_path / "words.txt"), "--noise-scale", "0"]
    options += ["--noise-w-scale", "0", "--input-format", "markdown", "--ellipsis-silence", "0.5"]
    args = create_parser().parse_args(["-m", model, *options])
    settings = create_settings(args)
    server = start_server(settings, store=create_store(args, settings, listed_by="/voices"))
    server.app.state.service.prepare()
    wanted = speak_wav("Two sequel jiff.")
    assert server.synthesize(text="*2* SQL GIF.").body == wanted
    more = {"text": "*2* SQL GIF.", "lexicon": {"gif": "giff"}}
    assert server.synthesize(**more).body == speak_wav("Two sequel giff.")
    plain = {"text": "2 SQL GIF.", "input_format": "text", "write_numbers": False}
    wanted = speak_wav("2 sequel jiff.")
    assert server.synthesize(**plain).body == wanted
    long = len(server.synthesize(text="Well … yes.").body)
    short = len(server.synthesize(text="Well … yes.", ellipsis_silence=0.25).body)
    assert long - short == 0.25 * 16000 * 2


def test_text_is_another_name_of_plain(voices_folder: Path) -> None:
    arguments = ["-m", str(voices_folder / "tiny.onnx"), "--input-format", "text"]
    settings = create_settings(args := create_parser().parse_args(arguments))
    store = create_store(args, settings, listed_by="/voices")
    # It was no kind of markup, and the server did not start.
    create_app(store, settings).state.service.prepare()


def test_json_whatever_its_content_type(server: Any, speak_wav: Speak) -> None:
    body = json.dumps({"text": "Hello.", **NO_NOISE})
    for content_type in ("text/plain;charset=UTF-8", "application/x-www-form-urlencoded"):
        answer = server.ask("POST", "/synthesize", body, content_type)
        assert answer.body == speak_wav("Hello.")


def test_clients_of_older_servers(server: Any) -> None:
    for answer in (
        server.ask("POST", "/", "Hello.", "text/plain"),
        server.ask("POST", "/", '{"text": "Hello."}'),
        server.get("/?text=Hello.&speaker_id=0"),
    ):
        assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/wav")
    assert server.ask("POST", "/", "text=Hello.", "application/x-www-form-urlencoded").status == 415
    assert server.ask("POST", "/", b"Caf\xe9", "text/plain").sentence == (
        "The text is not UTF-8; convert it."
    )
    assert server.get("/?text=Hello.&speaker_id=x").status == 422


def test_the_page_has_nothing_from_elsewhere(server: Any) -> None:
    answer = server.get("/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"http" not in answer.body
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    # Its only style and its only script are those that the policy lets run.
    for tag in (b"style", b"script"):
        [content] = re.findall(b"<%s>(.*?)</%s>" % (tag, tag), answer.body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        assert f"{tag.decode()}-src 'sha256-{digest}'" in policy
    assert server.ask("HEAD", "/").status == 200


def test_what_the_server_says_of_itself(server: Any, voices_folder: Path) -> None:
    assert server.get_json("/info") == {
        "voice": {"name": "tiny", "language": "en-us", "num_speakers": 1},
        "last": None,
    }
    voices = server.get_json("/voices")
    assert list(voices) == ["speakers", "tiny"]
    assert voices["tiny"] == json.loads((voices_folder / "tiny.onnx.json").read_text())
    health = server.get_json("/health")
    assert (health["status"], health["requests"]) == ("ok", 0)
    assert server.ask("HEAD", "/health").status == 200  # as `wget --spider` asks
    paths = server.get_json("/openapi.json")["paths"]
    assert {"/", "/synthesize", "/voices", "/download", "/health"} <= set(paths)


def test_a_name_of_a_voice_never_leaves_the_folders(server: Any, voices_folder: Path) -> None:
    for name in (
        *("nobody", "../other/secret", "..\\other\\secret", "../voices/tiny", "./tiny", " "),
        *("tiny/../../other/secret", "/etc/passwd", "tiny.onnx.json", "tiny\0"),
        *(".", "..", "*", "t?ny", str(voices_folder / "tiny.onnx"), str(voices_folder / "tiny")),
    ):
        answer = server.synthesize(text="Hello.", voice=name)
        assert answer.status == 404, name
        assert "/voices lists those that there are" in answer.sentence
    assert server.synthesize(text="Hello.", voice="x" * 201).status == 422
    assert server.synthesize(text="Hello.", voice="").status == 200  # as if none were named


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ('{"text": ""}', 422, "There is nothing to speak; give a text."),
        ('{"text": " \\n "}', 422, "There is nothing to speak; give a text."),
        ('{"text": "..."}', 422, "There is nothing to speak in the text"),
        ("{}", 422, '"text" cannot be used: field required'),
        ('{"text": 5}', 422, '"text" cannot be used: input should be a valid string'),
        ("[]", 422, "The body cannot be used"),
        ("", 400, "The body is not valid JSON"),
        ("text=Hello", 400, "The body is not valid JSON"),
        ('{"text": "a"', 400, "The body is not valid JSON"),
        ('{"text": "\\ud800"}', 400, "The body is not valid JSON"),
        (b'{"text": "\xff"}', 400, "The body is not valid JSON"),
        ("[" * 20000, 400, "The body is not valid JSON"),
        ('{"text": "a", "speaker": "nobody"}', 422, "There is no speaker nobody"),
        ('{"text": "a", "voice": "speakers", "speaker_id": 3}', 422, "There is no speaker 3"),
        ('{"text": "a", "voice": "speakers", "speaker_id": -1}', 422, "There is no speaker -1"),
        ('{"text": "a", "speaker": "0:x"}', 422, "no mixture of speakers"),
        ('{"text": "a", "length_scale": 0}', 422, '"length_scale" cannot be used'),
        ('{"text": "a", "length_scale": 1e9}', 422, '"length_scale" cannot be used'),
        ('{"text": "a", "noise_scale": NaN}', 422, '"noise_scale" cannot be used'),
        ('{"text": "a", "noise_w_scale": 9}', 422, '"noise_w_scale" cannot be used'),
        ('{"text": "a", "input_format": "rtf"}', 422, '"input_format" cannot be used'),
        ('{"text": "<p>a", "input_format": "ssml"}', 422, "The SSML is not well-formed XML"),
        (
            json.dumps({"text": "<p>" * 300 + "a" + "</p>" * 300, "input_format": "ssml"}),
            422,
            "more than 100 deep",
        ),
        ('{"text": "a", "stress": "silero"}', 422, "start the server with --stress silero"),
        ('{"text": "a", "lexicon": {"a": ""}}', 422, "the replacement is empty"),
        ('{"text": "a", "lexicon": {"a\\tb": "c"}}', 422, '"lexicon": 3 columns'),
        ('{"text": "a", "ellipsis_silence": 61}', 422, '"ellipsis_silence" cannot be used'),
        ('{"text": "a", "sentence_silence": -1}', 422, '"sentence_silence" cannot be used'),
        ('{"text": "a", "speaker": [1]}', 422, '"speaker" cannot be used: input should be a val'),
    ],
)
def test_a_mistake_is_a_sentence(server: Any, body: str, status: int, part: str) -> None:
    answer = server.ask("POST", "/synthesize", body)
    assert answer.status == status
    assert part in answer.sentence
    assert "\n" not in answer.sentence


def test_too_much_is_refused_before_it_is_spoken(server: Any) -> None:
    answer = server.synthesize(text="Hello there. " * 400)
    assert answer.status == 413
    assert "The text has 5200 characters, but at most 5000" in answer.sentence
    answer = server.synthesize(text="Hello there. " * 300, length_scale=10)
    assert answer.status == 413
    assert "The speech would last more than 600 seconds" in answer.sentence
    # The connection may break before the answer is read, as the server reads no more.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        assert server.synthesize(text="a" * 1_000_000).status == 413
    assert server.synthesize(text="Hello.").status == 200


def test_addresses_and_methods_that_are_not_there(server: Any) -> None:
    assert "/openapi.json lists" in server.get("/nothing").sentence
    assert server.get("/../../etc/passwd").status == 404
    answer = server.get("/synthesize")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert "/openapi.json lists" in answer.sentence


def test_a_bad_voice_in_the_folder_is_left_out_with_one_line(
    start_server: Start,
    tmp_path: Path,
    voices_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Each of these once made all lists of voices fail, or was offered and could not speak.
    model = (voices_folder / "tiny.onnx").read_bytes()
    good = json.loads((voices_folder / "tiny.onnx.json").read_text())
    configs = {
        "cut": "{",
        "deep": "[" * 100_000,
        "digits": json.dumps(good | {"x": 0}).replace('"x": 0', f'"x": {"9" * 5000}'),
        "nan": json.dumps(good | {"x": float("nan")}),
        "surrogate": json.dumps(good | {"x": "\ud800"}),
        "list": "[]",
        "binary": "\x00\xff",
        "speakers": json.dumps(good | {"num_speakers": "ten"}),
        "kind": json.dumps(good | {"phoneme_type": "runes"}),
        "language": json.dumps(good | {"espeak": {"voice": "xx-nowhere"}}),
        "name\udcff": json.dumps(good),
    }
    for name, text in configs.items():
        (tmp_path / f"{name}.onnx").write_bytes(model)
        (tmp_path / f"{name}.onnx.json").write_text(text, encoding="utf-8")
    models = {"empty": b"", "page": b"<!DOCTYPE html>\n", "truncated": model[:-1]}
    for name, data in models.items():
        (tmp_path / f"{name}.onnx").write_bytes(data)
        (tmp_path / f"{name}.onnx.json").write_text(json.dumps(good))
    (tmp_path / "other.onnx").write_bytes(model)
    (tmp_path / "other.onnx.json").write_text(json.dumps(good | {"unknown": ["key", None]}))
    server = start_server(folder=tmp_path)
    for _ in range(2):
        assert list(server.get_json("/voices")) == ["other", "tiny"]
        listed = server.get_json("/v1/audio/voices")["voices"]
        assert [voice["id"] for voice in listed] == ["other", "tiny"]
        models_ = server.get_json("/v1/models")["data"]
        assert [model_["id"] for model_ in models_] == ["other", "tiny", "tts-1"]
        info = create_info(server.app.state.service.voices, is_streaming=True)
        json.dumps(info.event().to_dict(), ensure_ascii=False).encode()
        assert [voice.name for voice in info.tts[0].voices] == ["tiny", "other"]
    lines = [text for text in caplog.text.splitlines() if "is not listed" in text]
    assert len(lines) == len(configs) + len(models)


def test_a_voice_that_cannot_be_loaded_is_not_the_client_s_mistake_and_listed_no_more(
    start_server: Start, place_model: Callable[..., None], tmp_path: Path, voices_folder: Path
) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = "samples"
        model.graph.node[0].op_type = "Unknown"

    place_model("other", change)
    server = start_server(folder=tmp_path)
    answer = server.synthesize(text="Hello.", voice="other")
    assert answer.status == 500
    assert answer.sentence == "The voice other cannot be loaded; the server's log says why."
    assert server.synthesize(text="Hello.").status == 200
    assert list(server.get_json("/voices")) == ["tiny"]
    shutil.copy(voices_folder / "tiny.onnx", tmp_path / "other.onnx")
    assert list(server.get_json("/voices")) == ["other", "tiny"]
    assert server.synthesize(text="Hello.", voice="other").status == 200


@pytest.mark.parametrize(
    ("operator", "constant"),
    [
        ("Neg", None),
        ("Mul", np.float32(1e30)),
        ("Mul", np.float32(np.nan)),
        ("Sub", np.float32(3)),
        ("Add", np.float32(1)),
    ],
)
def test_no_more_is_sent_than_was_declared_whatever_durations_a_graph_gives(
    start_server: Start,
    place_model: Callable[..., None],
    tmp_path: Path,
    speak_wav: Speak,
    monkeypatch: pytest.MonkeyPatch,
    operator: str,
    constant: np.float32 | None,
) -> None:
    def change(model: onnx.ModelProto) -> None:
        inputs = ["durations"]
        if constant is not None:
            inputs.append("constant")
            model.graph.initializer.append(onnx.numpy_helper.from_array(constant, "constant"))
        model.graph.node.append(onnx.helper.make_node(operator, inputs, ["wrong"]))
        model.graph.output[1].name = "wrong"

    monkeypatch.setenv("PIPER_CACHE_DIR", "off")  # so that its own graph speaks
    place_model("wrong", change)
    server = start_server(folder=tmp_path)
    answer = server.synthesize(text="Hello there. And you?", voice="wrong", **NO_NOISE)
    assert answer.headers["Content-Length"] == str(len(answer.body))
    # The library speaks by the optimised model.
    found, wanted = (
        np.frombuffer(wav, "<i2").astype(int)
        for wav in (answer.body, speak_wav("Hello there. And you?"))
    )
    assert len(found) == len(wanted)
    assert np.abs(found - wanted).max() <= 2
    answer = server.speech(input="Hello there. And you?", voice="wrong", response_format="wav")
    with wave.open(io.BytesIO(answer.body)) as wav:
        assert wav.getnframes() == (len(answer.body) - 44) // 2


def test_a_voice_whose_weights_are_damaged_is_one_sentence(
    start_server: Start, place_model: Callable[..., None], tmp_path: Path
) -> None:
    def change(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name.startswith("dp."):
                values = np.full_like(onnx.numpy_helper.to_array(tensor), np.nan)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    place_model("damaged", change)
    server = start_server(folder=tmp_path)
    answer = server.synthesize(text="Hello.", voice="damaged")
    assert answer.status == 500
    assert "export" in answer.sentence
    assert server.synthesize(text="Hello.").status == 200


def test_a_voice_that_is_put_there_later_or_changed(
    start_server: Start, tmp_path: Path, voices_folder: Path, speak_wav: Speak
) -> None:
    server = start_server(folder=tmp_path)
    assert server.synthesize(text="Hello.", voice="new").status == 404
    for source in ("tiny", "speakers"):
        copy_voice(voices_folder / f"{source}.onnx", tmp_path / "new.onnx")
        answer = server.synthesize(text="Hello.", voice="new", **NO_NOISE)
        assert answer.body == speak_wav("Hello.", source)
