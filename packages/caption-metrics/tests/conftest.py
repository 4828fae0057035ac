"""METEOR's files: a handful of made-up words for tests, and the real ones where they are installed."""

import gzip
import zipfile
from pathlib import Path

import pytest

from caption_metrics import lexicon

ANNOTATIONS = Path(__file__).parents[3] / "shared" / "data" / "annotations"


@pytest.fixture(scope="session")
def annotations():
    """Published captions, with the scores of two scorers' own examples."""
    if not ANNOTATIONS.is_dir():
        pytest.skip("the published annotations are not beside the project")
    return ANNOTATIONS


@pytest.fixture(scope="session")
def word_lists():
    """The folder with METEOR's own files."""
    place = lexicon.find_folder()
    if place is None:
        pytest.skip("pycocoevalcap, which brings METEOR's word lists, is not installed")
    return place


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    """A folder like pycocoevalcap's, with a dozen words."""
    place = tmp_path_factory.mktemp("meteor")
    with zipfile.ZipFile(place / "meteor-1.5.jar", "w") as jar:
        jar.writestr("function/english.words", "the\na\non\n")
        jar.writestr("nonbreaking/english.prefixes", "# titles\nMr\n\nNo #NUMERIC_ONLY#\n")
        jar.writestr("synonym/english.exceptions", "mouse\nmice\nlie\nlay lain\nlay\nlay\n")
        synsets = {
            "dog": "1 2",
            "hound": "2",
            "mouse": "3",
            "rodent": "3 4",
            "beach": "5",
            "lie": "6",
        }
        jar.writestr("synonym/english.synsets", "".join(f"{w}\n{n}\n" for w, n in synsets.items()))
    (place / "data").mkdir()
    with gzip.open(place / "data" / "paraphrase-en.gz", "wt", encoding="utf-8") as table:
        for left, right in (("next to", "beside"), ("beside", "close by"), ("sea", "the ocean")):
            table.write(f"0.5\n{left}\n{right}\n")
    return place
