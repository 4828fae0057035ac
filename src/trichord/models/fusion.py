"""CLIP4VLA's fusions: how like a text is to a clip that has sight, sound, both or neither.

The paper names three (Figure 3) and gives no formula; these follow the authors' code, which has a
fourth between the last two. Similarities are in cosine units: the objective multiplies by its scale
(100 as published).
"""

from abc import ABC, abstractmethod
from typing import Literal, TypedDict, Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trichord.encoders.encoder import pooled
from trichord.models.cross import CrossTransformer
from trichord.models.sequence import (
    AUDIO,
    FRAME_SLOTS,
    TEXT_SLOTS,
    VISION,
    PositionLayout,
    Segment,
    attend,
)
from trichord.types.tensors import Features

Absent = Literal["masked", "zeros"]
"""What a missing modality does to the mean of sight and sound: it is left out of it, or, as published,
stays in it as a zero vector and halves the similarity."""


class Fusion(nn.Module, ABC):
    """Scores texts against clips.

    Attributes:
        indexable: Whether clips have vectors that no query changes; otherwise the fusion re-ranks.
        settings: All that decides vectors and scores besides the weights, for fingerprints;
            `TriModal.build` takes it from the whole configuration.
    """

    indexable: bool
    settings: str

    def set_trainable(self, trains: bool) -> None:
        """Let the weights that have a part in the similarity train, or freeze them."""
        self.requires_grad_(trains)

    def media(
        self, vision: Features | None, audio: Features | None
    ) -> tuple[Features | None, Features | None]:
        """What an index can hold of clips; for fusions that re-rank, what finds their candidates."""
        return vision, audio

    @abstractmethod
    def forward(
        self,
        text: Features,
        vision: Features | None,
        audio: Features | None,
        *,
        visual_weight: float = 1.0,
        audio_weight: float = 1.0,
    ) -> Float[Tensor, "text clip"]:
        """How like each text is to each clip.

        Args:
            text: One row a text.
            vision: One row a clip; None where no clip has it.
            audio: One row a clip; None where no clip has it.
            visual_weight: Of vision; weights matter relative to one another.
            audio_weight: Of audio.

        Returns:
            Similarity in cosine units; 0 where the clip has nothing of what has the weight, or the
            text is missing.

        Raises:
            ValueError: Neither vision nor audio; a negative weight; both weights 0; more steps
                than the fusion has room for.
        """


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
        visual_weight: float = 1.0,
        audio_weight: float = 1.0,
    ) -> Float[Tensor, "text clip"]:
        """See `Fusion`."""
        _refuse_weights(visual_weight, audio_weight)
        similarity = text.pooled.new_zeros(len(text.pooled), _count(vision, audio))
        total_weight = torch.zeros_like(similarity[:1])
        media = self.media(vision, audio)
        # In bfloat16 a cosine is off by 0.002: 0.2 of a logit at the published scale.
        with torch.autocast(similarity.device.type, enabled=False):
            for features, weight in zip(media, (visual_weight, audio_weight), strict=True):
                if features is not None:
                    share = weight * features.present.to(similarity.dtype)
                    similarity = similarity + share * (text.pooled @ features.pooled.T)
                    total_weight = total_weight + share
        if self.absent == "zeros":
            return similarity / (visual_weight + audio_weight)
        return similarity / total_weight.masked_fill(total_weight == 0, 1.0)


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
        self.layout = PositionLayout(
            text=0, frames=frame_slots, positions=cross.positions.num_embeddings
        )
        self.set_trainable(True)

    def set_trainable(self, trains: bool) -> None:
        """Let the transformer train, but for the pooler and the similarity head."""
        self.cross.requires_grad_(trains)
        # A parameter that trains and never gets a gradient would stall distributed training.
        self.cross.pooler.requires_grad_(False)
        self.cross.similarity.requires_grad_(False)

    def media(
        self, vision: Features | None, audio: Features | None
    ) -> tuple[Features | None, Features | None]:
        """Frames and audio segments in the light of one another, and their pooled vectors."""
        segments = self.layout.media_segments(vision, audio)
        if not segments:
            return None, None
        hidden = attend(self.cross, segments)
        parts = hidden.split([segment.mask.shape[1] for segment in segments], dim=1)
        features_of: dict[int, Features] = {}
        for segment, part in zip(segments, parts, strict=True):
            steps = part.masked_fill(~segment.mask.unsqueeze(-1), 0.0)
            vector = pooled(steps, segment.mask, "mean_of_unit")
            features_of[segment.type] = Features(vector, steps, segment.mask)
        return features_of.get(VISION), features_of.get(AUDIO)


class Pairing(TypedDict, total=False):
    """How pairs go through the transformer.

    `frame_slots` is how many positions are set aside for frames (12), `pairs_at_once` how many pairs go
    through together (512); `recompute` saves memory in training: no activations are kept, they are
    computed again.
    """

    frame_slots: int
    pairs_at_once: int
    recompute: bool


class _PairFusion(Fusion):
    """A fusion that reads each text together with each clip; the first output scores the pair.

    Nothing of it can be indexed. A weight of 0 hides the modality; weights between make no
    difference here.
    """

    indexable = False

    def __init__(
        self, cross: CrossTransformer, text_slots: int, **pairing: Unpack[Pairing]
    ) -> None:
        super().__init__()
        self.cross = cross
        self.layout = PositionLayout(
            text=text_slots,
            frames=pairing.get("frame_slots", FRAME_SLOTS),
            positions=cross.positions.num_embeddings,
        )
        self.pairs_at_once = pairing.get("pairs_at_once", 512)
        self.recompute = pairing.get("recompute", False)

    def forward(
        self,
        text: Features,
        vision: Features | None,
        audio: Features | None,
        *,
        visual_weight: float = 1.0,
        audio_weight: float = 1.0,
    ) -> Float[Tensor, "text clip"]:
        """See `Fusion`."""
        _refuse_weights(visual_weight, audio_weight)
        clips = _count(vision, audio)
        queries = self._query_segment(text)
        media = self.layout.media_segments(
            vision if visual_weight else None, audio if audio_weight else None
        )
        pairs = torch.arange(len(queries.mask) * clips, device=queries.mask.device)
        scores = [
            checkpoint(self._score, queries, media, chunk, clips, use_reentrant=False)
            if self.recompute and torch.is_grad_enabled()
            else self._score(queries, media, chunk, clips)
            for chunk in pairs.split(self.pairs_at_once)
        ]
        present = torch.zeros(clips, dtype=torch.bool, device=queries.mask.device)
        for segment in media:
            present = present | segment.mask.any(dim=1)
        complete = queries.mask.any(dim=1)[:, None] & present
        similarity = torch.cat(scores).view(complete.shape)
        return similarity.masked_fill(~complete, 0.0)

    @abstractmethod
    def _query_segment(self, text: Features) -> Segment:
        """What of texts goes through the transformer."""

    def _score(
        self, queries: Segment, media: list[Segment], pairs: Int[Tensor, " pair"], clips: int
    ) -> Float[Tensor, " pair"]:
        clip = pairs % clips
        segments = [queries.rows(pairs // clips), *(segment.rows(clip) for segment in media)]
        hidden = attend(self.cross, segments)
        # In bfloat16 a similarity is off by 0.002: 0.2 of a logit at the published scale.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.cross.similarity(self.cross.pool(hidden.float())).squeeze(-1)


class TightSequence(_PairFusion):
    """[pooled text ; frames ; segments] of every pair through the transformer.

    Source: `tight_seq` as published; the paper does not mention it.
    """

    def __init__(self, cross: CrossTransformer, **pairing: Unpack[Pairing]) -> None:
        """Put the fusion together.

        Args:
            cross: Of the dimensions of the features.
            **pairing: See `Pairing`.

        Raises:
            ValueError: More slots than the transformer has positions.
        """
        super().__init__(cross, 1, **pairing)

    def _query_segment(self, text: Features) -> Segment:
        return self.layout.text_segment(text.pooled.unsqueeze(1), text.present.unsqueeze(1))


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
        **pairing: Unpack[Pairing],
    ) -> None:
        """Put the fusion together.

        Args:
            cross: Of the dimensions of the features.
            text_slots: Positions set aside for text tokens.
            **pairing: See `Pairing`.

        Raises:
            ValueError: More slots than the transformer has positions.
        """
        super().__init__(cross, text_slots, **pairing)

    def _query_segment(self, text: Features) -> Segment:
        return self.layout.text_segment(text.steps, text.mask)


def _count(vision: Features | None, audio: Features | None) -> int:
    for features in (vision, audio):
        if features is not None:
            return len(features.mask)
    raise ValueError("Neither vision nor audio: there are no clips to compare texts with.")


def _refuse_weights(visual_weight: float, audio_weight: float) -> None:
    if min(visual_weight, audio_weight) < 0 or not visual_weight + audio_weight:
        raise ValueError(
            f"The visual and audio weight are {visual_weight:g} and {audio_weight:g}: give numbers of 0 or "
            "more, not both 0."
        )
