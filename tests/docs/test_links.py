"""Links of the documentation: the file is there, the heading is there, an address is one.

`zensical build --strict` looks after the site's own pages; README and CONTRIBUTING, anchors in them, and
addresses are looked after here. Nothing is asked of a network.
"""

import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

markdown = pytest.importorskip("markdown", reason="comes with the documentation's tools")

ROOT = Path(__file__).parents[2]
SITE = sorted((ROOT / "docs").rglob("*.md"))
READMES = [ROOT / "README.md", *sorted((ROOT / "packages").glob("*/README.md"))]
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", *SITE]
BLOCKS = re.compile(r"^ *```.*?^ *```$|<!--.*?-->|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
BARE = re.compile(r"(?<![(\w<\"])https?://[^\s)>]+")


def links(page):
    """Targets of a page's links and pictures, each with its line."""
    text = BLOCKS.sub(lambda match: "\n" * match[0].count("\n"), page.read_text(encoding="utf-8"))
    for pattern in (LINK, BARE):
        for match in pattern.finditer(text):
            yield text[: match.start()].count("\n") + 1, match[1] if pattern is LINK else match[0]


@cache
def anchors(page):
    """What a link into a page may name: its headings, as the site makes them."""
    made = markdown.Markdown(extensions=["toc", "attr_list", "tables", "pymdownx.superfences"])
    html = made.convert(page.read_text(encoding="utf-8"))
    return set(re.findall(r'\bid="([^"]+)"', html))


def wrong(page, target):
    """Why a link cannot be followed; nothing where it can."""
    parts = urlsplit(target)
    if parts.scheme:
        local = parts.hostname in ("127.0.0.1", "localhost")
        good = parts.scheme == "https" and "." in (parts.hostname or "")
        return "" if good or (local and parts.scheme == "http") else "is no address"
    there = (page.parent / parts.path).resolve() if parts.path else page
    if not there.exists():
        return "is not there"
    if not there.is_relative_to(ROOT):
        return "lies outside"
    if page.is_relative_to(ROOT / "docs") and not there.is_relative_to(ROOT / "docs"):
        return "lies outside of the site"
    if parts.fragment and there.suffix == ".md" and parts.fragment not in anchors(there):
        generated = there.name == "api.md" and parts.fragment.startswith("trichord")
        return "" if generated else f"has no heading '{parts.fragment}'"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    found = [(line, target, wrong(page, target)) for line, target in links(page)]
    assert [f"{line}: {target} {why}" for line, target, why in found if why] == []


def test_a_link_that_leads_nowhere_is_found():
    page = ROOT / "docs" / "index.md"
    assert wrong(page, "tutorial.md#1-the-demo") == ""
    assert wrong(page, "tutorial.md#9-the-demo") == "has no heading '9-the-demo'"
    assert wrong(page, "tutorials.md") == "is not there"
    assert wrong(page, "../README.md") == "lies outside of the site"
    assert wrong(page, "http://example.org/") == wrong(page, "https://example") == "is no address"
    assert wrong(page, "https://example.org/a#b") == ""


def test_every_page_of_the_site_is_in_its_navigation():
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in SITE}
