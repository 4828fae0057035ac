"""CLIP4VLA's fusions: how like a text is to a clip that has sight, sound, both or neither.

The paper names three (Figure 3) and gives no formula; these follow the authors' code, which has a
fourth between the last two. Similarities are in cosine units: the objective multiplies by its scale
(100 as published).
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trichord.encoders.encoder import pooled
from trichord.models.cross import CrossTransformer
from trichord.types.tensors import Features

Absent = Literal["masked", "zeros"]
"""What a missing modality does to the mean of sight and sound: it is left out of it, or, as published,
stays in it as a zero vector and halves the similarity."""

TEXT, VISION, AUDIO = range(3)
"""Types of the cross transformer's steps."""

TEXT_SLOTS, FRAME_SLOTS = 32, 12
"""Positions that text and vision have as published; audio's follow."""


class Fusion(nn.Module):
    """Scores texts against clips.

    Attributes:
        indexable: Whether clips have vectors that no query changes; otherwise the fusion re-ranks.
    """

    indexable: bool

    @property
    def settings(self) -> str:
        """All that decides vectors and scores besides the weights, for fingerprints."""
        own = {name: str(getattr(self, name)) for name in ("absent", "room") if hasattr(self, name)}
        return f"{type(self).__name__} {own}"

    def let_train(self, trains: bool) -> None:
        """Let the weights that have a part in the similarity train, or freeze them."""
        self.requires_grad_(trains)

    def media(
        self, vision: Features | None, audio: Features | None
    ) -> tuple[Features | None, Features | None]:
        """What an index can hold of clips; for fusions that re-rank, what finds their candidates."""
        return vision, audio

    def forward(
        self,
        text: Features,
        vision: Features | None,
        audio: Features | None,
        *,
        sight: float = 1.0,
        sound: float = 1.0,
    ) -> Float[Tensor, "text clip"]:
        """How like each text is to each clip.

        Args:
            text: One row a text.
            vision: One row a clip; None where no clip has it.
            audio: One row a clip; None where no clip has it.
            sight: Weight of vision; weights matter relative to one another.
            sound: Weight of audio.

        Returns:
            Similarity in cosine units; 0 where the clip has nothing of what has the weight, or the
            text is missing.

        Raises:
            ValueError: Neither vision nor audio; a negative weight; both weights 0; more steps
                than the fusion has room for.
        """
        raise NotImplementedError


class GlobalToGlobal(Fusion):
    """The pooled text against the mean of pooled vision and pooled audio.

    s = (a p_y x·y + b p_z x·z) / (a p_y + b p_z), where x, y and z are the unit vectors of text,
    vision and audio, a and b the weights of sight and sound, and p says whether the clip has the
    modality. The mean is not normalised again: where sight and sound disagree, the similarity is
    smaller.

    Source: CLIP4VLA, "Global to Global"; `feat_avg` as published.
    """

    indexable = True

    def __init__(self, *, absent: Absent = "masked") -> None:
        super().__init__()
        self.absent: Absent = absent

    def forward(
        self,
        text: Features,
        vision: Features | None,
        audio: Features | None,
        *,
        sight: float = 1.0,
        sound: float = 1.0,
    ) -> Float[Tensor, "text clip"]:
        """See `Fusion`."""
        _refuse_weights(sight, sound)
        like = text.pooled.new_zeros(len(text.pooled), _count(vision, audio))
        given = torch.zeros_like(like[:1])
        shown = self.media(vision, audio)
        # In bfloat16 a cosine is off by 0.002: 0.2 of a logit at the published scale.
        with torch.autocast(like.device.type, enabled=False):
            for features, weight in zip(shown, (sight, sound), strict=True):
                if features is not None:
                    share = weight * features.present.to(like.dtype)
                    like = like + share * (text.pooled @ features.pooled.T)
                    given = given + share
        if self.absent == "zeros":
            return like / (sight + sound)
        return like / given.masked_fill(given == 0, 1.0)


class GlobalToLocal(GlobalToGlobal):
    """As global-to-global, after frames and audio segments have attended to one another.

    [frames ; segments] go through the transformer; then each output is normalised, each modality's
    are averaged, and the average is normalised. A weight of 0 takes a modality out of the score,
    not out of the other one's context.

    Source: CLIP4VLA, "Global to Local" (Video Temporal Encoding Module); `loose_seq` as published,
    the fusion of Table 1.
    """

    def __init__(
        self, cross: CrossTransformer, *, frame_slots: int = FRAME_SLOTS, absent: Absent = "masked"
    ) -> None:
        """Put the fusion together.

        Args:
            cross: Of the dimensions of the features. Its pooler and similarity head, which published
                checkpoints carry along, have no part in this fusion and are frozen.
            frame_slots: Positions set aside for frames, also where none is shown; the authors' runs on
                sound alone have 0.
            absent: What a missing modality does to the mean.

        Raises:
            ValueError: More frame slots than the transformer has positions.
        """
        super().__init__(absent=absent)
        self.cross = cross
        self.room = _Room(text=0, frames=frame_slots, positions=cross.positions.num_embeddings)
        self.let_train(True)

    def let_train(self, trains: bool) -> None:
        """Let the transformer train, but for the pooler and the similarity head."""
        self.cross.requires_grad_(trains)
        # A parameter that trains and never gets a gradient would stall distributed training.
        self.cross.pooler.requires_grad_(False)
        self.cross.similarity.requires_grad_(False)

    def media(
        self, vision: Features | None, audio: Features | None
    ) -> tuple[Features | None, Features | None]:
        """Frames and audio segments in the light of one another, and their pooled vectors."""
        tracks = self.room.tracks(vision, audio)
        if not tracks:
            return None, None
        hidden = _attend(self.cross, tracks)
        parts = hidden.split([track.mask.shape[1] for track in tracks], dim=1)
        found: dict[int, Features] = {}
        for track, part in zip(tracks, parts, strict=True):
            steps = part.masked_fill(~track.mask.unsqueeze(-1), 0.0)
            vector = pooled(steps, track.mask, "mean_of_unit")
            found[track.type] = Features(vector, steps, track.mask)
        return found.get(VISION), found.get(AUDIO)


class _PairFusion(Fusion):
    """A fusion that reads each text together with each clip; the first output scores the pair.

    Nothing of it can be indexed. A weight of 0 hides the modality; weights between make no
    difference here.
    """

    indexable = False

    def __init__(
        self, cross: CrossTransformer, room: "_Room", pairs_at_once: int, recompute: bool
    ) -> None:
        super().__init__()
        self.cross = cross
        self.room = room
        self.pairs_at_once = pairs_at_once
        self.recompute = recompute

    def forward(
        self,
        text: Features,
        vision: Features | None,
        audio: Features | None,
        *,
        sight: float = 1.0,
        sound: float = 1.0,
    ) -> Float[Tensor, "text clip"]:
        """See `Fusion`."""
        _refuse_weights(sight, sound)
        clips = _count(vision, audio)
        asked = self._asked(text)
        shown = self.room.tracks(vision if sight else None, audio if sound else None)
        pairs = torch.arange(len(asked.mask) * clips, device=asked.mask.device)
        scores = [
            checkpoint(self._score, asked, shown, portion, clips, use_reentrant=False)
            if self.recompute and torch.is_grad_enabled()
            else self._score(asked, shown, portion, clips)
            for portion in pairs.split(self.pairs_at_once)
        ]
        present = torch.zeros(clips, dtype=torch.bool, device=asked.mask.device)
        for track in shown:
            present = present | track.mask.any(dim=1)
        complete = asked.mask.any(dim=1)[:, None] & present
        like = torch.cat(scores).view(complete.shape)
        return like.masked_fill(~complete, 0.0)

    def _asked(self, text: Features) -> "_Track":
        raise NotImplementedError

    def _score(
        self, asked: "_Track", shown: "list[_Track]", pairs: Int[Tensor, " pair"], clips: int
    ) -> Float[Tensor, " pair"]:
        clip = pairs % clips
        tracks = [asked.rows(pairs // clips), *(track.rows(clip) for track in shown)]
        hidden = _attend(self.cross, tracks)
        # In bfloat16 a similarity is off by 0.002: 0.2 of a logit at the published scale.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.cross.similarity(self.cross.pool(hidden.float())).squeeze(-1)


class TightSequence(_PairFusion):
    """[pooled text ; frames ; segments] of every pair through the transformer.

    Source: `tight_seq` as published; the paper does not mention it.
    """

    def __init__(
        self,
        cross: CrossTransformer,
        *,
        frame_slots: int = FRAME_SLOTS,
        pairs_at_once: int = 512,
        recompute: bool = False,
    ) -> None:
        """Put the fusion together.

        Args:
            cross: Of the dimensions of the features.
            frame_slots: Positions set aside for frames.
            pairs_at_once: Pairs that go through the transformer together.
            recompute: Save memory in training: keep no activations, compute them again.

        Raises:
            ValueError: More slots than the transformer has positions.
        """
        room = _Room(text=1, frames=frame_slots, positions=cross.positions.num_embeddings)
        super().__init__(cross, room, pairs_at_once, recompute)

    def _asked(self, text: Features) -> "_Track":
        return self.room.text_track(text.pooled.unsqueeze(1), text.present.unsqueeze(1))


class LocalToLocal(_PairFusion):
    """[text tokens ; frames ; segments] of every pair through the transformer.

    The output at the start-of-text token scores the pair.

    Source: CLIP4VLA, "Local to Local" (Fine-grained Cross-modality Fusion Module); `cross_align` as
    published.
    """

    def __init__(
        self,
        cross: CrossTransformer,
        *,
        text_slots: int = TEXT_SLOTS,
        frame_slots: int = FRAME_SLOTS,
        pairs_at_once: int = 512,
        recompute: bool = False,
    ) -> None:
        """Put the fusion together.

        Args:
            cross: Of the dimensions of the features.
            text_slots: Positions set aside for text tokens.
            frame_slots: Positions set aside for frames.
            pairs_at_once: Pairs that go through the transformer together.
            recompute: Save memory in training: keep no activations, compute them again.

        Raises:
            ValueError: More slots than the transformer has positions.
        """
        room = _Room(text=text_slots, frames=frame_slots, positions=cross.positions.num_embeddings)
        super().__init__(cross, room, pairs_at_once, recompute)

    def _asked(self, text: Features) -> "_Track":
        return self.room.text_track(text.steps, text.mask)


@dataclass(frozen=True, slots=True)
class _Track:
    """One modality's stretch of a sequence: its steps, their type, and the position of the first."""

    steps: Float[Tensor, "batch step dim"]
    mask: Bool[Tensor, "batch step"]
    type: int
    start: int

    def rows(self, chosen: Int[Tensor, " row"]) -> "_Track":
        """These rows, in this order."""
        return replace(self, steps=self.steps[chosen], mask=self.mask[chosen])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Positions set aside for each modality.

    As published, slots without a step are padded and counted, so that the first audio segment always
    has the same position. Here only the count is kept: a clip's result does not depend on how many
    steps its neighbours have, and no padding goes through the transformer for its sake.
    """

    text: int
    frames: int
    positions: int

    def __post_init__(self) -> None:
        if self.text + self.frames > self.positions:
            raise ValueError(
                f"{self.text} text slots and {self.frames} frame slots need more than the "
                f"{self.positions} positions of the cross transformer: raise its 'positions'."
            )

    def text_track(
        self, steps: Float[Tensor, "batch step dim"], mask: Bool[Tensor, "batch step"]
    ) -> _Track:
        return _Track(*_fit(steps, mask, self.text, "text tokens", "text_slots"), TEXT, 0)

    def tracks(self, vision: Features | None, audio: Features | None) -> list[_Track]:
        """Frames and audio segments, as far as they are given."""
        found: list[_Track] = []
        if vision is not None:
            fitted = _fit(vision.steps, vision.mask, self.frames, "frames", "frame_slots")
            found.append(_Track(*fitted, VISION, self.text))
        if audio is not None:
            start = self.text + self.frames
            left = self.positions - start
            fitted = _fit(
                audio.steps, audio.mask, left, "audio segments", "the cross transformer's positions"
            )
            found.append(_Track(*fitted, AUDIO, start))
        return found


def _fit(
    steps: Float[Tensor, "batch step dim"],
    mask: Bool[Tensor, "batch step"],
    slots: int,
    name: str,
    option: str,
) -> tuple[Float[Tensor, "batch fitted dim"], Bool[Tensor, "batch fitted"]]:
    """Without the padding beyond the slots; real steps there are refused."""
    if mask.shape[1] > slots and mask[:, slots:].any():
        most = int(mask.sum(dim=1).max())
        raise ValueError(
            f"A row has {most} {name}, the fusion room for {slots}: raise {option} or give it fewer."
        )
    return steps[:, :slots], mask[:, :slots]


def _attend(cross: CrossTransformer, tracks: list[_Track]) -> Float[Tensor, "batch step dim"]:
    """The tracks as one sequence through the transformer."""
    device = tracks[0].mask.device
    sizes = [track.mask.shape[1] for track in tracks]
    positions = [
        torch.arange(track.start, track.start + size, device=device)
        for track, size in zip(tracks, sizes, strict=True)
    ]
    types = torch.tensor([track.type for track in tracks], device=device)
    return cross(
        torch.cat([track.steps for track in tracks], dim=1),
        types.repeat_interleave(torch.tensor(sizes, device=device), output_size=sum(sizes)),
        torch.cat([track.mask for track in tracks], dim=1),
        torch.cat(positions),
    )


def _count(vision: Features | None, audio: Features | None) -> int:
    for features in (vision, audio):
        if features is not None:
            return len(features.mask)
    raise ValueError("Neither vision nor audio: there are no clips to compare texts with.")


def _refuse_weights(sight: float, sound: float) -> None:
    if min(sight, sound) < 0 or not sight + sound:
        raise ValueError(
            f"The weights of sight and sound are {sight:g} and {sound:g}: give numbers of 0 or more, "
            "not both 0."
        )
