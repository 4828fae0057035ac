"""What is not installed, and the extra that brings it."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec

from trichord.types import UserError

TOWERS = frozenset(
    {"torch", "transformers", "tokenizers", "huggingface_hub", "safetensors", "jaxtyping"}
)
"""Packages that the extra `towers` brings; a search by words does without."""


class NotInstalledError(UserError, ImportError):
    """What is asked for needs an extra; an ImportError too, as from Python one expects it."""


def require_torch() -> None:
    """Refuse where the towers cannot be loaded, before anything is downloaded for them.

    Raises:
        NotInstalledError: torch is missing.
    """
    if find_spec("torch") is None:
        raise NotInstalledError(_missing("torch"))


@contextmanager
def extras_named() -> Generator[None]:
    """Say, where a package of the towers is missing, how it is installed.

    Raises:
        NotInstalledError: One is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in TOWERS:
            raise
        raise NotInstalledError(_missing(error.name)) from error


def _missing(package: str) -> str:
    return f"This needs {package}, which is not installed: pip install 'trichord[towers]'."
