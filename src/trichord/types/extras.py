"""What is not installed, and the extra that brings it."""

from collections.abc import Generator
from contextlib import contextmanager

from trichord.types import UserError

TOWERS = frozenset(
    {"torch", "transformers", "tokenizers", "huggingface_hub", "safetensors", "jaxtyping"}
)
"""Packages that the extra `towers` brings; a search by words does without."""


class NotInstalledError(UserError, ImportError):
    """What is asked for needs an extra; an ImportError too, as from Python one expects it."""


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
        raise NotInstalledError(
            f"This needs {error.name}, which is not installed: pip install 'trichord[towers]'."
        ) from error
