"""What the page asks for, and who may ask: a real server on loopback."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from reviews import RunningReview, list_digests, open_table

from piper.train.review.app import create_media_folder
from piper.train.review.gathering import select_clips


def test_the_doubted_lines_are_shown_with_all_their_findings(running: RunningReview) -> None:
    review = running.ask("GET", "review").data
    assert [(clip["line"], clip["name"]) for clip in review["clips"]] == [
        (1, "utterance001.wav"),
        (2, "utterance002.wav"),
        (3, "utterance003.wav"),
    ]
    first, second, third = review["clips"]
    issues = {issue["rule"]: issue for issue in first["issues"]}
    assert issues.keys() == {"mixed-scripts", "start-silence"}
    start, end = issues["start-silence"]["span"]
    assert start == 0.0
    assert 1.9 < end < 2.5
    assert first["limits"] == [0.0, first["original"]["end"]]
    assert {issue["rule"] for issue in second["issues"]} >= {"mixed-scripts"}
    assert third["obstacle"].startswith("There is no recording of this name")
    assert {clip["state"] for clip in review["clips"]} == {"undecided"}
    assert not review["can_undo"]
    assert not review["can_redo"]
    assert review["language"] == "ru"


def test_errors_come_first_with_the_text_that_fits(doubted: Path) -> None:
    path = doubted / "check/report.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    for line, severity in ((5, "warning"), (7, "error")):
        finding = {"line": line, "name": "", "message": "", "span": None, "likely_line": line + 1}
        rule = {"rule": "other-text", "severity": severity, "advice": "", "findings": [finding]}
        report["rules"].append(rule)
    path.write_text(json.dumps(report), encoding="utf-8")
    table = open_table(doubted)
    clips = select_clips(table.gathered, doubted, is_all=False, rules="")
    assert [clip.line for clip in clips] == [1, 2, 3, 7, 5]
    texts = {clip.line: clip.text for clip in table.gathered.clips}
    assert [clip.issues[-1].fitting_text for clip in clips[3:]] == [texts[8], texts[6]]


def test_a_clip_is_heard_and_seen(running: RunningReview) -> None:
    answer = running.ask("GET", "clips/0/audio.wav")
    assert answer.headers["Content-Type"] == "audio/wav"
    clip = running.context.clips[0]
    assert clip.path is not None
    samples, rate = soundfile.read(io.BytesIO(answer.body), dtype="int16")
    original = soundfile.read(clip.path, dtype="int16")[0]
    np.testing.assert_allclose(samples, original, atol=1)
    part = running.ask("GET", "clips/0/audio.wav", Range="bytes=44-99")
    assert (part.status, part.body) == (206, answer.body[44:100])
    assert part.headers["Content-Range"] == f"bytes 44-99/{len(answer.body)}"
    assert running.ask("GET", "clips/0/spectrogram.png").body.startswith(b"\x89PNG")
    outline = running.ask("GET", "clips/0/outline").data
    assert len(outline["peaks"]) == 1000
    assert outline["top_hertz"] == rate / 2
    # Two seconds of faint noise, then speech.
    quiet = round(2.0 / clip.end_seconds * 1000) - 2
    assert max(outline["peaks"][:quiet]) < 0.01 < max(outline["peaks"])


def test_a_piece_is_heard_with_what_lies_around_it(running_cut: RunningReview) -> None:
    review = running_cut.ask("GET", "review").data
    assert [clip["name"] for clip in review["clips"]] == ["long-0003", "long-0004"]
    clip = review["clips"][0]
    assert (clip["line"], clip["speaker"]) == (None, "anna")
    assert clip["issues"][0]["message"] == "Words are missing."
    samples, rate = soundfile.read(io.BytesIO(running_cut.ask("GET", "clips/0/audio.wav").body))
    low, high = clip["limits"]
    assert len(samples) / rate == pytest.approx(high - low, abs=1e-3)
    assert low == pytest.approx(clip["start"] - 3.0)


def test_a_decision_is_on_the_disk_when_it_is_answered(running: RunningReview) -> None:
    before = list_digests(running.context.folder)
    body = {"choice": "keep", "text": "  Привет. ", "start": 1.5, "end": 2.75}
    answer = running.ask("POST", "clips/0/decision", body).data
    assert answer["clip"]["state"] == "changed"
    assert (answer["clip"]["text"], answer["clip"]["start"]) == ("Привет.", 1.5)
    assert "Привет." in (running.context.folder / "review.jsonl").read_text(encoding="utf-8")
    undone = running.ask("POST", "undo", {}).data
    assert (undone["clip"]["index"], undone["clip"]["state"]) == (0, "undecided")
    assert (undone["can_undo"], undone["can_redo"]) == (False, True)
    assert running.ask("POST", "redo", {}).data["clip"]["state"] == "changed"
    assert running.ask("POST", "redo", {}).data["key"] is None
    assert list_digests(running.context.folder) == before


def test_mistakes_are_sentences(running: RunningReview) -> None:
    good = {"choice": "keep", "text": "x", "start": 0.0, "end": 1.0}
    for path, body in (
        ("clips/99/decision", good),
        ("clips/0/decision", {**good, "text": ""}),
        ("clips/0/decision", {**good, "choice": "perhaps"}),
        ("clips/0/decision", {**good, "choice": "drop", "end": float("nan")}),
        ("clips/2/decision", good),
        # Half of an emoji: once in the journal, no answer with its clip could be written any more.
        ("clips/0/decision", {**good, "text": "Пр\ud83dвет"}),
        ("clips/0/decision", {**good, "choice": "drop", "text": "\ud83d"}),
        ("copy", {"folder": " "}),
        ("copy", {"folder": "new\0"}),
        ("copy", {"folder": "~nobody-of-this-name/new"}),
        ("copy", {"folder": str(running.context.folder)}),
        ("phonemes", {}),
    ):
        answer = running.ask("POST", path, body)
        assert answer.status == 422, path
        assert len(answer.data["detail"].split()) > 3
    assert running.ask("GET", "clips/2/audio.wav").status == 422
    assert not running.ask("GET", "review").data["can_undo"]


def test_what_the_disk_refuses_is_said_in_a_sentence(
    running: RunningReview, tmp_path: Path
) -> None:
    """Where the copy may not be written, "its log says how" would help nobody at the page."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "new", tmp_path / ("x" * 300)):
        answer = running.ask("POST", "copy", {"folder": str(folder)})
        assert answer.status == 500
        assert "check the path, its rights and the room on the disk" in answer.data["detail"]


def test_phonemes_are_those_that_training_hears(running: RunningReview) -> None:
    answer = running.ask("POST", "phonemes", {"text": "Привет, это тест."}).data
    assert answer == {"phonemes": "prʲivʲˈet, ˈɛtʌ tʲˈɛst.", "mistake": ""}
    marked = running.ask("POST", "phonemes", {"text": "зам+ок"}).data["phonemes"]
    assert marked == "zamˈok"


def test_the_copy_is_written_from_the_page(running: RunningReview, tmp_path: Path) -> None:
    body = {"choice": "drop", "text": "x", "start": 0.0, "end": 1.0}
    running.ask("POST", "clips/0/decision", body)
    answer = running.ask("POST", "copy", {"folder": str(tmp_path / "copy")}).data
    assert answer["summary"].startswith("14 recordings, 2 changes, 2 lines left out; 1 undecided")
    assert not (tmp_path / "copy" / "wavs" / "utterance001.wav").exists()
    # Without a folder before it, the copy lies beside the dataset.
    beside = running.ask("POST", "copy", {"folder": "beside"}).data["folder"]
    assert Path(beside) == running.context.folder.parent / "beside"


def test_only_our_own_page_is_answered(running: RunningReview) -> None:
    port = running.port
    assert running.ask("GET", "", Host=f"localhost:{port}").status == 200
    assert running.ask("GET", "", Host=f"127.0.0.1:{port}").status == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", ""):
        refused = running.ask("GET", "review", Host=host)
        assert refused.status == 403, host
        assert "is no name of this review" in refused.data["detail"]
    own = f"http://127.0.0.1:{port}"
    assert running.ask("POST", "undo", {}, Origin=own).status == 200
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{port + 1}", f"{own}.evil"):
        refused = running.ask("POST", "undo", {}, Origin=origin)
        assert refused.status == 403, origin
        assert "may not use this review" in refused.data["detail"]


def test_without_the_token_there_is_nothing(running: RunningReview) -> None:
    for prefix in ("/", "/token/", "/token-of-the-test/", "//token-of-the-tests/", "/%D0%BA/"):
        refused = running.ask("GET", "review", prefix=prefix)
        assert refused.status == 403, prefix
        assert "token" in refused.data["detail"]
    refused = running.ask("POST", "undo", {}, prefix="/")
    assert refused.status == 403


@pytest.mark.parametrize(
    "path",
    [
        "clips/-1/audio.wav",
        "clips/..%2f..%2fmetadata.csv/audio.wav",
        "clips/0/../../../../../etc/passwd",
        "clips/0/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "../../etc/passwd",
        "page.html",
    ],
)
def test_no_path_leads_to_other_files(running: RunningReview, path: str) -> None:
    answer = running.ask("GET", path)
    assert answer.status in (403, 404, 422)
    assert b"root:" not in answer.body


def test_the_page_may_load_nothing_from_elsewhere(running: RunningReview) -> None:
    answer = running.ask("GET", "")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    page = answer.body.decode()
    assert "http:" not in page
    assert "https:" not in page


def test_reviews_of_two_datasets_share_a_cache(tmp_path: Path) -> None:
    """Each empties its folder when it starts: not the other's, and none that somebody made."""
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "notes.txt").touch()
    with create_media_folder(tmp_path, Path("anna")) as anna:
        (anna / "1.wav").touch()
        with create_media_folder(tmp_path, Path("boris")):
            assert (anna / "1.wav").exists()
        with create_media_folder(tmp_path, Path("anna")) as again:
            assert not list(again.iterdir())  # what a kill has left
    assert [path.name for path in tmp_path.rglob("*")] == ["review", "notes.txt"]
