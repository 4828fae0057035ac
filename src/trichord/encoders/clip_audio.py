"""CLIP4VLA's audio encoder: CLIP's vision tower on spectrograms, steered by a sound token."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from trichord.encoders.encoder import AudioEncoder, Pooling
from trichord.encoders.pretrained import load
from trichord.encoders.spectrogram import Rule, Spectrogram, masked, segments
from trichord.types import UserError

SoundToken = float | Literal["none", "both", "clip"]
"""What tells the tower to listen for speech or for events.

A number mixes the two tokens into one, from verbal (0) to nonverbal (1); `both` gives the two side by
side, `none` neither, and `clip` mixes them as each clip says (pretraining: by corpus).
"""
Channels = Literal["mono", "left_mean_right"]
UNKNOWN_SOUND = 0.5
"""The mixture for clips of which nobody says what they sound like, under `clip`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """How a spectrogram becomes the tower's pictures."""

    frames: int
    padding: Rule
    longest: int
    channels: Channels
    masking: Rule


class ClipAudioEncoder(AudioEncoder):
    """Spectrogram segments (step, 1 or 3, time, mel) to features; the head starts as CLIP's own.

    Source: CLIP4VLA, "Audio Encoder" and "Audio Type Token".
    """

    heeds_sound = True

    def __init__(
        self,
        name: str,
        *,
        scratch: bool,
        head: Literal["pretrained", "linear"],
        token: SoundToken,
        spectrogram: Spectrogram,
        pictures: Pictures,
        sound_seconds: float,
        pooling: Pooling,
    ) -> None:
        """Start from a CLIP vision tower, or from its shape alone.

        Args:
            name: Folder or hub name of the CLIP model.
            scratch: Take only the tower's sizes and draw its weights.
            head: Start from the tower's projection, or from a new one.
            token: Where to listen between speech and events.
            spectrogram: Waves to decibels.
            pictures: Decibels to segments.
            sound_seconds: How much is heard of a clip at most, from its middle.
            pooling: How segments become one vector.

        Raises:
            UserError: No such model, or segments that its patches do not divide.
        """
        model: Any = (
            CLIPVisionModelWithProjection(load(CLIPVisionConfig, name))
            if scratch
            else load(
                CLIPVisionModelWithProjection, name, use_safetensors=True, dtype=torch.float32
            )
        )
        self.spectrogram = spectrogram
        self.pictures = pictures
        self.rate = spectrogram.rate
        self.stereo = pictures.channels == "left_mean_right"
        self.sound_seconds = sound_seconds
        trunk = SoundTrunk(model.vision_model, (pictures.frames, spectrogram.mels))
        width, dim = model.config.hidden_size, model.config.projection_dim
        projection = model.visual_projection
        super().__init__(
            trunk,
            projection if head == "pretrained" else nn.Linear(width, dim, bias=False),
            width,
            {
                "kind": "clip_audio",
                "sound_seconds": sound_seconds,
                "spectrogram": spectrogram.settings,
                "pictures": [
                    pictures.frames,
                    pictures.padding,
                    pictures.longest,
                    pictures.channels,
                ],
            },
            pooling,
        )
        self.choose_token(token)
        self.dim: int = model.config.projection_dim

    @property
    def sound_trunk(self) -> "SoundTrunk":
        """The trunk."""
        assert isinstance(self.trunk, SoundTrunk)
        return self.trunk

    def choose_token(self, token: SoundToken) -> None:
        """Listen with another sound token from now on; no other weight changes."""
        self.token: SoundToken = token
        self.sound_trunk.token = token
        self.preparation["token"] = token
        self._fingerprint = None

    def hear(self, wave: Float[np.ndarray, "*channel sample"]) -> Float[Tensor, "channel time mel"]:
        """Decibels of a wave at `rate`; no steps where there is no sound.

        One channel stands for left, mean and right; of two, their mean comes between them.
        """
        if not wave.shape[-1]:
            return torch.zeros(1, 0, self.spectrogram.mels)
        heard = torch.from_numpy(np.atleast_2d(wave))
        if self.stereo and len(heard) == 2:
            heard = torch.stack([heard[0], heard.mean(dim=0), heard[1]])
        return self.spectrogram(heard)

    def cut(
        self, heard: Float[Tensor, "channel time mel"]
    ) -> Float[Tensor, "step shown frame mel"]:
        """The tower's pictures of a spectrogram: three channels, or one that stands for all."""
        pictures = self.pictures
        if not heard.shape[1]:
            return heard.new_zeros(0, 3 if self.stereo else 1, pictures.frames, heard.shape[2])
        cut = segments(
            heard, frames=pictures.frames, padding=pictures.padding, longest=pictures.longest
        )
        return cut.expand(-1, 3, -1, -1) if self.stereo else cut

    def mask(
        self, heard: Float[Tensor, "channel time mel"], random: np.random.Generator
    ) -> Float[Tensor, "step shown frame mel"]:
        """The tower's pictures of a spectrogram with stretches of time and bands hidden."""
        if not heard.shape[1]:
            return self.cut(heard)
        return self.cut(masked(heard, rule=self.pictures.masking, random=random))


class SoundTrunk(nn.Module):
    """A CLIP vision tower that takes a sound token behind the patches.

    Attributes:
        positions: One a patch and one for the class token, from the tower and interpolated to the
            spectrogram's grid; the last one is the sound token's own.
        tokens: Verbal, nonverbal.
    """

    def __init__(self, tower: Any, picture: tuple[int, int]) -> None:
        """Take a tower's layers.

        Args:
            tower: A CLIP vision transformer of `transformers`.
            picture: Time steps and bands of a picture.

        Raises:
            UserError: A picture is no whole number of patches.
        """
        super().__init__()
        self.token: SoundToken = UNKNOWN_SOUND
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
        # As published: the new position is drawn as an embedding layer's, far larger than CLIP's own.
        self.positions = nn.Parameter(torch.cat([on_grid, torch.randn(1, width)]))
        self.tokens = nn.Parameter(torch.randn(2, width) * width**-0.5)
        self.before = tower.pre_layrnorm
        self.layers = tower.encoder
        self.after = tower.post_layernorm

    def forward(
        self,
        pictures: Float[Tensor, "step channel time mel"],
        sound: Float[Tensor, " step"] | None = None,
    ) -> Float[Tensor, "step width"]:
        """The class token's feature of each picture.

        Args:
            pictures: One channel stands for three.
            sound: Each picture's place between verbal (0) and nonverbal (1); heeded under `clip`.
        """
        patches = self.patches(pictures.expand(-1, 3, -1, -1)).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1)
        hidden = torch.cat([first, patches], dim=1) + self.positions[:-1]
        hidden = torch.cat([hidden, self._sound_tokens(len(patches), sound)], dim=1)
        read = self.layers(inputs_embeds=self.before(hidden)).last_hidden_state
        return self.after(read[:, 0])

    def _sound_tokens(
        self, count: int, sound: Float[Tensor, " step"] | None
    ) -> Float[Tensor, "step token width"]:
        """None, one or two tokens a picture; two stand at the same position."""
        if self.token == "none":
            return self.tokens.new_zeros(count, 0, self.tokens.shape[1])
        if self.token == "both":
            return (self.tokens + self.positions[-1]).expand(count, -1, -1)
        share = self.tokens.new_full(
            (count,), UNKNOWN_SOUND if self.token == "clip" else self.token
        )
        if self.token == "clip" and sound is not None:
            share = sound.to(share.dtype)
        verbal, nonverbal = self.tokens
        mixed = (1 - share)[:, None] * verbal + share[:, None] * nonverbal
        return (mixed + self.positions[-1])[:, None]


def positions_on(
    known: Float[Tensor, "position width"], grid: tuple[int, int]
) -> Float[Tensor, "grid_position width"]:
    """A square table of positions (class token first) on another grid, bicubic."""
    side = round((len(known) - 1) ** 0.5)
    if grid == (side, side):
        return known.clone()
    square = known[1:].T.reshape(1, -1, side, side)
    moved = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([known[:1], moved.flatten(2)[0].T])
