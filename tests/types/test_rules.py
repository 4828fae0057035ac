"""What the values of options may be."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from trichord.types import UserError
from trichord.types.rules import (
    Checked,
    Device,
    Distinct,
    InputFile,
    InputFolder,
    OutputFile,
    OutputFolder,
    Range,
    Seed,
    require_legal,
)


def refusal(value, *rules):
    with pytest.raises(UserError) as refused:
        require_legal(value, Annotated[(object, *rules)], "--x")
    [line] = str(refused.value).splitlines()
    assert line.startswith("--x")
    return line


def allow(value, *rules):
    require_legal(value, Annotated[(object, *rules)], "--x")


def test_numbers_within_their_range():
    for value in (0, 0.5, 1, None):
        allow(value, Range(0, 1))
    for value in (-1e-9, 1.01, float("nan"), float("inf"), -float("inf")):
        assert refusal(value, Range(0, 1)) == f"--x {value}: give a number from 0 to 1."
    allow(1e-9, Range(above=0))
    assert refusal(0, Range(above=0)) == "--x 0: give more than 0."
    assert refusal(float("inf"), Range(above=0)) == "--x inf: give more than 0 and finite."
    assert refusal(0, Range(low=1)) == "--x 0: give at least 1."
    assert refusal(2, Range(above=0, high=1)) == "--x 2: give more than 0 and at most 1."
    allow(0, Range(0, below=1))
    assert refusal(1, Range(0, below=1)) == "--x 1: give at least 0 and less than 1."
    assert refusal(float("nan"), Range()) == "--x nan: give a finite number."
    allow("both", Range(0, 1))


def test_each_of_several_numbers_is_checked_and_repetition_is_named():
    allow((0, 1), Range(0, 1), Distinct())
    assert refusal((0, 2), Range(0, 1)) == "--x 2: give a number from 0 to 1."
    assert refusal((0, 1, 0), Distinct()) == "--x: 0 is given twice: give it once."


def test_devices_and_seeds():
    for device in ("auto", "cpu", "cuda", "cuda:1", "CPU", "Mps"):
        require_legal(device, Device, "--device")
    for device in ("gpu", "cuda:", "cuda:x", "mp\u017f", ""):
        with pytest.raises(UserError, match=r"give auto, cpu, cuda, cuda:N .* or mps"):
            require_legal(device, Device, "--device")
    require_legal(2**32 - 1, Seed, "--seed")
    with pytest.raises(UserError, match="--seed 4294967296: give a number from 0 to 4294967295"):
        require_legal(2**32, Seed, "--seed")


def test_files_and_folders_that_are_read(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("x")
    allow(file, InputFile())
    allow(tmp_path, InputFolder())
    assert "no such file" in refusal(tmp_path / "none", InputFile())
    assert "no such file" in refusal(tmp_path / "none", InputFolder())
    assert "no such file" in refusal(file / "below", InputFile())
    assert "is a folder" in refusal(tmp_path, InputFile())
    assert "is a file" in refusal(file, InputFolder())
    assert "File name too long" in refusal(tmp_path / ("x" * 5000), InputFile())
    allow(Path("s3://bucket/prefix"), InputFolder(bucket=True))
    assert "no such file" in refusal(Path("s3://bucket/prefix"), InputFolder())


def test_files_and_folders_that_are_written(tmp_path):
    file = tmp_path / "a.png"
    file.write_text("x")
    for path in (file, tmp_path / "new.png", tmp_path / "new" / "deeper" / "a.PNG"):
        allow(path, OutputFile(".png"))
    for path in (tmp_path, tmp_path / "new" / "deeper", Path("relative")):
        allow(path, OutputFolder())
    assert "ends in .png" in refusal(tmp_path / "a.jpg", OutputFile(".png"))
    assert "is a folder" in refusal(tmp_path, OutputFile())
    assert f"{file} is a file" in refusal(file / "a.png", OutputFile(".png"))
    assert f"{file} is a file" in refusal(file, OutputFolder())
    assert f"{file} is a file" in refusal(file / "new" / "deeper", OutputFolder())
    assert "File name too long" in refusal(tmp_path / ("x" * 5000), OutputFile())
    allow("s3://bucket/prefix", OutputFolder(bucket=True))
    assert not (tmp_path / "new").exists()


def test_what_may_not_be_read_or_written_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # permissions do not bind the superuser
    assert "cannot be read" in refusal(tmp_path / "a", InputFile())
    assert f"{tmp_path} cannot be written to" in refusal(tmp_path / "new" / "b", OutputFile())
    assert f"{tmp_path} cannot be written to" in refusal(tmp_path, OutputFolder())


def even(value):
    if value % 2:
        raise UserError(f"--inner.count {value}: give an even number.")


@dataclass(frozen=True, kw_only=True)
class Inner:
    count: Annotated[int, Checked(even)] = 0
    some_share: Annotated[float | None, Range(0, 1)] = None
    other: Annotated[float, tyro.conf.arg(name="from"), Range(0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Outer:
    place: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE"), InputFile()]
    inner: Inner = field(default_factory=Inner)
    flat: Annotated[Inner, tyro.conf.arg(name="")] = field(default_factory=Inner)
    several: tuple[Inner, ...] = ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--inner.count 3", "--inner.count 3: give an even"),
        ("--inner.some-share 2", "--inner.some-share 2: give"),
        ("--inner.from -1", "--inner.from -1: give"),
        ("--some-share 2", "--some-share 2: give"),
        ("--from -1", "--from -1: give"),
        ("--several.1.some-share 2", "--several.1.some-share 2: give"),
        ("nowhere", "FILE nowhere: there is no"),
    ],
)
def test_a_field_is_named_as_it_is_typed(options, said):
    place, several = Path(__file__), (Inner(), Inner())
    words = options.split() if options == "nowhere" else [str(place), *options.split()]
    parsed = tyro.cli(Outer, args=words, default=Outer(place=place, several=several))
    with pytest.raises(UserError, match=said):
        require_legal(parsed)
    require_legal(Outer(place=place, several=several))
