"""Where batches come from: cached features, or media decoded and prepared on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int

from trichord.features.store import FeatureFolder, Ragged
from trichord.media.decoder import Decoder, Request
from trichord.models.embedder import Embedder, Toward
from trichord.types import CaptionKind, Clip, UserError
from trichord.types.tensors import Batch, Padded


@dataclass(frozen=True)
class Captions:
    """All captions of clips, end to end in the clips' order; the one order that evaluation uses."""

    texts: tuple[str, ...]
    kinds: tuple[CaptionKind, ...]
    owners: Int[np.ndarray, " caption"]

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> "Captions":
        """Collect the captions of clips."""
        owned = [(caption, i) for i, clip in enumerate(clips) for caption in clip.captions]
        return cls(
            texts=tuple(caption.text for caption, _ in owned),
            kinds=tuple(caption.kind for caption, _ in owned),
            owners=np.array([owner for _, owner in owned], dtype=np.int64),
        )

    @cached_property
    def numbers(self) -> dict[CaptionKind, Int[np.ndarray, " of_kind"]]:
        """Which captions are of a kind."""
        kinds = np.array(self.kinds, dtype=object)
        return {kind: np.flatnonzero(kinds == kind) for kind in dict.fromkeys(self.kinds)}

    def draw(
        self,
        kinds: tuple[CaptionKind, ...],
        clips: Int[np.ndarray, " row"],
        random: np.random.Generator,
    ) -> Int[np.ndarray, " row"]:
        """One caption of the given kinds for each clip, uniformly; -1 where it has none."""
        starts, counts, order = self._by_clip(kinds)
        if not len(order):
            return np.full(len(clips), -1)
        pick = starts[clips] + (random.random(len(clips)) * counts[clips]).astype(np.int64)
        return np.where(counts[clips] > 0, order[np.minimum(pick, len(order) - 1)], -1)

    def _by_clip(
        self, kinds: tuple[CaptionKind, ...]
    ) -> tuple[Int[np.ndarray, " clip"], Int[np.ndarray, " clip"], Int[np.ndarray, " of_kinds"]]:
        none = np.zeros(0, np.int64)
        order = np.sort(np.concatenate([self.numbers.get(kind, none) for kind in kinds] or [none]))
        counts = np.bincount(self.owners[order], minlength=int(self.owners.max(initial=-1)) + 1)
        return np.cumsum(counts) - counts, counts, order


@runtime_checkable
class Source(Protocol):
    """Gives batches of clips, each with one caption or none."""

    clips: Sequence[Clip]
    captions: Captions
    read: bool
    """Whether its batches are trunk features already."""

    def batch(
        self, clips: Int[np.ndarray, " row"], captions: Int[np.ndarray, " row"] | None
    ) -> Batch:
        """Clips by number with captions by number (-1: none); None: no text at all."""
        ...

    def texts(self, captions: Int[np.ndarray, " row"], toward: Toward) -> Padded:
        """Captions by number as input of the text tower that searches `toward`."""
        ...


class FeatureSource:
    """Batches of cached trunk features."""

    read = True

    def __init__(self, clips: Sequence[Clip], model: Embedder, folder: FeatureFolder) -> None:
        self.clips = clips
        self.captions = Captions.of(clips)
        ids = [clip.id for clip in clips]
        self._vision = _load(folder, "vision", model, ids)
        self._audio = _load(folder, "audio", model, ids)
        widest = max(model.vision.dim, model.audio.dim)
        values = self._vision.values.numel() + self._audio.values.numel()
        self.work_per_clip = values * widest // max(1, len(clips))
        """Multiply-adds of linear heads on a clip, roughly: is it worth several threads?"""
        texts = list(dict.fromkeys(self.captions.texts))
        place = {text: i for i, text in enumerate(texts)}
        self._text_rows = torch.tensor(
            [place[text] for text in self.captions.texts], dtype=torch.long
        )
        towers = {"vision": "text", "audio": "text" if model.aligned else "sound_text"}
        loaded = {name: _load(folder, name, model, texts) for name in set(towers.values())}
        self._text = {toward: loaded[name] for toward, name in towers.items()}

    def batch(
        self, clips: Int[np.ndarray, " row"], captions: Int[np.ndarray, " row"] | None
    ) -> Batch:
        """Clips by number with captions by number (-1: none); None: no text at all."""
        rows = torch.from_numpy(clips)
        return Batch(
            ids=tuple(self.clips[i].id for i in clips),
            text=None if captions is None else self.texts(captions, "vision"),
            audio=self._audio.padded(rows),
            vision=self._vision.padded(rows),
            read=True,
        )

    def texts(self, captions: Int[np.ndarray, " row"], toward: Toward) -> Padded:
        """Captions by number as features of the text tower that searches `toward`."""
        numbers = torch.from_numpy(captions)
        if not len(self._text_rows):
            return self._text[toward].padded(numbers)
        rows = torch.where(numbers >= 0, self._text_rows[numbers.clamp(min=0)], -1)
        return self._text[toward].padded(rows)


def _load(folder: FeatureFolder, name: str, model: Embedder, keys: Sequence[str]) -> Ragged:
    tower = model.encoders()[name]
    table = folder.existing(name, tower) if keys else folder.table(name, tower)
    try:
        return table.load(keys)[0]
    except KeyError as error:
        raise UserError(
            f"{folder.path} has no {name} features of '{str(error.args[0])[:60]}': run 'trichord "
            "extract' again, it reads only what is missing."
        ) from error


class MediaSource:
    """Batches decoded from media files; for towers that train."""

    read = False

    def __init__(self, clips: Sequence[Clip], model: Embedder, decoder: Decoder) -> None:
        self.clips = clips
        self.captions = Captions.of(clips)
        self._model = model
        self._decoder = decoder

    def batch(
        self, clips: Int[np.ndarray, " row"], captions: Int[np.ndarray, " row"] | None
    ) -> Batch:
        """Clips by number with captions by number (-1: none); None: no text at all."""
        chosen = [self.clips[i] for i in clips]
        requests = [
            Request(path=c.path, spans=((c.start, c.end),), plan=self._model.plan) for c in chosen
        ]
        decoded = [spans[0] for spans in self._decoder.decode_all(requests)]
        return Batch(
            ids=tuple(clip.id for clip in chosen),
            text=None if captions is None else self.texts(captions, "vision"),
            audio=Padded.stack([self._model.audio_inputs(one) for one in decoded]),
            vision=Padded.stack([self._model.vision_inputs(one) for one in decoded]),
        )

    def texts(self, captions: Int[np.ndarray, " row"], toward: Toward) -> Padded:
        """Captions by number as input of the text tower that searches `toward`."""
        known = [self.captions.texts[i] if i >= 0 else "" for i in captions]
        ids = self._model.text_toward(toward).prepare(known)
        return Padded(ids[:, None], torch.from_numpy(captions >= 0)[:, None])


def portions(count: int, size: int) -> Iterator[Int[np.ndarray, " row"]]:
    """The numbers 0 ... count-1 in order, `size` at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
