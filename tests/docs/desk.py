"""Where a page of the documentation is typed: its blocks carried out, one after the other."""

import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from pages import ROOT, SHELL, Fence, check, fences, statements, words_of

import trichord
from trichord.cli import main, serving
from trichord_world.weights import CLAP_STAND_IN, CLIP_STAND_IN, STAND_INS


class Desk:
    """Where a reader types a page: a folder, and a Python that remembers.

    Args:
        demo: What `make demo` leaves; it is copied when it is asked for.
        most: Clips of a split that a world has at most; None: as the page says.
        patch: Undoes what the page sets.
    """

    def __init__(self, demo: Path, most: int | None, patch: pytest.MonkeyPatch) -> None:
        self.demo, self.most, self.patch = demo, most, patch
        self.figures = False
        """Whether numbers must be those that a page shows: on worlds of their true sizes alone."""
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.printed = ""
        self.counts = {"commands": 0, "python": 0, "printed": 0, "parsed only": 0}

    def follow(self, page: str, text: str | None = None) -> None:
        """Type a page from its first fence to its last."""
        try:
            for fence in fences(page, text):
                self.type(fence)
        finally:
            self.leave()

    def leave(self) -> None:
        """End what decodes for the models and collections that the page opened."""
        for value in self.names.values():
            if isinstance(value, (trichord.Model, trichord.Collection)):
                value.close()

    def type(self, fence: Fence) -> None:
        """Carry out a fence, unless it says why it cannot be: then it was parsed."""
        kind = fence.kind
        if kind == "shown" or fence.reason:
            self.counts["parsed only"] += kind != "shown"
        elif kind == "python":
            self.compute(fence)
        elif kind == "printed":
            self.compare(fence)
        elif kind == "saved":
            Path(fence.file).write_text(fence.text, encoding="utf-8")
        else:
            self.printed = ""
            for line in statements(fence.text):
                self.enter(fence.place, line, ends_with=2 if fence.mark == "fails" else 0)
                self.counts["commands"] += 1

    def compute(self, fence: Fence) -> None:
        """Python, in the names that earlier fences of the page made."""
        said = StringIO()
        lines = "\n" * fence.line + as_stand_ins(fence.text)
        with redirect_stdout(said):
            exec(compile(lines, ROOT / fence.page, "exec"), self.names)
        self.printed = said.getvalue()
        self.counts["python"] += 1

    def compare(self, fence: Fence) -> None:
        """Every line that a page shows as printed was printed, in this order."""
        printed = iter(self.printed.splitlines())
        same = same_figures if self.figures else same_form
        for line in fence.text.splitlines():
            if alike(line) in ("", "..."):
                continue
            assert any(same(line, one) for one in printed), (
                f"{fence.place}: '{line}' was not printed by the commands before it, which said:\n"
                f"{self.printed}"
            )
        self.counts["printed"] += 1

    def enter(self, place: str, line: str, ends_with: int) -> None:
        """Carry out a line of a shell."""
        words = [
            str(Path(word).expanduser()) if word[:1] == "~" else word for word in words_of(line)
        ]
        program, rest = words[0], words[1:]
        if program == "trichord":
            code, said = self.trichord(rest)
            self.printed += said
            assert code == ends_with, f"{place}: '{line}' ended with {code}:\n{said}"
        elif program == "export":
            for name, _, value in (word.partition("=") for word in rest):
                self.patch.setenv(name, value)
        elif program == "make" and rest == ["demo"]:
            self.make_demo()
        elif program in SHELL:
            done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
            self.printed += done.stdout
            assert done.returncode == 0, f"{place}: '{line}' ended with {done.stderr}"
        elif program == "python" and Path(rest[0]).is_file():
            self.printed += self.script(rest[0])
        else:  # installing, and what is for working on the project
            check(line, set())

    def trichord(self, words: list[str]) -> tuple[int, str]:
        """The program itself, in this process; its exit code and what it said."""
        said, words = StringIO(), self.smaller(words)
        serves = words[0] == "serve"
        if serves:
            words = [*words, "--port", "0"]
            self.patch.setattr(serving, "out", Visitor())
        with redirect_stdout(said), redirect_stderr(said):
            try:
                code = main(words)
            except SystemExit as stopped:
                code = int(stopped.code or 0)
        return (code if not serves or code != 130 else 0), said.getvalue()

    def make_demo(self) -> None:
        """What `make demo` leaves, without installing anything."""
        shutil.copytree(self.demo, "demo", dirs_exist_ok=True)

    def script(self, file: str) -> str:
        """A program that the page had the reader write; what it printed."""
        said = StringIO()
        with redirect_stdout(said):
            runpy.run_path(file, run_name="__main__")
        return said.getvalue()

    def smaller(self, words: list[str]) -> list[str]:
        """The same command with less to do: smaller worlds, one seed."""
        if self.most is None or words[0] not in ("world", "study"):
            return words
        if words[0] == "study":
            return words if words[1] == "audio-type" else [*words, "--seeds", "0", "--epochs", "1"]
        avcaps = "--layout" not in words or words[words.index("--layout") + 1] == "avcaps"
        kept = list(words)
        for name in ("--train", "--val", "--test") if avcaps else ("--clips",):
            if name not in kept:
                kept += [name, str(self.most)]
            at = kept.index(name) + 1
            kept[at] = str(min(int(kept[at]), self.most))
        return kept


class Visitor:
    """Reads the address of a service, asks whether it is well, and interrupts it."""

    def print(self, line: str, markup: bool) -> None:
        sys.stdout.write(f"{line}\n")
        threading.Thread(target=self.visit, args=[line.split()[0]]).start()

    def visit(self, address: str) -> None:
        try:
            urllib.request.urlopen(f"{address}api/health", timeout=30).close()
        finally:
            os.kill(os.getpid(), signal.SIGINT)


def as_stand_ins(text: str) -> str:
    """Python that asks for the folders in which small towers lie instead of for those on the hub."""
    small = str(STAND_INS[CLIP_STAND_IN]), str(STAND_INS[CLAP_STAND_IN])
    return text.replace("openai/clip-vit-base-patch32", small[0]).replace(
        "laion/clap-htsat-unfused", small[1]
    )


NUMBER = re.compile(r"-?\.?\d[\d.,]*\d|-?\.?\d")
NEAR = 0.021
"""How far a share may be off on another processor; counts must agree."""


def same_form(wanted: str, printed: str) -> bool:
    """Whether a line was printed, whatever its numbers; `...` stands for anything."""
    pattern = ".*".join(map(re.escape, alike(wanted).split("...")))
    return re.fullmatch(pattern, alike(printed)) is not None


def same_figures(wanted: str, printed: str) -> bool:
    """Whether a line was printed with its numbers: counts to the digit, shares within `NEAR`."""
    shown, found = bare(wanted), bare(printed)
    pattern = ".*?".join(re.escape(NUMBER.sub("\n", part)) for part in shown.split("..."))
    match = re.fullmatch(pattern.replace("\\\n", f"({NUMBER.pattern})"), found)
    return match is not None and all(
        near(one, other)
        for one, other in zip(
            NUMBER.findall(shown.replace("...", " ")), match.groups(), strict=True
        )
    )


def near(shown: str, found: str) -> bool:
    """Whether a number is the one that a page shows."""
    if "." not in shown:
        return shown == found
    return abs(float(shown.replace(",", "")) - float(found.replace(",", ""))) < NEAR


def bare(line: str) -> str:
    """A line without rules, and with clips that may come in another order called alike."""
    line = re.sub(r"[─━│┃╭╮╰╯┏┓┗┛┡┩└┘├┤┬┴┼╇╈╋|]+", " ", line)
    line = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:port", line)  # a test takes a free one
    return " ".join(re.sub(r"(train|val|test)_\d+", "clip", line).split())


def alike(line: str) -> str:
    """A line without what differs from machine to machine: numbers, rules, and how wide columns are."""
    line = bare(line)
    line = re.sub(r"\.?\d[\d.,]*\d|\.?\d", "#", line)
    line = re.sub(r"#±#|# \(#–#\)", "#", line).replace("# seeds", "# seed")
    return " ".join(line.split())
