"""Pages from `templates/`, whose values are escaped.

A report asks browsers to load nothing from elsewhere and to run no scripts
(Content-Security-Policy), so that no text of a dataset can do what escaping has overlooked.
It is in all languages at once; two buttons choose, and at first it is the maker's. A page with a
script has its words as a dictionary, and shows the browser's language.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from markupsafe import escape as escape_html

from piper.messages import ENGLISH, find_language, look_up, translate
from piper.progress import count_things

TEMPLATES = Path(__file__).with_name("templates")
PAGE_BYTES = 8_000_000
"""What a page may take: a mail's attachment, and a phone opens it."""
PLAYER_BYTES = 400
"""What a player takes beside its audio, a long name of a recording included."""
_POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
_NAMES = {"en": "English", "ru": "Русский"}
_FIGURE = re.compile(r"<?[-−]?\d[\d.,:]*( \S+)?")
"""A number, with a unit after a space: no `0001.wav`."""
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and lone surrogates (a name that is no UTF-8) are no HTML."""


def clean(value: Any) -> Any:
    """Return what a template shows, with `�` for what HTML cannot hold; HTML stays as it is."""
    return value if hasattr(value, "__html__") else _UNFIT.sub("\ufffd", str(value))


def escape(text: str) -> Markup:
    """Return a text as HTML, in an element or an attribute; what HTML cannot hold becomes `�`."""
    return escape_html(clean(text))


def render(name: str, /, **values: Any) -> Markup:
    """Return a template of `templates/`, filled; all values but `Markup` are escaped."""
    return Markup(_load_environment().get_template(name).render(language=find_language(), **values))


def render_report(name: str, title: str, /, **values: Any) -> bytes:
    """Return a report in all languages, UTF-8; texts of others stand in `<q>` or `<code>`."""
    page = render(name, title=translate(title), heading=title, policy=_POLICY, **values)
    return _TEXTS.sub(_in_all_languages, page).encode()


def read_template(name: str) -> Markup:
    """Return a file of `templates/` as it is: a script, whose digest the policy names."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def load_dictionary(names: Iterable[str], more: Iterable[str] = ()) -> dict[str, str]:
    """Return the Russian words for the texts of templates and scripts, and for others."""
    dictionary = {text: look_up(text, "ru") for name in names for text in find_texts(name)}
    return dictionary | {text: translate(text, "ru") for text in more}


def find_texts(name: str) -> list[str]:
    """Return the texts of a template or a script, with `{0}`, `{1}` … where values stand in them.

    A script has them in `tell("…")`, a template between tags, in labels, and in strings of its
    commands.
    """
    source: str = read_template(name)
    if name.endswith(".js"):
        return re.findall(r'\btell\(\s*"((?:[^"\\]|\\.)+)"', source)
    source = re.sub(r"\{#.*?#\}|<(style|script|kbd)\b[^<]*</\1>", "", source, flags=re.DOTALL)
    commands = re.findall(r"\{[{%].*?[%}]\}", source, flags=re.DOTALL)
    texts = [found for command in commands for found in _STRINGS.findall(command)]
    shown = re.sub(r"\{%.*?%\}", "<>", re.sub(r"\{\{.*?\}\}", "\0", source), flags=re.DOTALL)
    texts += re.findall(r'\b(?:aria-label|alt|title)="([^"\0]+)"', shown)
    texts += re.split(r"<[^<>]*>", shown)
    texts = [" ".join(text.split()) for text in texts]
    return list(dict.fromkeys(map(_number_values, filter(_IS_TEXT.search, texts))))


_STRINGS = re.compile(r'"([^" ]+ [^"]+|[A-Z][^"]+)"')
_IS_TEXT = re.compile("[A-Za-z]{2}")


def _number_values(text: str) -> str:
    first, *others = text.split("\0")
    return first + "".join(f"{{{number}}}{part}" for number, part in enumerate(others))


@lru_cache(maxsize=1)
def _load_environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=clean,
    )
    environment.globals |= {
        "count_things": count_things,
        "find_figure_columns": find_figure_columns,
        "languages": _NAMES,
    }
    return environment


def find_figure_columns(rows: Sequence[Sequence[str]]) -> list[Markup]:
    """Return for each column of a table the attribute that lets figures stand at the right."""
    classes = []
    for index in range(max(map(len, rows), default=0)):
        cells = [row[index] for row in rows if index < len(row) and row[index]]
        is_figure = bool(cells) and all(_FIGURE.fullmatch(cell) for cell in cells)
        classes.append(Markup(' class="figure"') if is_figure else Markup())
    return classes


_LABEL = r'(?:(?<= aria-label=")|(?<= title="))(?P<label>[^"]+)(?=")'
_TEXTS = re.compile(
    # What is data or a command is in no language of ours.
    r"<(head|pre|code|q|blockquote)\b.*?</\1>"
    rf"|(?P<drawing><svg\b.*?</svg>)|(?<=>)(?P<text>[^<>]+)(?=<)|{_LABEL}",
    re.DOTALL,
)
_DRAWN_TEXTS = re.compile(
    rf"(?<=>)(?P<text>[^<>]+)(?=</text>)|(?<=<title>)(?P<title>[^<>]+)|{_LABEL}", re.DOTALL
)


def _in_all_languages(found: re.Match[str]) -> str:
    """Return a text for each language; of a label or a drawing's title there can be one only."""
    parts = found.groupdict()
    if parts.get("drawing"):
        return _DRAWN_TEXTS.sub(_in_all_languages, parts["drawing"])
    only = parts["label"] or parts.get("title")
    if only:
        return escape(translate(html.unescape(only)))
    text = parts["text"]
    if text is None or not text.strip():
        return found[0]
    plain = html.unescape(text)
    forms = {language: translate(plain, language) for language in _NAMES}
    if len(set(forms.values())) == 1:
        return text
    tag = "tspan" if found.re is _DRAWN_TEXTS else "span"
    shown = {language: escape(form) for language, form in forms.items()} | {ENGLISH: Markup(text)}
    return "".join(
        f'<{tag} class="in" lang="{language}">{form}</{tag}>' for language, form in shown.items()
    )
