#!/usr/bin/env python3
"""Brings the catalogues of messages up to what stands in the code: `make messages`.

New messages come in without a translation, which a person then writes; those that are gone go.
What the code puts together has an entry with the flag `displayed`, which stays; the flag `numbers`
says that numbers alone are its values (3 errors), so that its few words are not found in anything;
`page` says that a page's script looks it up as it is, and that it is found in nothing else.
Messages are what errors say that a user can mend, what is logged, rules and findings of a check,
the texts of the modules that draw pages and lines of a terminal, and those of pages' templates.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import polib

from piper import errors
from piper.train.pages.document import TEMPLATES, find_texts

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "piper"
CATALOGUES = PACKAGE / "locale"
TOOLS = [ROOT / "tools" / "demo.py", *sorted((ROOT / "tools" / "runpod").glob("*.py"))]
MIN_LETTERS = 8
"""Of fixed words: with fewer, anything would look like the message."""
SCRIPTED = {"page", "review", "listening_test"}
"""Pages with a dictionary, in which a text is looked up as a whole: new entries get `page`."""
SHOWN = ("train/check/", "train/evaluate/", "train/pages/")
"""Modules whose texts are all shown; of other modules a text has several words."""
_NOT_SHOWN = re.compile(
    r"server/|server_options\.py|languages\.py|train/(command|publish|resuming)\.py|(\w+/)*card\.py"
    r"|text/(chinese|sentence|numbers/english)\.py|train/vits/\w+\.py"
)
"""Modules whose texts are help, CSS, words, or for programs; what they raise is shown."""
_NO_TEXTS = re.compile(
    r"_?(\w*STYLE|POLICY|PROCESS|PALETTE|\w*FLAGS|\w*SIGNS|TELLING|TEST_SENTENCES)"
)
"""Constants that hold CSS, rules for browsers, programs, colours, and what is looked for."""
_HELP = {"help", "metavar", "prog", "description", "dest"}
_TAG = re.compile(r"<[^<>]*>|\n")
_COUNTED = re.compile(r"\{0\} [a-z]+")
_ADDS_OPTIONS = re.compile("_?add")
_MAKES_HELP = re.compile(
    "_add_|add_.*(options|flags?|parser)|format_(usage|help)|create_parser|_?create_.*parser"
)
_LINE_END = re.compile("\n")
_IS_TEXT = re.compile(r"(?=.*[a-z]{3})[^<>\\@]+", re.DOTALL)
_USER_ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type)} | {
    *("RequestError", "unavailable")
}
_LOG_METHODS = {"info", "warning", "error", "exception", "critical"}
_PRINTF = re.compile(r"%(%)|%[-+# 0]*\d*(?:\.\d+)?[sdrfgeix]")


def find_messages() -> dict[str, set[str]]:
    """Return the messages in the code, each with the files that have it."""
    found: dict[str, set[str]] = {}
    for path in [*sorted(PACKAGE.rglob("*.py")), *TOOLS]:
        name = path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT).as_posix()
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        # What servers log is English; what they answer may be read in a browser.
        messages = [*_messages_of(nodes, _LOG_METHODS if not name.startswith("server/") else set())]
        if not _NOT_SHOWN.match(name):
            is_page = name.startswith(SHOWN)
            texts = _texts_of(nodes, is_page=is_page)
            messages += [text for text in texts if is_page or _is_said(text)]
        for message in filter(_has_words, messages):
            found.setdefault(message, set()).add(path.relative_to(ROOT).as_posix())
    for path in sorted([*TEMPLATES.glob("*.html"), *TEMPLATES.glob("*.js")]):
        texts = find_texts(path.name)
        for message in texts if path.stem in SCRIPTED else filter(_has_words, texts):
            found.setdefault(message, set()).add(path.relative_to(ROOT).as_posix())
    return found


def _has_words(message: str) -> bool:
    has_many = _count_letters(message) >= MIN_LETTERS
    return bool(message and ("{0}" not in message or has_many or _COUNTED.fullmatch(message)))


def _count_letters(message: str) -> int:
    return len(re.sub(r"\{\d+\}|[\W\d_]", "", message))


def _texts_of(nodes: list[ast.AST], *, is_page: bool) -> Iterator[str]:
    """Yield the texts of a module: its lines, and of its HTML what stands between tags."""
    hidden = {id(part) for node in nodes for part in _hidden_parts(node)}
    for node in nodes:
        if id(node) in hidden or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        template = _template(node, is_log=False) or ""
        for text in (_TAG if is_page else _LINE_END).split(template):
            if "{:" in text or "%s" in text:  # a template for other values
                continue
            if _IS_TEXT.fullmatch(text.strip()) and (" " in text.strip() or text[:1].isupper()):
                yield _number(text.strip())


def _name(function: ast.expr) -> str:
    return getattr(function, "id", getattr(function, "attr", ""))


def _is_said(text: str) -> bool:
    is_data = "%" in text or text.startswith((".", "_", '{"', "import ", "except ", "print("))
    return " " in text and not is_data and _count_letters(text) >= MIN_LETTERS


def _hidden_parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the strings in a node that nobody is shown: docstrings, help, parts of others."""
    if isinstance(node, ast.JoinedStr | ast.Subscript | ast.Compare):
        yield from ast.iter_child_nodes(node)
    if isinstance(node, ast.Expr):
        yield node.value
    if isinstance(node, ast.keyword) and node.arg in _HELP:
        yield from ast.walk(node.value)
    if isinstance(node, ast.Call) and _ADDS_OPTIONS.match(_name(node.func)):
        yield from (part for argument in node.args for part in ast.walk(argument))
    if isinstance(node, ast.FunctionDef) and _MAKES_HELP.match(node.name):
        yield from ast.walk(node)
    if isinstance(node, ast.Assign) and _NO_TEXTS.fullmatch(getattr(node.targets[0], "id", "")):
        yield from ast.walk(node.value)


def _messages_of(nodes: list[ast.AST], log_methods: set[str]) -> Iterator[str]:
    for node in nodes:
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = _name(node.func)
        owner = getattr(getattr(node.func, "value", None), "id", "")
        if name in _USER_ERRORS:
            template = _template(node.args[0], is_log=False)
        elif name in log_methods and owner.lower() in ("_logger", "logger"):
            template = _template(node.args[0], is_log=True)
        elif name in ("translate", "say", "print_error"):
            template = _template(node.args[0], is_log=False)
        elif name in ("ProgressLine", "run_jobs"):
            texts = [_template(text, is_log=False) for text in node.args]
            # What is done begins with a capital, and what is counted does not.
            template = next((text for text in texts if text and text[0].isupper()), None)
            yield from (f"{{0}} {unit}" for unit in texts if unit and unit != template)
        else:
            continue
        if template is not None:
            yield _number(template).strip()


def _template(node: ast.AST, *, is_log: bool) -> str | None:
    """Return a message with NUL for each value; None where it stands elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
        return _PRINTF.sub(lambda found: found[1] or "\0", text) if is_log else text
    if isinstance(node, ast.JoinedStr):
        parts = (v.value if isinstance(v, ast.Constant) else "\0" for v in node.values)
        return "".join(map(str, parts))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        sides = (_template(side, is_log=is_log) or "\0" for side in (node.left, node.right))
        return "".join(sides)
    return None


def _number(template: str) -> str:
    first, *others = template.split("\0")
    return first + "".join(f"{{{number}}}{text}" for number, text in enumerate(others))


def update(path: Path) -> tuple[int, int]:
    """Update a catalogue; return how many messages came and went."""
    catalogue = polib.pofile(str(path))
    messages = find_messages()
    gone = [e for e in catalogue if e.msgid not in messages and "displayed" not in e.flags]
    for entry in gone:
        catalogue.remove(entry)
    known = {message for e in catalogue for message in (e.msgid, e.msgid_plural)}
    new = [message for message in messages if message not in known]
    for message in new:
        is_on_page = all(Path(file).stem in SCRIPTED for file in messages[message])
        flags = ["page"] if is_on_page else []
        catalogue.append(polib.POEntry(msgid=message, msgstr="", flags=flags))
    for entry in catalogue:
        entry.occurrences = [(file, "") for file in sorted(messages.get(entry.msgid, ()))]
    catalogue.sort(key=lambda entry: (entry.occurrences[:1], entry.msgid))
    catalogue.save(str(path))
    return len(new), len(gone)


def main() -> None:
    """Update all catalogues."""
    for path in sorted(CATALOGUES.glob("*/piper.po")):
        new, gone = update(path)
        print(f"{path.relative_to(ROOT)}: {new} new messages, {gone} gone")


if __name__ == "__main__":
    main()
