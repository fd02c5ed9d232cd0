"""Vowel signs of Arabic: which words get them, and in which order espeak-ng wants them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from piper.config import PhonemeType
from piper.errors import PhonemizeError
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.text.arabic import MODEL_VARIABLE, Diacritizer
from piper.text.frontend import Frontend
from piper.text.phonemizers import Espeak
from piper.text.sentence import RewrittenText

FATHA, KASRA, SHADDA = "\u064e", "\u0650", "\u0651"


def add_signs(text: str) -> str:
    return RewrittenText(text).replace(Diacritizer().find_edits(text)).text


def test_words_get_vowel_signs_and_nothing_else_changes() -> None:
    text = "ذهب الولد إلى hello 123، (المدرسة)؟\n\nكتب."
    written = add_signs(text)
    assert len(written) > len(text) + 10
    assert (
        "".join(character for character in written if not 0x64B <= ord(character) <= 0x652) == text
    )


def test_doubling_comes_before_its_vowel() -> None:
    # In Unicode's order espeak-ng drops the vowel: "ʔˈinn" for "ʔˈinna".
    assert add_signs(f"إ{KASRA}ن{FATHA}{SHADDA}") == f"إ{KASRA}ن{SHADDA}{FATHA}"
    written = add_signs("إن الشركة جديدة")
    assert SHADDA in written
    assert f"{FATHA}{SHADDA}" not in written
    espeak = Espeak()
    assert espeak.translate("ar", f"إ{KASRA}ن{SHADDA}{FATHA}")[0].phonemes == "ʔˈinna"


def test_a_word_with_its_signs_keeps_them() -> None:
    own = f"ك{KASRA}ت{KASRA}ب{KASRA}"
    assert add_signs(own) == own
    assert add_signs(f"{own} الولد").startswith(f"{own} ")
    assert add_signs("hello 123") == "hello 123"


def test_a_voice_speaks_the_vowels_and_knows_the_written_words() -> None:
    frontend = Frontend(PhonemeType.ESPEAK, "ar", DEFAULT_PHONEME_ID_MAP)
    assert frontend.phonemizer.name == "espeak-ng"
    assert frontend.phonemizer.version.startswith("1.52.0 after text2tashkeel ")
    (sentence,) = frontend.text_to_sentences("ذهب الولد [[x]].")
    assert "".join(sentence.phonemes).startswith("ðˈahabˌa")
    assert sentence.text == "ذهب الولد [[x]]."
    assert [word.text for word in sentence.words] == ["ذهب", "الولد", "[[x]]"]


def test_a_model_can_be_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import text2tashkeel

    monkeypatch.setenv(MODEL_VARIABLE, str(tmp_path / "model.onnx"))
    with pytest.raises(
        PhonemizeError, match=rf"model\.onnx does not exist; correct {MODEL_VARIABLE}"
    ):
        Diacritizer()
    models = Path(text2tashkeel.__file__).parent / "models"
    shutil.copy(models / "bilstm.int8.onnx", tmp_path / "model.onnx")
    diacritizer = Diacritizer()
    assert diacritizer.name.endswith(" with libtashkeel")
    with pytest.raises(PhonemizeError, match=r"model\.onnx is not the model of libtashkeel \("):
        diacritizer.find_edits("ذهب")


def test_long_texts_are_taken_in_pieces() -> None:
    text = "ذهب الولد إلى المدرسة. " * 120
    written = add_signs(text)
    assert len(written.split()) == len(text.split())
    assert all(word not in ("ذهب", "الولد") for word in written.split())


def test_without_the_library_texts_stay_and_one_sentence_says_why() -> None:
    code = (
        "import importlib.metadata as m\n"
        "real = m.version\n"
        "def version(name):\n"
        "    if name == 'text2tashkeel': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.version = version\n"
        "from piper.text.arabic import Diacritizer\n"
        "d = Diacritizer()\n"
        "print(d.name == '', d.find_edits('ذهب'), d.find_edits('كتب'), d.find_edits('x'))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "True [] [] []\n"
    assert result.stderr == (
        "Arabic texts without vowel signs are spoken without most vowels; install the extra with "
        "`pip install piper-workshop[ar]`, or write the signs.\n"
    )


def test_other_languages_do_not_load_it() -> None:
    code = (
        "import sys\n"
        "from piper.config import PhonemeType\n"
        "from piper.text.frontend import Frontend\n"
        "Frontend(PhonemeType.ESPEAK, 'ru', {'^': [1], '$': [2], '_': [0]})\n"
        "print({'importlib.metadata', 'piper.text.arabic', 'onnxruntime'} & set(sys.modules))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
