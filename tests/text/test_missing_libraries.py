"""Without its library each way of reading texts says in one sentence what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("library", "call", "message"),
    [
        (
            "unicode_rbnf",
            "from piper.text.chinese import PinyinPhonemizer; PinyinPhonemizer()",
            "Chinese voices need the libraries pypinyin and unicode-rbnf; "
            "install the extra with `pip install piper-workshop[zh]`.",
        ),
        (
            "pyopenjtalk",
            "from piper.text.japanese import JapanesePhonemizer; JapanesePhonemizer()",
            "Japanese voices need the library pyopenjtalk-plus; "
            "install the extra with `pip install piper-workshop[ja]`.",
        ),
        (
            "markdown_it",
            "from piper.text.markup import parse_markup; parse_markup('a', 'markdown')",
            "Markdown needs the library markdown-it-py; install the extra with "
            "`pip install piper-workshop[markdown]`, or give plain text.",
        ),
        (
            "pymorphy3",
            "from piper.text.numbers.engine import find_writer; find_writer('en'); "
            "find_writer('ru')",
            "Writing out numbers needs the library pymorphy3; install the extra with "
            "`pip install piper-workshop[numbers]`, or turn it off with write_numbers=False.",
        ),
        (
            "silero_stress",
            "from piper.text.stress import load_accentor; load_accentor()",
            "Stress by silero-stress needs the extra `ru`; install it with "
            "`pip install piper-workshop[ru]`, or choose the stress `marks`.",
        ),
    ],
)
def test_a_missing_library_is_one_sentence(library: str, call: str, message: str) -> None:
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from piper.errors import PiperError\n"
        f"try: {call}\n"
        "except PiperError as error: print(error)\n"
        "print('torch' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines() == [message, "False"]
