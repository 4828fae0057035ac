"""What is installed with `pip install trichord` stays small: nothing heavy slips into the package."""

import zlib
from pathlib import Path

import trichord

PACKAGE = Path(trichord.__file__).parent
MOST = 2_000_000
"""Bytes."""


def test_the_wheel_is_small():
    packed = {
        file: len(zlib.compress(file.read_bytes()))
        for file in PACKAGE.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert sum(packed.values()) <= MOST
    assert PACKAGE / "service" / "page" / "index.html" in packed
