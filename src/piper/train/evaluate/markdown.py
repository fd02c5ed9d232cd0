"""Texts, lists, tables and code as Markdown. Knows no voices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_SIGNS = re.compile(r"[\\`*_\[\]<>|~$&]")
"""Those that mean something within a line; so no text makes a link, a tag or a cell."""
_START = re.compile(r"^([#+=-](?!\d)|\d+(?=[.)](\s|$)))")
"""What makes a line a heading, a list, a rule."""


def escape(text: str) -> str:
    """Return a text as a line of Markdown that shows it as it is."""
    line = _SIGNS.sub(r"\\\g<0>", " ".join(text.split()))
    start = _START.match(line)
    if start is None:
        return line
    # A number keeps its digits, the dot after it is the sign.
    place = 0 if not start[0].isdecimal() else start.end()
    return f"{line[:place]}\\{line[place:]}"


def draw_facts(facts: Mapping[str, str]) -> str:
    """Return a list of names and values; empty values are left out."""
    return "".join(
        f"- **{escape(name)}:** {escape(value)}\n" for name, value in facts.items() if value
    )


def draw_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; columns after the first stand at the right."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    lines = [list(map(escape, heads)), rule, *(list(map(escape, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw_code(code: str, language: str) -> str:
    """Return a fenced block, with more backticks than the code has in a row."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}\n"
