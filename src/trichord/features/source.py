"""Sources of batches: cached features, or media that are decoded on the fly."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NoReturn, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from trichord.encoders.encoder import UNKNOWN_AUDIO_TYPE
from trichord.features.importing import features_of
from trichord.features.store import FeatureFolder, Ragged
from trichord.media.decoder import Decoder, DecodeRequest
from trichord.models.embedder import Embedder, Toward
from trichord.types import MODALITIES, AudioTypeLabel, CaptionKind, Clip, Modality, UserError
from trichord.types.tensors import Batch, Padded

CACHE_BYTES = 2 * 1024**3
"""Decoded media that a source keeps in memory."""


@dataclass(frozen=True)
class Captions:
    """All captions of clips, concatenated in the order of the clips, as evaluation uses them."""

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
        """Indices of the captions of each kind."""
        kinds = np.array(self.kinds, dtype=object)
        return {kind: np.flatnonzero(kinds == kind) for kind in dict.fromkeys(self.kinds)}

    @cached_property
    def wordings(self) -> Int[np.ndarray, " caption_and_one"]:
        """A number for each caption, the same for equal texts; the last entry is -1, for index -1."""
        texts: dict[str, int] = {}
        numbers = [texts.setdefault(text, len(texts)) for text in self.texts]
        return np.array([*numbers, -1], dtype=np.int64)

    def draw(
        self,
        kinds: tuple[CaptionKind, ...],
        clips: Int[np.ndarray, " row"],
        random: np.random.Generator,
    ) -> Int[np.ndarray, " row"]:
        """Draw one caption of these kinds for each clip, uniformly; -1 if it has none."""
        none = np.zeros(0, np.int64)
        order = np.sort(np.concatenate([self.numbers.get(kind, none) for kind in kinds] or [none]))
        counts = np.bincount(self.owners[order], minlength=int(self.owners.max(initial=-1)) + 1)
        starts = np.cumsum(counts) - counts
        if not len(order):
            return np.full(len(clips), -1)
        pick = starts[clips] + (random.random(len(clips)) * counts[clips]).astype(np.int64)
        return np.where(counts[clips] > 0, order[np.minimum(pick, len(order) - 1)], -1)

    def draw_others(
        self,
        kinds: tuple[CaptionKind, ...],
        clip: int,
        drawn: int,
        count: int,
        random: np.random.Generator,
    ) -> Int[np.ndarray, " other"]:
        """Draw other captions of these kinds of a clip, each at most once.

        Args:
            kinds: Their kinds.
            clip: The clip's number.
            drawn: The caption that it has already.
            count: Of captions; fewer if it has no more.
            random: Draws them.
        """
        owned = np.arange(*np.searchsorted(self.owners, [clip, clip + 1]))
        others = [one for one in owned.tolist() if one != drawn and self.kinds[one] in kinds]
        return random.permutation(np.array(others, dtype=np.int64))[:count]


class WordTable:
    """The token ids of captions, each text tokenised once."""

    def __init__(self, captions: Captions, model: Embedder) -> None:
        texts = list(dict.fromkeys(captions.texts))
        place = {text: i for i, text in enumerate(texts)}
        self._words = model.token_ids(texts)
        self._rows = [place[text] for text in captions.texts]

    def of(self, captions: Int[np.ndarray, " row"]) -> Padded:
        """Captions by number as token ids, (row, token); -1: none."""
        none = torch.zeros(0, dtype=torch.long)
        return Padded.stack([self._words[self._rows[i]] if i >= 0 else none for i in captions])


@runtime_checkable
class Source(Protocol):
    """Gives batches of clips, each with one caption or none."""

    clips: Sequence[Clip]
    captions: Captions
    precomputed: tuple[Modality, ...]
    """Modalities of which its batches have trunk features."""

    def batch(
        self,
        clips: Int[np.ndarray, " row"],
        captions: Int[np.ndarray, " row"] | None,
        masking: int | None = None,
    ) -> Batch:
        """Clips by number with captions by number (-1: none); None: no text at all.

        With `masking`, a copy of the audio with stretches hidden, which depend on that number and
        the clip alone.
        """
        ...

    def texts(self, captions: Int[np.ndarray, " row"], toward: Toward) -> Padded:
        """Captions by number as input of the text tower that searches `toward`."""
        ...


class FeatureSource:
    """Batches of cached trunk features, of all modalities or of some."""

    def __init__(
        self,
        clips: Sequence[Clip],
        model: Embedder,
        folder: FeatureFolder | None,
        modalities: tuple[Modality, ...] = MODALITIES,
    ) -> None:
        """`folder` may be None if all features are files of the user's."""
        self.clips = clips
        self.captions = Captions.of(clips)
        self.precomputed = modalities
        self.folder = folder
        ids = [clip.id for clip in clips]
        self._media = {
            name: _load(folder, name, model, ids) for name in modalities if name != "text"
        }
        widest = max(model.vision.dim, model.audio.dim)
        values = sum(ragged.values.numel() for ragged in self._media.values())
        self.work_per_clip = values * widest // max(1, len(clips))
        """Rough number of multiply-adds of linear heads per clip, to choose the number of threads."""
        texts = list(dict.fromkeys(self.captions.texts))
        place = {text: i for i, text in enumerate(texts)}
        self._text_rows = torch.tensor(
            [place[text] for text in self.captions.texts], dtype=torch.long
        )
        towers = {"vision": "text", "audio": "sound_text" if model.sound_text else "text"}
        text_towers = set(towers.values()) if "text" in modalities else set[str]()
        loaded = {name: _load(folder, name, model, texts) for name in text_towers}
        self._text = {toward: loaded[name] for toward, name in towers.items() if name in loaded}
        self._words = WordTable(self.captions, model) if model.captioner else None

    def batch(
        self,
        clips: Int[np.ndarray, " row"],
        captions: Int[np.ndarray, " row"] | None,
        masking: int | None = None,
    ) -> Batch:
        """Clips by number with captions by number (-1: none); None: no text at all.

        Raises:
            UserError: `masking` is given: features of masked audio are never cached.
        """
        if masking is not None:
            refuse_masks()
        rows = torch.from_numpy(clips)
        audio, vision = self._media.get("audio"), self._media.get("vision")
        return Batch(
            ids=tuple(self.clips[i].id for i in clips),
            text=self.texts(captions, "vision") if captions is not None and self._text else None,
            words=self._words.of(captions) if captions is not None and self._words else None,
            audio=None if audio is None else audio.padded(rows),
            vision=None if vision is None else vision.padded(rows),
            precomputed=self.precomputed,
        )

    def texts(self, captions: Int[np.ndarray, " row"], toward: Toward) -> Padded:
        """Captions by number as features of the text tower that searches `toward`."""
        numbers = torch.from_numpy(captions)
        if not len(self._text_rows):
            return self._text[toward].padded(numbers)
        rows = torch.where(numbers >= 0, self._text_rows[numbers.clamp(min=0)], -1)
        return self._text[toward].padded(rows)


def _load(folder: FeatureFolder | None, name: str, model: Embedder, keys: Sequence[str]) -> Ragged:
    tower = model.encoders()[name]
    if tower.files is not None:  # the user's
        features = dict(features_of(tower.files, name, tower.width, set(keys)))
        if missing := [key for key in keys if key not in features]:
            raise UserError(
                f"{tower.files} has no {name} features of {len(missing)} of {len(set(keys))} keys, such as "
                f"'{missing[0][:60]}': add them; an array without steps, (0, {tower.width}), means none."
            )
        return Ragged.of([torch.from_numpy(features[key]) for key in keys], tower.width)
    assert folder is not None
    table = folder.existing(name, tower) if keys else folder.table(name, tower)
    try:
        return table.load(keys)[0]
    except KeyError as error:
        raise UserError(
            f"{folder.path} has no {name} features of '{str(error.args[0])[:60]}': run 'trichord "
            "extract' again, it reads only what is missing."
        ) from error


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """A decoded clip: its spectrogram, and its frames as input of the tower."""

    spectrogram: Tensor | None
    frames: Tensor | None

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(one.nbytes for one in (self.spectrogram, self.frames) if one is not None)


class MediaSource:
    """Batches decoded from media files; for towers that train. Other modalities may come from the cache.

    Decoded clips are kept up to `CACHE_BYTES`, so that a small corpus is decoded once; other clips are
    decoded each time.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        model: Embedder,
        decoder: Decoder,
        modalities: tuple[Modality, ...] = MODALITIES,
        cached: FeatureSource | None = None,
    ) -> None:
        """`cached` has the other modalities of the same clips."""
        self.clips = clips
        self.captions = Captions.of(clips)
        self.precomputed: tuple[Modality, ...] = () if cached is None else cached.precomputed
        self.cached = cached
        self.decoder = decoder
        self._model = model
        self._modalities = modalities
        self._plan = model.plan_of(modalities)
        self._cache: dict[int, DecodedClip] = {}
        self._room = CACHE_BYTES
        self._audio_types = torch.tensor([audio_type_of(clip) for clip in clips])
        self._words = WordTable(self.captions, model) if model.captioner else None

    def batch(
        self,
        clips: Int[np.ndarray, " row"],
        captions: Int[np.ndarray, " row"] | None,
        masking: int | None = None,
    ) -> Batch:
        """Clips by number with captions by number (-1: none); None: no text at all.

        With `masking`, a copy of the audio with stretches hidden, which depend on that number and
        the clip alone.

        Raises:
            UserError: `masking` is given, but audio comes from the cache.
        """
        if "audio" in self.precomputed and masking is not None:
            refuse_masks()
        decoded_clips = self._take(clips)
        spectrogram = [one.spectrogram for one in decoded_clips if one.spectrogram is not None]
        frames = [one.frames for one in decoded_clips if one.frames is not None]
        model = self._model
        masked = [
            model.audio_steps(one, _random(masking, self.clips[i].id))
            for i, one in zip(clips, spectrogram if masking is not None else (), strict=False)
            if masking is not None
        ]
        text_captions = captions if "text" in self._modalities else None
        batch = Batch(
            ids=tuple(self.clips[i].id for i in clips),
            text=None if text_captions is None else self.texts(text_captions, "vision"),
            words=self._words.of(text_captions)
            if text_captions is not None and self._words
            else None,
            audio=Padded.stack([model.audio_steps(one) for one in spectrogram])
            if spectrogram
            else None,
            vision=Padded.stack(frames) if frames else None,
            masked=Padded.stack(masked) if masked else None,
            audio_type=self._audio_types[torch.from_numpy(clips)],
            precomputed=self.precomputed,
        )
        if self.cached is None:
            return batch
        cached = self.cached.batch(clips, captions)
        taken = {name: getattr(cached, name) for name in self.precomputed}
        words = cached.words if "text" in self.precomputed else batch.words
        return replace(batch, words=words, **taken)

    def _take(self, clips: Int[np.ndarray, " row"]) -> list[DecodedClip]:
        """Clips from the cache; the missing ones are decoded."""
        missing = [int(i) for i in clips if i not in self._cache]
        files = [self.clips[i] for i in missing]
        requests = [
            DecodeRequest(path=c.path, spans=((c.start, c.end),), plan=self._plan) for c in files
        ]
        if not {"audio", "vision"} & set(self._modalities):
            return [DecodedClip(None, None)] * len(clips)
        new: dict[int, DecodedClip] = {}
        for i, (decoded,) in zip(missing, self.decoder.decode_all(requests), strict=True):
            new[i] = one = DecodedClip(
                self._model.spectrogram(decoded) if "audio" in self._modalities else None,
                self._model.vision_inputs(decoded) if "vision" in self._modalities else None,
            )
            if one.size <= self._room:
                self._cache[i] = one
                self._room -= one.size
        return [new[i] if i in new else self._cache[i] for i in map(int, clips)]

    def texts(self, captions: Int[np.ndarray, " row"], toward: Toward) -> Padded:
        """Captions by number as input, or features, of the text tower that searches `toward`."""
        if self.cached is not None and "text" in self.precomputed:
            return self.cached.texts(captions, toward)
        texts = [self.captions.texts[i] if i >= 0 else "" for i in captions]
        ids = self._model.text_toward(toward).prepare(texts)
        return Padded(ids[:, None], torch.from_numpy(captions >= 0)[:, None])


def source_like(source: Source, model: Embedder, modalities: tuple[Modality, ...]) -> Source:
    """The clips of a source as input of another model: its cached features, or media.

    Args:
        source: Of clips. What it reads from the cache is read from there, anything else from media.
        model: Its trunks are frozen.
        modalities: To read.

    Raises:
        UserError: The cache lacks features of the model, or the clips are neither features nor media.
    """
    cached = source if isinstance(source, FeatureSource) else getattr(source, "cached", None)
    stored = {name for name in modalities if model.encoders()[name].stored is not None}
    kept: tuple[Modality, ...] = tuple(
        name for name in modalities if name in source.precomputed or name in stored
    )
    folder = cached.folder if cached is not None else None
    features = FeatureSource(source.clips, model, folder, kept) if kept else None
    fresh: tuple[Modality, ...] = tuple(name for name in modalities if name not in kept)
    if not fresh and features is not None:
        return features
    if not isinstance(source, MediaSource):
        raise UserError("these clips are neither cached features nor media.")
    return MediaSource(source.clips, model, source.decoder, fresh, features)


def refuse_masks() -> NoReturn:
    """Refuse to mask audio of which there are only features.

    Raises:
        UserError: Names the options.
    """
    raise UserError(
        "Terms with masked audio ('aa', 'mt') read audio from media, not from cached features: "
        "add audio to --stages.N.towers, or train with --from media."
    )


_AUDIO_TYPES: dict[AudioTypeLabel | None, float] = {"verbal": 0.0, "nonverbal": 1.0, "both": 0.5}


def audio_type_of(clip: Clip) -> float:
    """A clip's audio type from verbal (0) to nonverbal (1), for towers with a token per clip."""
    return _AUDIO_TYPES.get(clip.audio_type, UNKNOWN_AUDIO_TYPE)


def _random(masking: int, clip: str) -> np.random.Generator:
    """The random generator of a clip's mask."""
    digest = hashlib.blake2b(clip.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return np.random.default_rng([masking, int.from_bytes(digest, "big")])


def portions(count: int, size: int) -> Iterator[Int[np.ndarray, " row"]]:
    """The numbers 0 ... count-1 in order, `size` at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
