"""A generated world whose captions are queries of one kind: for the sound token (Figure 4)."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from trichord.corpora import avcaps
from trichord.corpora.prepared import Corpus, Prepared
from trichord.types import Caption
from trichord_world.queries import AudioQuery, audio_queries
from trichord_world.truth import TRUTH_FILE, read_truth
from trichord_world.world import read_world


def clips(root: Path, *, kind: AudioQuery) -> Prepared:
    """All clips of a world; those that sound as asked have one caption, a query of this kind.

    Raises:
        UserError: The folder holds no finished world in AVCaps' layout.
    """
    world = read_world(root)
    prepared = avcaps.clips(root)
    queries = audio_queries(read_truth(root / TRUTH_FILE), world.seed, grammar=world.grammar)
    texts = dict(queries[kind])
    asked = tuple(
        replace(
            clip,
            captions=(Caption(text=texts[clip.id], about="audio"),) if clip.id in texts else (),
        )
        for clip in prepared.clips
    )
    return replace(prepared, clips=asked)


def _corpus(kind: AudioQuery, about: str) -> Corpus:
    description = f"a generated world, asked about {about}: for the study of audio types"
    return Corpus(description=description, clips=partial(clips, kind=kind))


SPEECH = _corpus("speech", "what is said")
EVENT = _corpus("event", "what else sounds")
MIXED = _corpus("mixed", "both")
