"""CLIP4VLA's fusions: the similarity of a text and a clip with vision, audio, both or neither.

The paper has three (Figure 3) without formulas; these follow the authors' code, which has a fourth
between the last two. Similarities are in cosine units: the objective multiplies by its scale
(100 as published).
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

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
"""A missing modality in the mean of vision and audio: left out, or, as published, a zero vector that halves
the similarity."""


class Fusion(nn.Module, ABC):
    """Scores texts against clips.

    Attributes:
        indexable: Whether clips have vectors that do not depend on the query; otherwise it re-ranks.
        settings: Everything besides the weights that vectors and scores depend on, for fingerprints;
            set from the config.
    """

    indexable: bool
    settings: str

    def set_trainable(self, trains: bool) -> None:
        """Freeze or unfreeze the weights that the similarity depends on."""
        self.requires_grad_(trains)

    def media(
        self, vision: Features | None, audio: Features | None
    ) -> tuple[Features | None, Features | None]:
        """Clips' features for an index; for fusions that re-rank, to find candidates."""
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
        """Similarity of each text and each clip.

        Args:
            text: One row per text.
            vision: One row per clip; None if no clip has it.
            audio: One row per clip; None if no clip has it.
            visual_weight: Of vision; only the ratio of the weights matters.
            audio_weight: Of audio.

        Returns:
            Similarity in cosine units; 0 if the clip has no weighted modality, or the text is missing.

        Raises:
            ValueError: Neither vision nor audio; a negative weight; both weights 0; more steps
                than the fusion has positions.
        """


class GlobalToGlobalFusion(Fusion):
    """The pooled text against the mean of pooled vision and pooled audio.

    s = (a p_y x·y + b p_z x·z) / (a p_y + b p_z), where x, y and z are the unit vectors of text,
    vision and audio, a and b the visual and audio weight, and p is 1 if the clip has the modality,
    else 0. The mean is not normalised again: if vision and audio disagree, the similarity is smaller.

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


class GlobalToLocalFusion(GlobalToGlobalFusion):
    """As global-to-global, after frames and audio segments have attended to each other.

    [frames ; segments] go through the transformer; then outputs are normalised, averaged per modality,
    and normalised again. A weight of 0 removes a modality from the score, not from the other one's
    context.

    Source: CLIP4VLA, "Global to Local" (Video Temporal Encoding Module); `loose_seq` as published,
    the fusion of Table 1.
    """

    def __init__(
        self, cross: CrossTransformer, *, frame_slots: int = FRAME_SLOTS, absent: Absent = "masked"
    ) -> None:
        """Put the fusion together.

        Args:
            cross: With the dimensions of the features. Its pooler and similarity head, which published
                checkpoints contain, are not used here and are frozen.
            frame_slots: Positions for frames, even if there are none; the authors' audio-only runs
                have 0.
            absent: How a missing modality counts in the mean.

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
        """Freeze or unfreeze the transformer; pooler and similarity head stay frozen."""
        self.cross.requires_grad_(trains)
        # A trainable parameter that never gets a gradient would stall distributed training.
        self.cross.pooler.requires_grad_(False)
        self.cross.similarity.requires_grad_(False)

    def media(
        self, vision: Features | None, audio: Features | None
    ) -> tuple[Features | None, Features | None]:
        """Contextualised frames and audio segments, and their pooled vectors."""
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


class LocalToLocalFusion(Fusion):
    """[text tokens ; frames ; segments] of every pair through the transformer.

    The output at the start-of-text token scores the pair. This cannot be indexed. A weight of 0 masks
    the modality; other weights make no difference.

    Source: CLIP4VLA, "Local to Local" (Fine-grained Cross-modality Fusion Module); `cross_align` as
    published.
    """

    indexable = False
    pairs_at_once = 512

    def __init__(
        self,
        cross: CrossTransformer,
        *,
        text_slots: int = TEXT_SLOTS,
        frame_slots: int = FRAME_SLOTS,
    ) -> None:
        """Put the fusion together.

        Args:
            cross: With the dimensions of the features.
            text_slots: Positions for text tokens.
            frame_slots: Positions for frames.

        Raises:
            ValueError: More slots than the transformer has positions.
        """
        super().__init__()
        self.cross = cross
        self.layout = PositionLayout(
            text=text_slots, frames=frame_slots, positions=cross.positions.num_embeddings
        )

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
            self._score(queries, media, chunk, clips) for chunk in pairs.split(self.pairs_at_once)
        ]
        present = torch.zeros(clips, dtype=torch.bool, device=queries.mask.device)
        for segment in media:
            present = present | segment.mask.any(dim=1)
        complete = queries.mask.any(dim=1)[:, None] & present
        similarity = torch.cat(scores).view(complete.shape)
        return similarity.masked_fill(~complete, 0.0)

    def _query_segment(self, text: Features) -> Segment:
        """The steps of texts that go through the transformer."""
        return self.layout.text_segment(text.steps, text.mask)

    def _score(
        self, queries: Segment, media: list[Segment], pairs: Int[Tensor, " pair"], clips: int
    ) -> Float[Tensor, " pair"]:
        clip = pairs % clips
        segments = [queries.rows(pairs // clips), *(segment.rows(clip) for segment in media)]
        hidden = attend(self.cross, segments)
        # In bfloat16 a similarity is off by 0.002: 0.2 of a logit at the published scale.
        with torch.autocast(hidden.device.type, enabled=False):
            return self.cross.similarity(self.cross.pool(hidden.float())).squeeze(-1)


class TightSequenceFusion(LocalToLocalFusion):
    """As local-to-local, with the pooled text instead of its tokens.

    Source: `tight_seq` as published; the paper does not mention it.
    """

    def __init__(self, cross: CrossTransformer, *, frame_slots: int = FRAME_SLOTS) -> None:
        super().__init__(cross, text_slots=1, frame_slots=frame_slots)

    def _query_segment(self, text: Features) -> Segment:
        return self.layout.text_segment(text.pooled.unsqueeze(1), text.present.unsqueeze(1))


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
