"""A generated world whose captions are queries of one kind: for the sound token (Figure 4)."""

from dataclasses import replace
from pathlib import Path

from trichord.corpora import avcaps
from trichord.corpora.prepared import Prepared
from trichord_world.queries import AudioQuery, audio_queries
from trichord_world.truth import TRUTH_FILE, read_truth
from trichord_world.world import read_world
from trichord.types import Caption


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
