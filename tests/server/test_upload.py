"""Voices that are put beside a running server, or sent to it: which are offered, which never."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from playwright.sync_api import Browser, expect
from servers import copy_voice, wait_until
from try_pages import SHORT_TEXT, begin, find_address, open_page

from piper.server import upload
from piper.server.settings import Access, Downloads, ServerSettings, SpeechLimits
from piper.server.wyoming import create_info

KEY = {"Authorization": "Bearer secret"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "voices"


@pytest.fixture
def create(start_server: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """Start a server with a key, whose voices go into the folder."""

    def create(key: str | None = "secret", **limits: Any) -> Any:
        settings = ServerSettings(
            limits=SpeechLimits(**limits),
            downloads=Downloads(folder),
            access=Access(api_key=key),
        )
        folder.mkdir(exist_ok=True)
        return start_server(settings, folder)

    return create


@pytest.fixture
def keyed(create: Callable[..., Any]) -> Any:
    return create()


def read_voice(model: Path) -> bytes:
    """Return a voice as it is sent."""
    return Path(f"{model}.json").read_bytes() + b"\n" + model.read_bytes()


def send(server: Any, body: bytes, name: str = "anna", **headers: str) -> Any:
    kind = "application/octet-stream"
    return server.ask("PUT", f"/voices/{name}", body, kind, KEY | headers)


def list_names(server: Any) -> list[str]:
    return list(json.loads(server.ask("GET", "/voices", headers=KEY).body))


def list_wyoming(server: Any) -> list[str]:
    [program] = create_info(server.app.state.service.voices, is_streaming=False).tts
    return [voice.name for voice in program.voices]


def test_a_voice_that_is_put_beside_a_running_server_is_offered(
    keyed: Any, folder: Path, tiny_voice: Path
) -> None:
    def speak() -> int:
        body = json.dumps({"text": "Hi.", "voice": "new"})
        return int(keyed.ask("POST", "/synthesize", body, headers=KEY).status)

    assert speak() == 404
    whole = tiny_voice.read_bytes()
    shutil.copy(f"{tiny_voice}.json", folder / "new.onnx.json")
    for content in (b"", whole[: len(whole) // 2]):  # as it is while it is being copied
        (folder / "new.onnx").write_bytes(content)
        assert "new" not in list_names(keyed) + list_wyoming(keyed)
    (folder / "new.onnx").write_bytes(whole)
    assert "new" in list_names(keyed) and "new" in list_wyoming(keyed)
    assert speak() == 200
    (folder / "new.onnx").unlink()
    assert "new" not in list_names(keyed) + list_wyoming(keyed)
    assert speak() == 404


def test_a_voice_that_is_sent_speaks_and_is_replaced_when_asked_for(
    keyed: Any, folder: Path, tiny_voice: Path, tiny_voice_multi_speaker: Path
) -> None:
    answer = send(keyed, b"\xef\xbb\xbf" + read_voice(tiny_voice), "%D0%90%D0%BD%D1%8F.onnx")
    assert (answer.status, json.loads(answer.body)["name"]) == (201, "Аня")
    assert sorted(path.name for path in folder.iterdir()) == ["Аня.onnx", "Аня.onnx.json"]
    assert (folder / "Аня.onnx").read_bytes() == tiny_voice.read_bytes()
    said = keyed.ask(
        "POST", "/synthesize", json.dumps({"text": "Hi.", "voice": "Аня"}), headers=KEY
    )
    assert said.status == 200
    assert "Аня" in list_wyoming(keyed)

    other = read_voice(tiny_voice_multi_speaker)
    answer = send(keyed, other, "%D0%90%D0%BD%D1%8F")
    assert answer.status == 409 and "replace" in answer.sentence
    answer = send(keyed, other, "%D0%90%D0%BD%D1%8F?replace=true")
    assert (answer.status, json.loads(answer.body)["num_speakers"]) == (201, 3)
    assert sorted(path.name for path in folder.iterdir()) == ["Аня.onnx", "Аня.onnx.json"]


def test_nothing_is_taken_without_a_key(
    create: Callable[..., Any], folder: Path, tiny_voice: Path
) -> None:
    server = create(key=None)
    answer = send(server, read_voice(tiny_voice))
    assert answer.status == 403 and "PIPER_API_KEY" in answer.sentence
    page = server.get("/").body.decode()
    assert "max_upload_bytes&quot;: null" in page
    server = create()
    wrong = server.ask("PUT", "/voices/anna", b"{}", headers={"Authorization": "Bearer no"})
    assert wrong.status == 401
    # A cookie, or a page of another origin that has the key, is none.
    answer = send(server, read_voice(tiny_voice), Origin="https://evil.example")
    assert answer.status == 403
    assert list(folder.iterdir()) == []


def test_a_name_is_no_path(keyed: Any, folder: Path, tiny_voice: Path) -> None:
    names = ["..", ".hidden", "..%2Fx", "%2Fetc%2Fx", "a%5Cb", "a:b", "con", "LPT1.x", "tts-1"]
    for name in [*names, "-m", "a%00b", "a" * 201, "a%0Ab", "%E2%80%AEa", ".onnx"]:
        answer = send(keyed, read_voice(tiny_voice), name)
        assert answer.status in (404, 422), name
        assert answer.sentence
    assert [path.name for path in folder.parent.rglob("*")] == ["voices"]


def test_what_lies_there_is_left(
    keyed: Any, folder: Path, tiny_voice: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    (folder / "link.onnx").symlink_to(secret)
    (folder / "config.onnx.json").symlink_to(secret)
    (folder / "folder.onnx").mkdir()
    os.mkfifo(folder / "pipe.onnx")
    before = sorted(folder.iterdir())
    # `tiny` is the server's default voice, which lies in another folder.
    for name in ("link", "config", "folder", "pipe", "tiny"):
        answer = send(keyed, read_voice(tiny_voice), f"{name}?replace=true")
        assert (answer.status, "lies elsewhere" in answer.sentence) == (409, True)
    assert secret.read_text() == "mine" and sorted(folder.iterdir()) == before


def make_model(weights: TensorProto, op: str = "Identity", rank: int = 1) -> bytes:
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * rank)
    inputs = [
        helper.make_tensor_value_info("input", TensorProto.INT64, [None, None]),
        helper.make_tensor_value_info("input_lengths", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("scales", TensorProto.FLOAT, [3]),
    ]
    node = helper.make_node(op, [weights.name], ["output"])
    graph = helper.make_graph([node], "g", inputs, [output], [weights])
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, ir_version=8, opset_imports=opset).SerializeToString())


def make_external(location: str) -> bytes:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return make_model(tensor)


def test_what_is_no_voice_is_never_offered(keyed: Any, folder: Path, tiny_voice: Path) -> None:
    config, model = Path(f"{tiny_voice}.json").read_bytes(), tiny_voice.read_bytes()
    for body, message in {
        b"": "does not begin with a voice's JSON",
        b"[" * 100_000: "does not begin with a voice's JSON",
        b'{"a": "' + b"x" * 1_200_000: "does not begin with a voice's JSON",
        b'{"a": ' + b"9" * 5000 + b"}" + model: "does not begin with a voice's JSON",
        model: "does not begin",
        config: "anna.onnx is no whole ONNX file",
        b"{}" + model: "anna.onnx.json",
        b"7" + model: "an object is wanted",
        config + model[:-9]: "no whole ONNX file",
        config + model + b"x": "no whole ONNX file",
    }.items():
        check_refused(send(keyed, body), message, folder)
    said = send(keyed, b"", **{"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.8"}).sentence
    assert said.startswith("Тело запроса не начинается")


def check_refused(answer: Any, message: str, folder: Path) -> None:
    assert answer.status == 422, (answer.status, message)
    assert message in answer.sentence and str(folder) not in answer.sentence
    assert len(answer.sentence) < 400 and "\n" not in answer.sentence
    assert list(folder.iterdir()) == []


SLOW = pytest.mark.long


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("huge", "cannot speak"),
        pytest.param("/etc/passwd", "in another file", marks=SLOW),
        pytest.param("../secret", "in another file", marks=SLOW),
        pytest.param("secret", "in another file", marks=SLOW),
        pytest.param("silent", "no sound", marks=SLOW),
        pytest.param("speakers", "num_speakers", marks=SLOW),
        pytest.param("more speakers", "cannot speak", marks=SLOW),
        pytest.param("endless", "within", marks=SLOW),
    ],
)
def test_what_cannot_speak_is_never_offered(
    keyed: Any,
    folder: Path,
    tiny_voice: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    kind: str,
    message: str,
) -> None:
    config, model = Path(f"{tiny_voice}.json").read_bytes(), tiny_voice.read_bytes()
    if kind == "huge":  # ten terabytes of zeros, from a hundred bytes
        shape = numpy_helper.from_array(np.array([10**7, 10**6]), "w")
        model = make_model(shape, "ConstantOfShape", 2)
    elif kind == "silent":
        model = make_model(numpy_helper.from_array(np.zeros((1, 1, 0), "float32"), "w"), rank=3)
    elif kind == "speakers":
        config = json.dumps({**json.loads(config), "num_speakers": 7}).encode()
    elif kind == "more speakers":
        several = request.getfixturevalue("tiny_voice_multi_speaker")
        config = json.loads(Path(f"{several}.json").read_bytes()) | {"num_speakers": 7}
        config, model = json.dumps(config).encode(), several.read_bytes()
    elif kind == "endless":
        monkeypatch.setattr(upload, "_CHECK_SECONDS", 0.01)
    else:
        model = make_external(kind)
        for place in (folder.parent, folder.parent / "voices-of-others"):
            place.mkdir(exist_ok=True)
            (place / "secret").write_bytes(bytes(16))
    check_refused(send(keyed, config + model), message, folder)


def begin_sending(server: Any, head: str, body: bytes = b"") -> socket.socket:
    """Begin to send a voice."""
    connection = socket.create_connection(("127.0.0.1", server.port), 60)
    start = "PUT /voices/slow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n"
    connection.sendall(f"{start}{head}\r\n\r\n".encode() + body)
    return connection


def test_bodies_are_bounded(
    create: Callable[..., Any], folder: Path, tiny_voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = create(max_upload_bytes=2_000_000, max_body_seconds=0.5)
    config = Path(f"{tiny_voice}.json").read_bytes()
    with begin_sending(server, "Content-Length: 2000001") as connection:
        assert b" 413 " in connection.recv(100)
    blocks = b"%x\r\n%s\r\n" % (3_000_000, config.ljust(3_000_000, b"\0"))
    with begin_sending(server, "Transfer-Encoding: chunked", blocks) as connection:
        assert b" 413 " in connection.recv(100)
    with begin_sending(server, "Content-Length: 100000", config) as connection:
        assert b" 408 " in connection.recv(100)
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(upload, "_SPARE_BYTES", 10**18)
    answer = send(server, read_voice(tiny_voice))
    assert answer.status == 507 and "no room" in answer.sentence
    assert list(folder.iterdir()) == []


def test_one_voice_comes_at_a_time_and_what_breaks_off_leaves_nothing(
    create: Callable[..., Any], folder: Path, tiny_voice: Path
) -> None:
    body = read_voice(tiny_voice)
    first, second = create(), create()  # two servers on one folder
    with begin_sending(first, f"Content-Length: {len(body)}", body[:-1]):
        wait_until(lambda: len(list(folder.iterdir())) == 3)  # two parts and a lock
        assert "slow" not in list_names(first)
        for server, name in ((first, "slow"), (first, "anna"), (second, "slow")):
            answer = send(server, body, name)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    # It says more than it sends.
    wait_until(lambda: not list(folder.iterdir()))
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda server=server: answers.append(send(server, body).status))
        for server in (first, second, first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(201) == 1 and set(answers) <= {201, 409, 503}
    assert sorted(path.name for path in folder.iterdir()) == ["anna.onnx", "anna.onnx.json"]


@pytest.mark.parametrize(("language", "width"), [pytest.param("en", 1200, marks=SLOW), ("ru", 390)])
def test_the_page_adds_a_voice(
    create: Callable[..., Any],
    folder: Path,
    tiny_voice: Path,
    tmp_path: Path,
    browser: Browser,
    language: str,
    width: int,
) -> None:
    server = create(max_upload_bytes=5_000_000)
    model = copy_voice(tiny_voice, tmp_path / "vera.onnx")
    files = [str(model), f"{model}.json"]
    size = {"width": width, "height": 800}
    with open_page(
        browser,
        find_address(server),
        expected_errors="40[19]|422",
        viewport=size,
        locale=language,
    ) as page:
        page.fill("#key", "no")
        page.press("#key", "Enter")
        said = {"en": "missing or wrong", "ru": "Ключа API нет"}
        expect(page.locator("#key-mistake")).to_contain_text(said[language])
        page.fill("#key", "secret")
        page.press("#key", "Enter")
        expect(page.locator("#about-voice")).not_to_be_empty()
        page.click("#add")
        page.click("#send")
        mistake = page.locator("#adding-mistake")
        expect(mistake).to_contain_text({"en": "Choose two files", "ru": "Выберите"}[language])
        page.set_input_files("#files", files)
        expect(page.locator("#name")).to_have_value("vera")
        page.fill("#name", "con")
        page.click("#send")
        expect(mistake).to_contain_text({"en": "no name for", "ru": "не подходит"}[language])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.fill("#name", "vera")
        page.click("#send")
        expect(page.locator("#voice")).to_have_value("vera")
        expect(page.locator("#adding")).to_be_hidden()
        assert (folder / "vera.onnx").is_file()
        page.click("#add")
        page.set_input_files("#files", files)
        page.click("#send")
        expect(mistake).to_contain_text({"en": "There is a voice", "ru": "уже есть"}[language])
        page.click("#no-adding")
        # What a WebSocket says is in the reader's language, too.
        (folder / "vera.onnx").write_bytes(b"")
        begin(page, SHORT_TEXT)
        said = {"en": "vera cannot be loaded", "ru": "Голос vera не загружается"}
        expect(page.locator("#mistake")).to_contain_text(said[language])
