"""What is not installed, and the extra that brings it."""

from collections.abc import Generator
from contextlib import contextmanager

from trichord.types import UserError

TOWERS = frozenset(
    {"torch", "transformers", "tokenizers", "huggingface_hub", "safetensors", "jaxtyping"}
)
"""Packages that the extra `towers` brings; a search by words does without."""
_EXTRAS = dict.fromkeys(TOWERS, "towers") | {"caption_metrics": "captions"}
"""The extra that brings a package, by the name under which it is imported."""


class NotInstalledError(UserError, ImportError):
    """What is asked for needs an extra; an ImportError too, as from Python one expects it."""


@contextmanager
def extras_named() -> Generator[None]:
    """Say how a package is installed that an extra brings and that is missing.

    Raises:
        NotInstalledError: One is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra is None:
            raise
        raise NotInstalledError(
            f"This needs {error.name}, which is not installed: pip install 'trichord[{extra}]'."
        ) from error
