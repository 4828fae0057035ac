"""Every command and code block of the documentation: parsed, and where that takes seconds, carried out."""

from pathlib import Path

import pytest
from long_pages import LONG, TUTORIAL

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md", "CONTRIBUTING.md",
    *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").rglob("*.md"))),
]  # fmt: skip


# ------------------------------------------------------------------ parsed


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_understood(page, reading):
    made = set()
    for fence in reading.fences(page) if page not in reading.GENERATED else []:
        reading.check_fence(fence, made)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_in_the_running_text_exists(page, reading, options):
    if page in reading.GENERATED:
        return
    for line, words in reading.inline_commands(page):
        assert words[1] in options, f"{page}:{line}: there is no command '{words[1]}'"
        unknown = reading.options_of(words) - options[words[1]]
        assert not unknown, f"{page}:{line}: '{words[1]}' has no option {unknown}"
    every = set().union(*options.values()) | reading.FOREIGN
    for line, name in reading.inline_options(page):
        assert name in every, f"{page}:{line}: no command has the option {name}"


def test_a_block_that_is_wrong_fails(reading):
    def refused(text, says, language="text", mark=""):
        told = f"<!-- run: {mark} -->\n\n" if mark else ""
        (fence,) = reading.fences("page.md", f"{told}```{language}\n{text}\n```\n")
        with pytest.raises(AssertionError, match=says):
            reading.check_fence(fence, set())

    refused("trichord serach x", "did you mean 'search'")
    refused("trichord search x --sond 1", "--sond")
    refused("trichord train slava-b clips.jsonl run", "no experiment 'slava-b'", mark="no (a GPU)")
    refused("trichord extract clips.jsonl --model slava-b", "no experiment 'slava-b'")
    refused("trichord prepare nothing in.zip out.jsonl", "no corpus 'nothing'")
    refused(
        "torchrun --nproc-per-node 2 -m trichord train slava-av c.jsonl run --epoch 3", "--epoch"
    )
    refused('pip install "trichord[serch]"', "no extra {'serch'}")
    refused("make dmo", "Makefile has no {'dmo'}")
    refused("trichord doctor clips\nfiles  3", "fences of their own")
    refused("trichord doctor clips", "nobody knows the mark", mark="later")
    refused("trichord doctor clips", "nobody knows the language", language="zsh")


def test_a_block_may_stand_in_a_list_after_a_prompt_or_unseen(reading):
    text = (
        "1. Look:\n\n    ```sh\n    $ trichord doctor clips \\\n        --rows 3  # few\n    ```\n"
        "<!--\n```python\nx = 1\n```\n-->\n"
    )
    first, second = reading.fences("page.md", text)
    assert reading.statements(first.text) == ["trichord doctor clips      --rows 3  # few"]
    assert reading.words_of(reading.statements(first.text)[0])[-2:] == ["--rows", "3"]
    assert (first.line, second.line, second.kind) == (3, 8, "python")


def test_what_is_shown_must_have_been_printed(typing_desk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "```text\necho one 1.5 two\necho 'three | 4'\n```\n\n<!-- run: printed -->\n\n```text\n{}\n```\n"

    def follow(shown):
        desk = typing_desk(tmp_path, None, monkeypatch)
        desk.follow("page.md", said.format(shown))
        return desk.counts

    counts = {"commands": 2, "python": 0, "printed": 1, "parsed only": 0}
    assert follow("one 17 two\n...\nthree 4") == follow("... two") == counts
    for wrong in ("one 1.5 four", "three 4\none 1.5 two", "one ... two three"):
        with pytest.raises(AssertionError, match="was not printed"):
            follow(wrong)


def test_figures_are_compared_where_a_page_is_typed_at_its_true_sizes(
    typing_desk, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    typed = "```text\necho '2 tasks 0.82±.04  0.97 (.92–1.00)'\n```\n\n"
    said = typed + "<!-- run: printed -->\n\n```text\n{}\n```\n"

    def follow(shown):
        desk = typing_desk(tmp_path, None, monkeypatch)
        desk.figures = True
        desk.follow("page.md", said.format(shown))

    for right in ("2 tasks 0.82±.04 0.97 (.92–1.00)", "2 ... 0.81±.05 ... (.93–1.00)"):
        follow(right)
    for wrong in ("2 tasks 0.89±.04 0.97 (.92–1.00)", "3 ... 0.82±.04 ..."):
        with pytest.raises(AssertionError, match="was not printed"):
            follow(wrong)


def test_a_command_that_ends_otherwise_than_the_page_says_fails(typing_desk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    desk = typing_desk(tmp_path, None, monkeypatch)
    refused = "```text\ntrichord doctor nowhere\n```\n"
    desk.follow("page.md", f"<!-- run: fails -->\n\n{refused}")
    with pytest.raises(AssertionError, match="ended with 2"):
        desk.follow("page.md", refused)
    with pytest.raises(AssertionError, match="ended with 0"):
        desk.follow("page.md", "<!-- run: fails -->\n\n```text\ntrichord --version\n```\n")


# ------------------------------------------------------------------ carried out


def has_blocks(page):
    return page != "docs/reference/cli.md" and "```" in (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if has_blocks(page) and page not in (*LONG, TUTORIAL)]
)
def test_every_block_can_be_typed(page, desk):
    desk.follow(page)
