"""What `import trichord` gives: a version, its public names, and a hint for a wrong one."""

import subprocess
import sys
import traceback
from importlib.metadata import version

import pytest

import trichord


def test_the_version_is_that_of_the_package_and_loads_nothing_heavy():
    heavy = {"torch", "numpy", "transformers", "lance", "av"}
    code = (
        "import sys, trichord; print(trichord.__version__); dir(trichord); "
        f"assert not {heavy} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == trichord.__version__ == version("trichord")


def test_dir_lists_the_public_names_alone():
    plain = [name for name in dir(trichord) if not name.startswith("__")]
    assert plain == sorted({*trichord.__all__} - {"__version__"})
    assert {"__version__", "__doc__", "__file__"} <= {*dir(trichord)}


def test_a_wrong_name_is_refused_with_a_near_one_said_once():
    with pytest.raises(AttributeError, match="'laod': did you mean 'load'") as refused:
        trichord.laod  # noqa: B018
    assert "".join(traceback.format_exception(refused.value)).lower().count("did you mean") == 1
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        trichord.nonsense  # noqa: B018
