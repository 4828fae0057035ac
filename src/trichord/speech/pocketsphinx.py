"""PocketSphinx: a recogniser of English that brings its models and needs no network.

It is weak: of the commands of GRID, read by one speaker, it gets about nine words in ten wrong, with
their grammar one in seven (`studies/transcripts.py`). It is for fixed phrases.
"""

import hashlib
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from trichord.speech.cues import SubtitleError, read_text
from trichord.speech.recogniser import RATE, RecogniserOptions
from trichord.speech.transcript import Word
from trichord.types import UserError
from trichord.types.arrays import Float
from trichord.types.extras import require_package

FRAMES = 100
"""Frames a second of its times."""
CUT = 4.0
"""Seconds of a sound from which it may be cut at its end; windows of a longer stretch have at least 14."""
INSERTION = 1e-3
"""Probability of another word in a list of phrases. By its default of 0.65 it invents short words: on 40
clips of GRID with a list of its words, 0.73 of the words are wrong, with 0.05 0.45, with 0.001 0.35."""
_WORD = re.compile(r"[^\s<>{}()\[\]|*+;=/\"]+")
_NO_WORDS = re.compile(r"//[^\n]*|/\*.*?\*/|<[^<>]*>|\{[^{}]*\}|/[\d.eE+-]+/", re.DOTALL)
"""What has no words in JSGF: comments, names of rules, tags, weights."""


class PocketSphinx:
    """PocketSphinx with its English models, free or with a vocabulary."""

    name = "pocketsphinx"
    languages = ("en",)

    def __init__(self, options: RecogniserOptions) -> None:
        """Load the models.

        Raises:
            UserError: The extra `asr` is not installed, or the vocabulary cannot be used.
        """
        if options.model:
            raise UserError(
                f"--model {options.model}: pocketsphinx brings its own: leave it out, or give --engine "
                "transformers."
            )
        require_package("pocketsphinx")
        import pocketsphinx

        engine: Any = pocketsphinx.Decoder
        self.fingerprint = f"pocketsphinx {version('pocketsphinx')} en-us"
        # Mean of the whole sound, not of those before it: results may not depend on the order.
        usual: dict[str, Any] = {"loglevel": "FATAL", "cmn": "batch"}
        if options.vocabulary is None:
            self._decoder = engine(**usual)
            self._free = True
            return
        grammar, phrases = _grammar(options.vocabulary)
        if phrases:
            usual["wip"] = INSERTION
        # `bestpath` searches a lattice, which a loop of words makes a hundred times as slow as the sound.
        self._decoder = engine(lm=None, bestpath=False, **usual)
        self._free = False
        self._use(grammar, options.vocabulary)
        digest = hashlib.blake2b(grammar.encode(), digest_size=8).hexdigest()
        self.fingerprint += f" grammar {digest}"

    def _use(self, grammar: str, path: Path) -> None:
        body = re.sub(r"(?m)^\s*(#JSGF[^;\n]*|grammar\s[^;]*|import\s[^;]*);?", "", grammar)
        body = re.sub(r"\bpublic\b(?=\s*<)", "", body)
        words = dict.fromkeys(_WORD.findall(_NO_WORDS.sub(" ", body)))
        if unknown := [one for one in words if self._decoder.lookup_word(one) is None]:
            raise UserError(
                f"--vocabulary {path}: pocketsphinx has no pronunciation of "
                f"{', '.join(map(repr, unknown[:5]))}{' and others' * (len(unknown) > 5)}: spell them as "
                "English words in lower case, or leave them out."
            )
        try:
            self._decoder.add_jsgf_string("vocabulary", grammar)
            self._decoder.activate_search("vocabulary")
        except (ValueError, RuntimeError, KeyError) as error:
            raise UserError(
                f"--vocabulary {path}: it is no grammar in JSGF: fix it, or list phrases."
            ) from error

    def detect_language(self, samples: Float[np.ndarray, " sample"]) -> str:
        """English: it knows no other."""
        return "en"

    def recognise(self, samples: Float[np.ndarray, " sample"], language: str) -> Sequence[Word]:
        """See `Recogniser`. Words have a posterior probability only without a vocabulary."""
        words, unfinished = self._decode(samples)
        # Windows of speech without a pause end anywhere: within a sentence, which a grammar rejects with
        # all words before it. Short sounds are whole: without words, they do not fit the grammar.
        return words if words or len(samples) < CUT * RATE else unfinished

    def _decode(self, samples: Float[np.ndarray, " sample"]) -> tuple[list[Word], list[Word]]:
        """The words of a sound, and with a vocabulary those of the best path, finished or not."""
        self._decoder.reinit_feat()  # forgets the noise of earlier sounds
        self._decoder.start_utt()
        content = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        self._decoder.process_raw(content, False, True)
        unfinished = [] if self._free else self._words()
        self._decoder.end_utt()
        return self._words(), unfinished

    def _words(self) -> list[Word]:
        """The words that the decoder has found so far."""
        return [
            Word(
                text=re.sub(r"\(\d+\)$", "", one.word),  # the number of a pronunciation
                start=one.start_frame / FRAMES,
                end=(one.end_frame + 1) / FRAMES,
                confidence=round(min(1.0, one.prob), 4) if self._free else None,
            )
            for one in self._decoder.seg() or ()
            if not one.word.startswith(("<", "[", "+", "("))  # silence and noise
        ]


def _grammar(path: Path) -> tuple[str, bool]:
    """A vocabulary as JSGF, and whether it is a list: a word or phrase a line, in any order.

    Raises:
        UserError: It cannot be read, is empty, or has signs in a phrase.
    """
    try:
        text = read_text(path)[0].strip()
    except SubtitleError as error:
        raise UserError(f"--vocabulary {path}: {error}.") from error
    if text.startswith("#JSGF"):
        return text + "\n", False
    phrases: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].lower().split()
        if wrong := [one for one in words if not _WORD.fullmatch(one)]:
            raise UserError(
                f"--vocabulary {path}, line {number}: {wrong[0]!r} is no word: give a word or phrase a "
                "line, or a grammar that begins with #JSGF V1.0;"
            )
        if words:
            phrases[" ".join(words)] = None
    if not phrases:
        raise UserError(f"--vocabulary {path}: it has no words: write a word or phrase a line.")
    return (
        f"#JSGF V1.0;\ngrammar vocabulary;\npublic <said> = ({' | '.join(phrases)})+;\n",
        True,
    )
