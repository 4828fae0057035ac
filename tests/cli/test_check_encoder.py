"""`trichord check-encoder` and `trichord.api.conformance.check_encoder`."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from outside import BagOfWords, Bands
from torch import nn

from trichord.api.conformance import check_encoder
from trichord.config import ClipVision, EncoderConfig, VisionFeatures
from trichord.types import plugins

ALL = ["shapes", "determinism", "batches", "padding", "freezing", "saving", "fingerprint", "export"]
MINE = """
from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from outside import Thumbnails

from trichord.config import EncoderConfig


@dataclass(frozen=True, kw_only=True)
class Cells(EncoderConfig):
    kind: ClassVar[str] = "cells"
    modality: ClassVar[str] = "vision"
    dim: int = 24
    wrong: bool = False

    def build(self):
        made = Thumbnails(self.dim)
        made.width += self.wrong
        return made
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    yield path
    plugins._PROVIDED.clear()


def test_an_encoder_of_the_package_passes_every_check(tiny_trimodal):
    found = check_encoder(ClipVision(name=tiny_trimodal.vision.name))
    assert [(one.name, one.status) for one in found] == [(name, "PASS") for name in ALL]


def test_an_encoder_of_a_file_is_checked_and_a_flaw_is_exit_code_1(command, mine, capsys):
    assert command(f"check-encoder {mine}:Cells --dim 7") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"PASS {name}" for name in ALL]
    with pytest.raises(SystemExit) as ended:
        command(f"check-encoder {mine}:Cells --wrong")
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert "FAIL shapes: the trunk's features are 48 wide, width says 49" in lines
    assert len(lines) == len(ALL)


def test_what_cannot_be_exported_fails_the_last_check():
    class Branching(nn.Module):
        def forward(self, steps):
            return steps if float(steps.sum()) > 0 else -steps

    class Undecided(Bands):
        def __init__(self):
            super().__init__()
            self.trunk.append(Branching())

    @dataclass(frozen=True, kw_only=True)
    class Config(EncoderConfig):
        kind: ClassVar[str] = "undecided"
        modality: ClassVar[str] = "audio"

        def build(self):
            torch.manual_seed(0)
            return Undecided()

    *_, export = check_encoder(Config())
    assert (export.name, export.status) == ("export", "FAIL")
    assert export.reason


def test_texts_of_any_length_are_tried_with_the_exported_graph():
    @dataclass(frozen=True, kw_only=True)
    class Config(EncoderConfig):
        kind: ClassVar[str] = "words"
        modality: ClassVar[str] = "text"

        def build(self):
            return BagOfWords()

    *_, export = check_encoder(Config())
    assert (export.name, export.status) == ("export", "PASS"), export.reason


def test_features_without_weights_have_nothing_to_check():
    assert {one.status for one in check_encoder(VisionFeatures(width=4))} == {"SKIP"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("no-such", "There is no encoder 'no-such' here"),
        ("{mine}:Other", "the file has no encoder config of that name"),
        ("clip-vision --max-frames 0", "--max-frames 0"),
    ],
)
def test_a_mistake_is_told_in_one_line(given, said, command, mine, capsys):
    assert command(f"check-encoder {given.replace('{mine}', str(mine))}") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_help_names_the_kinds(command, capsys):
    assert command("check-encoder --help") == 0
    assert "clip-vision" in capsys.readouterr().out
