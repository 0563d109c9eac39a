"""A self-contained HTML page: a header with facts, sections, tables, figures. No script, no external resource.

page = Page("ResNet-18", "what runs where")
page.facts({"threads": "2", "arena": "3.1 MiB"})
page.section("Steps")
page.table([Column("module", path=True), Column("time", "ms", ".3f")], [["layer1.0.conv1", 0.21]])
page.write("resnet18.html")
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pycnn.files import write_text


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, the unit below it, and how a number is written.

    Attributes:
        title, unit: shown in the head; the unit in smaller type.
        format: a format spec for numbers, such as ",.2f"; a column with one is right-aligned.
        path: holds dotted paths or kernel names: fixed-width type, broken after dots and underscores only.
    """

    title: str
    unit: str = ""
    format: str = ""
    path: bool = False


@dataclass(frozen=True)
class Bar:
    """A number with a bar behind it, `share` of the cell's width (cut at 0 and 1)."""

    value: float
    share: float


@dataclass(frozen=True)
class Mark:
    """A short verdict in green or red."""

    text: str
    good: bool


Cell = str | int | float | None | Bar | Mark


class Page:
    """Collects parts in order; `html()` is the page. All text is escaped, except the markup given to `figure`."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title, self.subtitle = title, subtitle
        self._parts: list[str] = []

    def facts(self, facts: Mapping[str, str | Mark]) -> None:
        """Names with values, as a row of cards."""
        cards = "".join(
            f"<div><dt>{escape(name)}</dt><dd>{_text(value)}</dd></div>"
            for name, value in facts.items()
        )
        self._parts.append(f"<dl>{cards}</dl>")

    def section(self, title: str) -> None:
        """A heading for what follows."""
        self._parts.append(f"<h2>{escape(title)}</h2>")

    def text(self, text: str) -> None:
        """A paragraph."""
        self._parts.append(f"<p>{escape(text)}</p>")

    def items(self, lines: Sequence[str]) -> None:
        """A list, one line an item."""
        body = "".join(f"<li>{_breakable(line)}</li>" for line in lines)
        self._parts.append(f"<ul>{body}</ul>")

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        """A table; None is an empty cell. One that is wider than the window scrolls by itself.

        Raises:
            ValueError: a row has not one cell a column.
        """
        head = "".join(_head(column) for column in columns)
        body = []
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"Page.table: {len(row)} cells for {len(columns)} columns: {row}")
            cells = (_cell(cell, column) for cell, column in zip(row, columns, strict=True))
            body.append(f"<tr>{''.join(cells)}</tr>")
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        self._parts.append(f'<div class="wide">{table}</div>')

    def figure(self, markup: str, caption: str = "") -> None:
        """Markup taken as it is (an inline SVG); wider than the window it scrolls by itself."""
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._parts.append(f'<figure><div class="wide">{markup}</div>{below}</figure>')

    def html(self) -> str:
        """The page, from doctype to end."""
        below = f'<p class="subtitle">{escape(self.subtitle)}</p>' if self.subtitle else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head>\n<body>"
            f"<header><h1>{escape(self.title)}</h1>{below}</header>\n"
            + "\n".join(self._parts)
            + "\n</body></html>\n"
        )

    def write(self, path: str | os.PathLike[str]) -> None:
        """Save the page; the file is whole or as it was. OSError if it cannot be written."""
        write_text(path, self.html())


def _head(column: Column) -> str:
    unit = f"<small>{escape(column.unit)}</small>" if column.unit else ""
    kind = ' class="number"' if column.format else ""
    return f"<th{kind}>{escape(column.title)}{unit}</th>"


def _cell(cell: Cell, column: Column) -> str:
    kinds = ["number"] if column.format else []
    if column.path:
        kinds.append("path")
    style = ""
    if isinstance(cell, Bar):
        kinds.append("bar")
        style = f' style="--share:{100 * min(max(cell.share, 0.0), 1.0):.1f}%"'
        cell = cell.value
    if isinstance(cell, (int, float)):
        text = format(cell, column.format)
    elif column.path and cell is not None and not isinstance(cell, Mark):
        text = _breakable(cell)
    else:
        text = "" if cell is None else _text(cell)
    classes = f' class="{" ".join(kinds)}"' if kinds else ""
    return f"<td{classes}{style}>{text}</td>"


def _text(value: str | Mark) -> str:
    if isinstance(value, Mark):
        return f'<b class="{"good" if value.good else "bad"}">{escape(value.text)}</b>'
    return escape(value)


def _breakable(path: str) -> str:
    """Escaped, with places where a line may end."""
    return escape(path).replace(".", ".<wbr>").replace("_", "_<wbr>")


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5d6b7a; --paper: #fff; --card: #f4f6f8; --line: #dde3e9;
  --bar: #cfe3f5; --good: #1a7f4b; --bad: #c02f3c; --accent: #2a6fb0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #97a5b3; --paper: #14191f; --card: #1d242c;
  --line: #303a45; --bar: #24486a; --good: #55c78d; --bad: #ff7a80; --accent: #6cb0ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 2rem 4rem; max-width: 100rem; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
header { border-bottom: 2px solid var(--accent); margin-bottom: 1.2rem; }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .6rem; font-size: 1.15rem; }
.subtitle { margin: .2rem 0 .8rem; color: var(--soft); }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .6rem; margin: 0 0 1rem; }
dl div { background: var(--card); border-radius: 6px; padding: .5rem .8rem; min-width: 0; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; }
th, td { padding: .28rem .7rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
th small { display: block; font-weight: 400; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.path { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .82rem; min-width: 9rem; }
.bar { background: linear-gradient(var(--bar), var(--bar)) right center / var(--share) 74% no-repeat; }
tbody tr:hover { background: var(--card); }
.good { color: var(--good); } .bad { color: var(--bad); }
li { overflow-wrap: anywhere; } p { max-width: 60rem; }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .85rem; margin-top: .3rem; }
svg { max-width: none; color: var(--ink); }
"""
