"""CLIP4VLA's audio encoder: a vision tower on spectrograms; CLIP's is steered by an audio type token."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from trichord.config.towers import ClipAudio, ClipVision
from trichord.encoders.clip import load_vision_model
from trichord.encoders.encoder import UNKNOWN_AUDIO_TYPE, AudioType
from trichord.encoders.graph import SOUND, Graph, Sizes
from trichord.encoders.patch_dropout import drop_patches
from trichord.encoders.pretrained import load, require_type
from trichord.encoders.segments import SegmentEncoder
from trichord.encoders.vision_trunks import PICTURE_FAMILIES as FAMILIES
from trichord.encoders.vision_trunks import picture_trunk
from trichord.types import UserError
from trichord.types.rules import require

KIND = "clip_audio"
"""Of the encoders, in fingerprints."""


def clip_audio(config: ClipAudio) -> SegmentEncoder:
    """The encoder of a model: a CLIP's vision tower, or one that has seen no text.

    Raises:
        UserError: No such model, one of another type, or as for the encoder.
    """
    if config.arithmetic == "graph":  # its folder names no type
        return ClipAudioEncoder(config)
    found = require_type(config.name, ClipVision.types | set(FAMILIES))
    return _vision_trunk(config, found) if found in FAMILIES else ClipAudioEncoder(config)


class ClipAudioEncoder(SegmentEncoder):
    """Spectrogram segments (step, 1 or 3, time, mel) to features; the head is initialised as CLIP's.

    Source: CLIP4VLA, "Audio Encoder" and "Audio Type Token".
    """

    takes_audio_type = True

    def __init__(self, config: ClipAudio) -> None:
        """Start from a CLIP vision tower, or from its sizes alone.

        Raises:
            UserError: No such model, or patches that do not divide the segments.
        """
        trunk, head, sizes = (
            (AudioGraph(config.name), nn.Identity(), Sizes.beside(config.name))
            if config.arithmetic == "graph"
            else _audio_tower(config)
        )
        super().__init__(config, trunk, head, sizes.width, kind=KIND, dim=sizes.dim)
        self.choose_audio_type(config.token)

    @property
    def audio_trunk(self) -> "ClipAudioTrunk | AudioGraph":
        """The trunk."""
        assert isinstance(self.trunk, ClipAudioTrunk | AudioGraph)
        return self.trunk

    @property
    def audio_type(self) -> AudioType:
        """See `AudioType`."""
        return self._audio_type

    def choose_audio_type(self, audio_type: AudioType) -> None:
        """Set the audio type token; no weight changes."""
        self._audio_type: AudioType = audio_type
        self.audio_trunk.token = audio_type
        self.preparation["token"] = audio_type
        self._fingerprint = None

    @contextmanager
    def using_audio_type(self, audio_type: AudioType) -> Generator[None]:
        """Use another audio type token within the block."""
        trunk = self.audio_trunk
        own, trunk.token = trunk.token, audio_type
        try:
            yield
        finally:
            trunk.token = own


def _audio_tower(config: ClipAudio) -> tuple[nn.Module, nn.Module, Sizes]:
    model: Any = (
        CLIPVisionModelWithProjection(load(CLIPVisionConfig, config.name))
        if config.scratch
        else load_vision_model(config.name)
    )
    picture = (config.frames, config.log_mel.mels)
    trunk = ClipAudioTrunk(model.vision_model, picture, config.patch_dropout)
    head = model.visual_projection
    sizes = Sizes(dim=head.out_features, width=head.in_features)
    if config.head == "linear":
        head = nn.Linear(sizes.width, sizes.dim, bias=False)
    return trunk, head, sizes


def _vision_trunk(config: ClipAudio, found: str) -> SegmentEncoder:
    """An encoder on a vision model of this type, with a new head and without type token."""
    name = f"'{config.name}' ({found})"
    require(
        config.token == "none",
        f"--model.audio.token {config.token}: {name} has no place for an audio type token, which stands "
        "among the patches of a CLIP's transformer: choose none.",
    )
    require(
        not config.patch_dropout,
        f"--model.audio.patch-dropout {config.patch_dropout:g}: only a CLIP's patches are dropped, and "
        f"{name} is none: leave it out.",
    )
    require(
        config.dim is not None,
        f"--model.audio.dim: {name} has no projection of its own: give the size of the text encoder's "
        "vectors.",
    )
    assert config.dim is not None
    trunk, width = picture_trunk(
        config.name, (config.frames, config.log_mel.mels), scratch=config.scratch
    )
    encoder = SegmentEncoder(config, trunk, nn.Linear(width, config.dim), width, kind=KIND)
    encoder.preparation["token"] = config.token  # as that of the exported encoder
    return encoder


class ClipAudioTrunk(nn.Module):
    """A CLIP vision tower with an audio type token after the patches.

    Attributes:
        positions: One for the class token and each patch, from the tower and interpolated to the
            spectrogram's grid; the last one is for the audio type token.
        tokens: Verbal, nonverbal.
    """

    def __init__(self, tower: Any, picture: tuple[int, int], dropout: float = 0.0) -> None:
        """Use the layers of a tower.

        Args:
            tower: A CLIP vision transformer of `transformers`.
            picture: Time steps and bands of a segment.
            dropout: Share of the patches that are dropped in training.

        Raises:
            UserError: The patches do not divide a segment.
        """
        super().__init__()
        self.token: AudioType = UNKNOWN_AUDIO_TYPE
        self.dropout = dropout
        embeddings = tower.embeddings
        width, patch = embeddings.embed_dim, embeddings.patch_size
        if picture[0] % patch or picture[1] % patch:
            raise UserError(
                f"Spectrogram segments of {picture} do not divide into patches of {patch}: change "
                "--model.audio.frames or --model.audio.log-mel.mels."
            )
        self.class_embedding = embeddings.class_embedding
        self.patches = embeddings.patch_embedding
        known = embeddings.position_embedding.weight.detach()
        on_grid = positions_on(known, (picture[0] // patch, picture[1] // patch))
        # As published: the new position has the initial scale of an embedding layer, far above CLIP's.
        self.positions = nn.Parameter(torch.cat([on_grid, torch.randn(1, width)]))
        self.tokens = nn.Parameter(torch.randn(2, width) * width**-0.5)
        self.before = tower.pre_layrnorm
        self.layers = tower.encoder
        self.after = tower.post_layernorm

    def forward(
        self,
        pictures: Float[Tensor, "step channel time mel"],
        audio_type: Float[Tensor, " step"] | None = None,
    ) -> Float[Tensor, "step width"]:
        """The class token's feature of each segment.

        Args:
            pictures: Segments; one channel is used for all three.
            audio_type: Of each segment, between verbal (0) and nonverbal (1); used with `clip`.
        """
        patches = self.patches(pictures.expand(-1, 3, -1, -1)).flatten(2).transpose(1, 2)
        # Not len(), here and below: an export would make it a constant.
        first = self.class_embedding.expand(patches.shape[0], 1, -1)
        hidden = torch.cat([first, patches], dim=1) + self.positions[:-1]
        if self.training and self.dropout:
            hidden = drop_patches(hidden, self.dropout)
        hidden = torch.cat([hidden, self._sound_tokens(patches, audio_type)], dim=1)
        read = self.layers(inputs_embeds=self.before(hidden)).last_hidden_state
        return self.after(read[:, 0])

    def _sound_tokens(
        self, patches: Float[Tensor, "step patch width"], audio_type: Float[Tensor, " step"] | None
    ) -> Float[Tensor, "step token width"]:
        """No, one or two audio type tokens per segment; two have the same position."""
        count = patches.shape[0]
        if self.token == "none":
            return self.tokens.new_zeros(count, 0, self.tokens.shape[1])
        if self.token == "both":
            return (self.tokens + self.positions[-1]).expand(count, -1, -1)
        share = shares(self.token, patches, audio_type).to(self.tokens)
        verbal, nonverbal = self.tokens
        mixed = (1 - share)[:, None] * verbal + share[:, None] * nonverbal
        return (mixed + self.positions[-1])[:, None]


class AudioGraph(Graph):
    """The same tower as a graph; the audio type is an input, unless it has both tokens or none."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.token: AudioType = UNKNOWN_AUDIO_TYPE

    def forward(self, *inputs: Float[Tensor, "step ..."]) -> Float[Tensor, "step dim"]:
        """Projected features.

        Raises:
            UserError: The graph was exported with another kind of audio type token.
        """
        pictures, *told = inputs
        mixes = any(one.name == SOUND for one in self.session.get_inputs())
        if mixes == (self.token in ("both", "none")):
            raise UserError(
                f"{self.file} was exported {'with' if mixes else 'without'} a mixture of audio type tokens "
                f"and cannot listen at {self.token!r}: export a run that does."
            )
        if not mixes:
            return self.run(pictures)
        return self.run(pictures, shares(self.token, pictures, told[0] if told else None))


def shares(
    token: AudioType,
    pictures: Float[Tensor, "step ..."],
    audio_type: Float[Tensor, " step"] | None,
) -> Float[Tensor, " step"]:
    """The audio type of each segment, between verbal (0) and nonverbal (1).

    Args:
        token: A number, or `clip`.
        pictures: The segments, for their number and device.
        audio_type: Of each segment's clip; used with `clip`.
    """
    if token == "clip" and audio_type is not None:
        return audio_type
    share = UNKNOWN_AUDIO_TYPE if token == "clip" else float(token)
    return torch.full((pictures.shape[0],), share, device=pictures.device)


def positions_on(
    known: Float[Tensor, "position width"], grid: tuple[int, int]
) -> Float[Tensor, "grid_position width"]:
    """Position embeddings of a square (class token first), interpolated to another grid, bicubic."""
    side = round((len(known) - 1) ** 0.5)
    if grid == (side, side):
        return known.clone()
    square = known[1:].T.reshape(1, -1, side, side)
    moved = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([known[:1], moved.flatten(2)[0].T])
