"""Sources made of other sources: some of their clips, or their clips with borrowed sounds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray

from trichord.features.source import Captions, Source
from trichord.models.embedder import Toward
from trichord.types import Clip
from trichord.types.tensors import Batch, Padded


class SomeSource:
    """Some clips of a source, as if there were no others."""

    def __init__(self, source: Source, clips: Int[ndarray, " clip"]) -> None:
        """Choose clips of a source by number, in ascending order."""
        self.clips: Sequence[Clip] = [source.clips[i] for i in clips]
        self.captions = Captions.of(self.clips)
        self.precomputed = source.precomputed
        self._source = source
        self._clips = clips
        self._captions = np.flatnonzero(np.isin(source.captions.owners, clips))

    def batch(
        self,
        clips: Int[ndarray, " row"],
        captions: Int[ndarray, " row"] | None,
        masking: int | None = None,
    ) -> Batch:
        """See `Source`."""
        asked = None if captions is None else self._numbers(captions)
        return self._source.batch(self._clips[clips], asked, masking)

    def texts(self, captions: Int[ndarray, " row"], toward: Toward) -> Padded:
        """See `Source`."""
        return self._source.texts(self._numbers(captions), toward)

    def _numbers(self, captions: Int[ndarray, " row"]) -> Int[ndarray, " row"]:
        """What the whole source calls captions; -1 stays -1."""
        return np.append(self._captions, -1)[captions]


class LentSource:
    """A source some of whose clips have sounds of another source."""

    def __init__(self, source: Source, donors: Source, lent: Mapping[int, int]) -> None:
        """Lend sounds.

        Args:
            source: Whose clips borrow.
            donors: Has the sounds, read as far as those of `source`.
            lent: Number of a clip to number of its donor.

        Raises:
            ValueError: One of the sources gives trunk features of sound, the other one its inputs.
        """
        if ("audio" in source.precomputed) != ("audio" in donors.precomputed):
            raise ValueError("Sounds that a tower has read cannot stand beside those it has not.")
        self.clips = source.clips
        self.captions = source.captions
        self.precomputed = source.precomputed
        self._source = source
        self._donors = donors
        self._lent = lent

    def batch(
        self,
        clips: Int[ndarray, " row"],
        captions: Int[ndarray, " row"] | None,
        masking: int | None = None,
    ) -> Batch:
        """See `Source`; what is lent has no masked copy."""
        batch = self._source.batch(clips, captions, masking)
        rows = [row for row, clip in enumerate(clips.tolist()) if clip in self._lent]
        if not rows:
            return batch
        given = self._donors.batch(np.array([self._lent[int(clips[row])] for row in rows]), None)
        if given.audio is None:
            return batch
        audio_type = batch.audio_type
        if audio_type is not None and given.audio_type is not None:
            audio_type = audio_type.index_copy(0, torch.tensor(rows), given.audio_type)
        return replace(
            batch, audio=_put(given.audio, rows, batch.audio, len(clips)), audio_type=audio_type
        )

    def texts(self, captions: Int[ndarray, " row"], toward: Toward) -> Padded:
        """See `Source`."""
        return self._source.texts(captions, toward)


def _put(given: Padded, rows: list[int], into: Padded | None, count: int) -> Padded:
    """`into`, or as many missing rows, with the given rows in the places of its own."""
    steps = max(one.mask.shape[1] for one in (given, into) if one is not None)
    values = given.values.new_zeros((count, steps, *given.values.shape[2:]))
    mask = given.mask.new_zeros((count, steps))
    if into is not None:
        values[:, : into.mask.shape[1]] = into.values
        mask[:, : into.mask.shape[1]] = into.mask
    values[rows] = 0
    mask[rows] = False
    values[rows, : given.mask.shape[1]] = given.values
    mask[rows, : given.mask.shape[1]] = given.mask
    return Padded(values, mask)
