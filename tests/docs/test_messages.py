"""Complaints that the documentation quotes are complaints that the program makes."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
GAP = "\0"
"""Where a message has a value."""


@cache
def messages():
    """Every text in the sources."""
    found = []
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(map(words, node.values)))
    return found


def words(part):
    """A piece of a text as it stands, or a gap in it."""
    return str(part.value) if isinstance(part, ast.Constant) else GAP


def quoted(page):
    """Messages that a page quotes: of the tables headed 'it says', and after 'When it fails.'."""
    text = page.read_text(encoding="utf-8")
    for table in re.findall(r"^\| it says \|.*\n\|[-|]+\n((?:\|.*\n)*)", text, re.MULTILINE):
        for row in table.splitlines():
            yield from re.findall(r"`([^`]+)`", row.split(" | ")[0])
    for failing in re.findall(r"^\*When it fails\.\*(.*?)\n\n", text, re.MULTILINE | re.DOTALL):
        spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", failing))
        yield from (span for span in spans if re.match(r"(?!trichord |make |python)\w+ \w+", span))


def said(quote):
    """Whether the program has such a message; numbers and `...` stand for its values."""
    parts = (re.escape(part.strip()) for part in re.split(r"\.\.\.|\d+", quote))
    pattern = re.compile(".*".join(parts), re.DOTALL)
    return any(pattern.search(message) for message in messages())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_quoted_complaint_is_in_the_sources(page):
    assert [quote for quote in quoted(page) if not said(quote)] == []


def test_what_nobody_says_is_found():
    assert said("holds ... clips of a split") is False
    assert said("has 884 GPUs: start so many")
    assert list(quoted(PAGES[0]))
