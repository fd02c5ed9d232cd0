"""Pages from templates: their words, and values of strangers in them."""

from __future__ import annotations

import re

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from piper.train.pages.document import TEMPLATES, find_texts, load_dictionary, render

WITH_SCRIPTS = ("review", "listening_test")


@pytest.mark.parametrize("name", WITH_SCRIPTS)
def test_a_page_has_russian_for_all_that_it_and_its_script_say(name: str) -> None:
    files = [f"{name}.html", "page.js", f"{name}.js"]
    dictionary = load_dictionary(files, ["3 errors"])
    assert dictionary["3 errors"] == "3 ошибки"
    assert len(dictionary) > 25
    assert [text for text, words in dictionary.items() if text == words] == []
    # A value keeps its place, and what is said is a text that can be found.
    values = re.compile(r"\{\d\}")
    assert all(
        set(values.findall(one)) == set(values.findall(two)) for one, two in dictionary.items()
    )
    script = (TEMPLATES / f"{name}.js").read_text(encoding="utf-8")
    assert len(re.findall(r"\btell\(", script)) == len(
        re.findall(r'\btell\((?:\s*"|data\.)', script)
    )


def test_texts_of_a_template_are_found_with_their_values() -> None:
    texts = find_texts("check.html")
    assert {"Facts", "at “{0}”.", "Without audio, since the page is full."} <= {
        text.removeprefix(", ") for text in texts
    }
    assert not [text for text in texts if re.search("[<>%]|class|rule.name", text)]


def test_values_are_escaped_and_html_is_not() -> None:
    evil = '<b onclick="x">\x00\udcff</b>'
    page = render("word.html", text=evil, cells=[])
    assert "<b" not in page
    assert "&lt;b onclick=&#34;x&#34;&gt;\ufffd\ufffd&lt;/b&gt;" in page
    words = render("words.html", labels=[evil], rows=[Markup("<tr><td>1</td></tr>")], is_full=True)
    assert "<tr><td>1</td></tr>" in words
    assert "<b" not in words


def test_a_template_that_lacks_a_value_is_an_error_and_no_hole() -> None:
    with pytest.raises(UndefinedError, match="cells"):
        render("word.html", text="a")
