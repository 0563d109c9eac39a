"""HTML pages: escaped, self-contained, well formed, numbers as their columns say; files whole or as they were."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from pycnn.files import whole_file
from pycnn.page import Bar, Column, Mark, Page

VOID = {"meta", "wbr"}


class Reader(HTMLParser):
    """Checks that tags close in order; collects (cell text, class, style) row by row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[tuple[str, str, str]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag in VOID:
            return
        self.open.append(tag)
        given = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append(("", given.get("class", ""), given.get("style", "")))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            text, kind, style = self.rows[-1][-1]
            self.rows[-1][-1] = (text + data, kind, style)


def test_a_table_has_heads_with_units_and_numbers_as_asked() -> None:
    page = Page("net", "sub")
    columns = [Column("module", path=True), Column("time", "ms", ",.2f"), Column("ok")]
    page.table(columns, [["a.b_c", 1234.567, Mark("yes", True)], ["d", Bar(2, 1.7), None]])
    head, first, second = Reader(page.html()).rows
    assert [cell[0] for cell in head] == ["module", "timems", "ok"]
    assert first == [("a.b_c", "path", ""), ("1,234.57", "number", ""), ("yes", "", "")]
    assert second[1] == ("2.00", "number bar", "--share:100.0%")
    assert second[2][0] == ""
    assert "a.<wbr>b_<wbr>c" in page.html()


def test_text_is_escaped_everywhere() -> None:
    nasty = '<script>alert("&")</script>'
    page = Page(nasty, nasty)
    page.facts({nasty: nasty})
    page.section(nasty)
    page.text(nasty)
    page.items([nasty])
    page.table([Column(nasty, nasty, ".1f"), Column("p", path=True)], [[nasty, nasty]])
    page.figure("<svg></svg>", nasty)
    html = page.html()
    assert "<script" not in html
    text = Reader(html).text
    assert text.count(nasty) == 13


def test_nothing_is_fetched() -> None:
    html = Page("net").html()
    assert html.startswith("<!doctype html>")
    assert not any(word in html for word in ("http:", "https:", "src=", "@import", "url(", "<link"))


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Page("net").table([Column("a"), Column("b")], [["x"]])


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    Page("old").write(path)
    with pytest.raises(KeyboardInterrupt), whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert "<h1>old</h1>" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        Page("x").write(tmp_path)
    with pytest.raises(FileNotFoundError):
        Page("x").write(tmp_path / "none" / "page.html")
