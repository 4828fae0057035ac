"""Packages that are not installed, and the extras that install them."""

import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec

from trichord.types import UserError

TOWERS = frozenset(
    {"torch", "transformers", "tokenizers", "huggingface_hub", "safetensors", "jaxtyping"}
)
"""Packages of the extra `towers`; a text search does not need them."""
_EXTRAS = dict.fromkeys(TOWERS, "towers") | {
    "caption_metrics": "captions",
    "mteb": "mteb",
    "peft": "lora",
    "pillow_heif": "images",
    "pillow_jxl": "images",
    "pocketsphinx": "asr",
    "rapidocr": "ocr",
    "ray": "ray",
    "sentence_transformers": "sentence-transformers",
    "watchfiles": "watch",
}
"""The extra that brings a package, by the name under which it is imported."""
_OF_WORLD = re.compile(r"demo|world|world-.+|stand-in-.+")
"""What parts of trichord-world are called: its commands, experiments, datasets and weights."""


class NotInstalledError(UserError, ImportError):
    """An extra is missing; also an ImportError, as Python code expects."""


def require_package(name: str) -> None:
    """Refuse if a package of an extra is missing, before anything is downloaded.

    Raises:
        NotInstalledError: It is missing.
    """
    if find_spec(name) is None:
        raise NotInstalledError(_missing(name))


def require_compiler() -> None:
    """Require the C++ compiler that torch compiles with.

    Raises:
        UserError: There is none.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UserError(
            f"--compile needs a C++ compiler, and there is no '{compiler}': install one or leave "
            "the option out."
        )


@contextmanager
def extras_named() -> Generator[None]:
    """Turn a missing package of an extra into an error that names the extra.

    Raises:
        NotInstalledError: A package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        raise NotInstalledError(_missing(str(error.name))) from error


def is_cured(reason: str) -> bool:
    """Whether a reason names a package that was not installed, and it is installed now."""
    named = re.match(r"This needs (\w+), which is not installed", reason)
    return named is not None and find_spec(named[1]) is not None


def package_hint(name: str) -> str:
    """Which package that is not installed has a part of this name; empty where we know of none."""
    if not _OF_WORLD.fullmatch(name) or find_spec("trichord_world") is not None:
        return ""
    return "it is part of trichord-world: pip install 'trichord[world]'."


def _missing(package: str) -> str:
    return (
        f"This needs {package}, which is not installed: pip install 'trichord[{_EXTRAS[package]}]'."
    )
