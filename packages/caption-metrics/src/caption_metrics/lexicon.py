"""METEOR's word lists, read from an installed `pycocoevalcap` without Java and without importing it.

The jar beside its `meteor.py` is a zip file with the function words, the synonym sets and exceptions of
WordNet 3, and the words that keep their dot. The paraphrase table is a file next to it: 5.3 million
pairs (62 MB packed, 272 MB unpacked). Reading it takes about 3 s each time. Only pairs that can match
are kept, so that 5,000 captions need 70 MB for it, and the word lists 30 MB.
"""

import gzip
import importlib.util
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

DotRule = Literal["always", "before a number"]
Phrase = tuple[str, ...]
_CHUNK = 1 << 22  # bytes of the unpacked table at a time
MAX_PHRASE = 7  # words, in the table; longer n-grams need not be looked up
# WordNet's rules of detachment for nouns, verbs, then adjectives (morphy, WordNet 3.0).
_ENDINGS = (
    ("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
    ("men", "man"), ("ies", "y"), ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"),
    ("ed", ""), ("ing", "e"), ("ing", ""), ("er", ""), ("est", ""), ("er", "e"), ("est", "e"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """What METEOR knows of English words, apart from paraphrases.

    Attributes:
        function_words: Words that weigh a third of the others.
        prefixes: Words that keep a dot behind them, and when.
        bases: Irregular forms and the words they are forms of.
        synsets: Words and the numbers of their synonym sets, separated by blanks.
    """

    function_words: frozenset[str]
    prefixes: Mapping[str, DotRule]
    bases: Mapping[str, tuple[str, ...]]
    synsets: Mapping[str, str]

    def synsets_of(self, word: str) -> frozenset[str]:
        """The synonym sets of a word and of the word it is a form of."""
        bases = self.bases.get(word) or (self._base(word),)
        return frozenset(n for one in (word, *bases) for n in self.synsets.get(one, "").split())

    def _base(self, word: str) -> str:
        if word.endswith("ss") or len(word) <= 2:
            return word
        bases = (word.removesuffix(end) + into for end, into in _ENDINGS if word.endswith(end))
        return next((base for base in bases if base in self.synsets), "")


def find_folder() -> Path | None:
    """Where METEOR's files are, or None where pycocoevalcap is not installed."""
    spec = importlib.util.find_spec("pycocoevalcap")
    locations = [] if spec is None else spec.submodule_search_locations or []
    folders = (Path(location) / "meteor" for location in locations)
    return next((one for one in folders if (one / "meteor-1.5.jar").is_file()), None)


@cache
def load(folder: Path) -> Lexicon:
    """The word lists in the jar of a folder; read once in a process."""
    with zipfile.ZipFile(folder / "meteor-1.5.jar") as jar:
        texts = {
            name: jar.read(name).decode().splitlines()
            for name in (
                "function/english.words",
                "nonbreaking/english.prefixes",
                "synonym/english.exceptions",
                "synonym/english.synsets",
            )
        }
    functions, prefixes, exceptions, synsets = texts.values()
    bases: dict[str, tuple[str, ...]] = {}
    for base, forms in zip(exceptions[::2], exceptions[1::2], strict=True):
        for form in forms.split():
            bases[form] = (*bases.get(form, ()), base)
    return Lexicon(
        function_words=frozenset(functions),
        prefixes=dict(_prefixes(prefixes)),
        bases=bases,
        synsets=dict(zip(synsets[::2], synsets[1::2], strict=True)),
    )


def _prefixes(lines: Iterable[str]) -> Iterator[tuple[str, DotRule]]:
    for line in lines:
        word, *rest = line.split() or ("#",)
        if not word.startswith("#"):
            yield word, "before a number" if rest[:1] == ["#NUMERIC_ONLY#"] else "always"


def load_paraphrases(folder: Path, captions: Collection[Phrase]) -> dict[Phrase, list[Phrase]]:
    """The paraphrases of which both sides occur in the captions, in the order of the table.

    Args:
        folder: The folder with the table.
        captions: The words of every caption, hypotheses and references together.
    """
    grams = {
        " ".join(words[start : start + length]).encode()
        for words in set(captions)
        for length in range(1, MAX_PHRASE + 1)
        for start in range(len(words) - length + 1)
    }
    found: dict[Phrase, list[Phrase]] = {}
    with gzip.open(folder / "data" / "paraphrase-en.gz") as table:
        for lines in _entries(table):
            for phrase, other in zip(lines[1::3], lines[2::3], strict=True):
                if phrase in grams and other in grams:
                    one = tuple(phrase.decode().split(" "))
                    found.setdefault(one, []).append(tuple(other.decode().split(" ")))
    return found


def _entries(table: gzip.GzipFile) -> Iterator[list[bytes]]:
    """The lines of the table, some at a time, always whole entries of three lines."""
    left: list[bytes] = []
    rest = b""
    while chunk := table.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        left += whole
        entries = len(left) // 3 * 3
        yield left[:entries]
        left = left[entries:]
