from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import espeakng_loader
import pytest

from piper.errors import PhonemizeError
from piper.phonemize_espeak import EspeakPhonemizer
from piper.text.phonemizers import DATA_VARIABLE, LIBRARY_VARIABLE, Espeak
from piper.text.sentence import Clause

ENGLISH = "Hello there, how are you? It's 3.14."
RUSSIAN = "Привет, как дела? Всё хорошо."


def test_clauses_keep_their_punctuation_and_the_character_after_it() -> None:
    assert Espeak().translate("en-us", "Hello. World") == [
        Clause("Hello. ", "W", "həlˈoʊ"),
        Clause("World", "", "wˈɜːld"),
    ]


def test_clauses_make_up_the_text() -> None:
    text = "Да — нет… «Кто?!» Ёж, 5-й.\n\n1,5 кг😀"
    assert "".join(clause.source for clause in Espeak().translate("ru", text)) == text


def test_language_flags_are_removed() -> None:
    (clause,) = Espeak().translate("ru", "слово hello слово")
    assert clause.phonemes == "sɭˈovʌ həlˈəʊ sɭˈovʌ"


def test_a_text_leaves_nothing_behind_for_the_next_one() -> None:
    # Without care espeak-ng 1.52 speaks the held-back dot: "pˈunto lˈa".
    espeak = Espeak()
    espeak.translate("es-419", "La casa..")
    assert espeak.translate("es-419", "la ") == [Clause("la ", "", "lˈa")]


def test_a_text_with_nul_and_lone_surrogate_is_read_to_its_end() -> None:
    clauses = Espeak().translate("en-us", "one\0two\ud800 three")
    assert "θɹˈiː" in clauses[-1].phonemes


def test_no_abbreviation_ends_the_process() -> None:
    # 198 letters with dots between them overwrote espeak-ng's stack: one request ended a server.
    texts = ["a." * 2000, "a .b. " * 500, "é." * 500, "𝓗.," * 500, "\u0301." * 500, "I.V.X." * 500]
    program = f"""
from piper.text.phonemizers import Espeak
for text in {texts!r}:
    for voice in ("en-us", "ru"):
        clauses = Espeak().translate(voice, text)
        assert "".join(clause.source for clause in clauses) == text
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_usual_dots_are_left_alone() -> None:
    # As many as make a long abbreviation, and each of them is spoken.
    for text, spoken in (("1.5 or ", "pɔɪnt"), ("Node.js or ", "dɑːt")):
        clauses = Espeak().translate("en-us", text * 40)
        phonemes = "".join(clause.phonemes for clause in clauses).replace("ˈ", "")
        assert phonemes.count(spoken) >= 40


def test_the_alphabet_with_dots_stays_one_abbreviation() -> None:
    [clause] = Espeak().translate("en-us", ".".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ") + ".")
    assert " " not in clause.phonemes


@pytest.mark.parametrize("voice", ["xx", "", "en_US", "e\0n"])
def test_unknown_voice_is_named_in_one_sentence(voice: str) -> None:
    espeak = Espeak()
    espeak.translate("ru", "да")
    with pytest.raises(PhonemizeError) as caught:
        espeak.check_voice(voice)
    assert str(caught.value) == (
        f'espeak-ng 1.52.0 has no voice "{voice}"; '
        'name one of its languages, such as "en-us", "ru" or "es-419".'
    )
    assert espeak.translate("ru", "да")[0].phonemes == "dˈɑ"


def test_threads_with_different_languages_get_what_they_get_alone() -> None:
    espeak = Espeak()
    alone = {
        voice: espeak.translate(voice, text)
        for voice, text in (("en-us", ENGLISH), ("ru", RUSSIAN))
    }
    together: dict[str, list[list[Clause]]] = {"en-us": [], "ru": []}

    def work(voice: str, text: str) -> None:
        own = Espeak()
        for _ in range(60):
            together[voice].append(own.translate(voice, text))

    threads = [
        threading.Thread(target=work, args=arguments)
        for arguments in (("en-us", ENGLISH), ("ru", RUSSIAN))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for voice, results in together.items():
        assert len(results) == 60
        assert all(result == alone[voice] for result in results)


def test_another_data_folder_can_be_given_and_left_again(tmp_path: Path) -> None:
    link = tmp_path / "data"
    link.symlink_to(espeakng_loader.get_data_path())
    assert Espeak(data_dir=link).translate("ru", "да")[0].phonemes == "dˈɑ"
    assert Espeak(data_dir=tmp_path / "data").version == "1.52.0"
    assert Espeak().translate("en-us", "yes")[0].phonemes == "jˈɛs"
    assert EspeakPhonemizer(espeak_data_dir=link).phonemize("ru", "да") == [list("dˈɑ")]


def test_two_data_folders_take_turns(tmp_path: Path) -> None:
    """One library that was given folder after folder once answered with another table's sounds."""
    link = tmp_path / "data"
    link.symlink_to(espeakng_loader.get_data_path())
    both = (Espeak(data_dir=link), Espeak())
    for _ in range(3):
        for espeak in both:
            assert espeak.translate("ru", "да")[0].phonemes == "dˈɑ"
        assert both[0].translate("fr", "vin")[0].phonemes == "vˈɛ̃"
        assert both[1].translate("ru", "да")[0].phonemes == "dˈɑ"


def test_environment_is_read_when_the_object_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = Espeak()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(PhonemizeError, match=r"holds no espeak-ng data .* PIPER_ESPEAK_DATA"):
        Espeak().check_voice("ru")
    assert before.translate("ru", "да")[0].phonemes == "dˈɑ"
    monkeypatch.delenv(DATA_VARIABLE)
    monkeypatch.setenv(LIBRARY_VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(PhonemizeError, match=r"none\.so cannot be loaded .* PIPER_ESPEAK_LIBRARY"):
        _ = Espeak().version


def test_a_path_that_espeak_cannot_hold_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90) / ("y" * 90)
    deep.mkdir(parents=True)
    link = deep / "data"
    link.symlink_to(espeakng_loader.get_data_path())
    with pytest.raises(PhonemizeError, match="at most 159 bytes"):
        Espeak(data_dir=link).check_voice("ru")
    assert Espeak().translate("ru", "да")[0].phonemes == "dˈɑ"


def test_compat_phonemizer_gives_sentences_of_code_points() -> None:
    phonemizer = EspeakPhonemizer()
    assert phonemizer.phonemize("en-us", "Yes! No.") == [list("jˈɛs!"), list("nˈoʊ.")]
    assert phonemizer.phonemize("fr", "vin") == [["v", "ˈ", "ɛ", "\u0303"]]
    # Seen on Piper; 14 of 3,329 telephone prompts end like the third, `Dot. [.]`.
    assert phonemizer.phonemize("en-us", "") == [[]]
    assert phonemizer.phonemize("en-us", "\n\nYes.") == [[], list("jˈɛs.")]
    assert phonemizer.phonemize("en-us", "Yes. [.]") == [list("jˈɛs."), []]


def test_importing_loads_no_library_and_no_torch() -> None:
    code = (
        "import sys, piper.text.frontend, piper.phonemize_espeak, piper.phoneme_ids, piper.const\n"
        "assert not {'espeakng_loader', 'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
