"""Annotations of arrays: jaxtyping's own where it is installed, the bare array where it is not."""

import subprocess
import sys

import jaxtyping

from trichord.types import arrays


def test_they_are_jaxtypings():
    assert all(getattr(arrays, name) is getattr(jaxtyping, name) for name in arrays.__all__)


def test_without_it_they_are_the_array():
    code = (
        "import sys; sys.modules['jaxtyping'] = None\n"
        "import numpy as np\nfrom trichord.types import arrays\n"
        "kinds = [getattr(arrays, name)[np.ndarray, 'row dim'] for name in arrays.__all__]\n"
        "assert kinds == [np.ndarray] * 8\n"
        "def f(x: arrays.Float[np.ndarray, 'row'] | None) -> None: ...\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
