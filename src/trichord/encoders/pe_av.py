"""PE-AV and PE-A (Vyas et al., 2025) as encoders: audio, vision and text in one space.

A text has a head for each partner, so a model has two text encoders, `text` toward vision and
`sound_text` toward audio, on one text tower. The layers are those of `transformers`; only the towers that
an encoder needs are loaded, from a checkpoint of any of the three types.
"""

import json
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    PeAudioEncoder,
    PeAudioFeatureExtractor,
    PeVideoEncoder,
    SiglipImageProcessorPil,
)
from transformers.models.pe_audio.modeling_pe_audio import (
    PeAudioContrastiveHead,
    PeAudioPreTrainedModel,
)

from trichord.config.towers import PeAvAudio, PeAvText, PeAvVision
from trichord.encoders.clap import chunks
from trichord.encoders.encoder import AudioEncoder, VisionEncoder
from trichord.encoders.frames import filter_of, picture_size
from trichord.encoders.graph import Sizes
from trichord.encoders.hub import fetch_model
from trichord.encoders.pretrained import load, load_model, require_type
from trichord.encoders.texts import TransformersTextEncoder
from trichord.encoders.weight_cache import load_cached, shared_trunk
from trichord.media.plan import FramePlan
from trichord.types import UserError
from trichord.types.rules import require

HEADS = {
    "pe_audio": ("text_audio_head",),
    "pe_video": ("text_video_head",),
    "pe_audio_video": ("text_audio_head", "text_video_head"),
}
"""Heads of the text tower by the type of a model."""
PARTNERS = {"audio": "text_audio_head", "vision": "text_video_head"}
# In the whole model each tower lies within a model of two; their copies of the text tower are unused.
INNER = {r"^(audio|video)_model\.(?!text_model\.)": ""}


class _Tower(PeAudioPreTrainedModel):
    base_model_prefix = ""  # tensors are named from the top


class _TextModel(_Tower):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        width = config.text_config.hidden_size
        self.text_model = AutoModel.from_config(config.text_config)
        for head in HEADS[config.model_type]:
            self.add_module(head, PeAudioContrastiveHead(width, width))
        self.post_init()


class _AudioModel(_Tower):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        audio = getattr(config, "audio_video_config", config).audio_config
        self.audio_encoder = PeAudioEncoder(audio)
        self.audio_head = PeAudioContrastiveHead(audio.hidden_size, config.text_config.hidden_size)
        self.post_init()


class _VideoModel(_Tower):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        video = getattr(config, "audio_video_config", config).video_config
        self.video_encoder = PeVideoEncoder(video)
        self.video_head = PeAudioContrastiveHead(video.hidden_size, config.text_config.hidden_size)
        self.post_init()


def _load(kind: type[_Tower], name: str, model_types: frozenset[str]) -> Any:
    require_type(name, model_types)
    return load_model(kind, name, model_types, config=load(AutoConfig, name), key_mapping=INNER)


class PeAvTextEncoder(TransformersTextEncoder):
    """Token ids to features of the first token; the head is that toward one modality."""

    english = True

    def __init__(self, config: PeAvText) -> None:
        """Load the model.

        Raises:
            UserError: No such model, a tokenizer of another one, or no head toward this modality.
        """

        def read(pad: int) -> tuple[nn.Module, nn.Module, Sizes]:
            trunk, heads, sizes = _text_tower(config.name, pad)
            head = getattr(heads, PARTNERS[config.toward], None)
            if head is None:
                raise UserError(
                    f"--model.text.toward {config.toward}: the model '{config.name}' compares texts only "
                    "with another modality: choose that, or a PE-AV model."
                )
            return trunk, head, sizes

        super().__init__("pe_av_text", config, read, longest=config.longest)


@shared_trunk
def _text_tower(name: str, pad: int) -> tuple[nn.Module, nn.Module, Sizes]:
    """The text tower, its heads by name, and its sizes."""
    model = _load(_TextModel, name, PeAvText.types)
    config = model.config.text_config
    sizes = Sizes(
        dim=config.hidden_size,
        width=config.hidden_size,
        positions=config.max_position_embeddings,
        tokens=config.vocab_size,
    )
    heads = nn.ModuleDict({head: getattr(model, head) for head in HEADS[model.config.model_type]})
    return _TextTrunk(model.text_model, pad), heads, sizes


class _TextTrunk(nn.Module):
    def __init__(self, model: nn.Module, pad: int) -> None:
        super().__init__()
        self.model = model
        self.pad = pad

    def forward(self, ids: Int[Tensor, "text token"]) -> Float[Tensor, "text width"]:
        # -1 keeps the last state alone. With `tie_last_hidden_states` false in the config it is the
        # one before the last normalisation, and only this way gives it.
        read = self.model(
            input_ids=ids, attention_mask=(ids != self.pad).long(), output_hidden_states=-1
        )
        return read.hidden_states[-1][:, 0]


class PeAvAudioEncoder(AudioEncoder):
    """Waves (step, 1 + sample) to features.

    The first number of a step is its length; samples beyond it are padding.

    Attributes:
        extractor: Of `transformers`.
    """

    batch_size = 2  # the codec's first layers need 2.2 GB for 30 s at 48 kHz
    no_export = "it reads each sound at its own length, which an ONNX graph cannot do"

    def __init__(self, config: PeAvAudio) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or a preprocessor of another one.
        """
        trunk, head, sizes = _audio_tower(config.name)
        self.extractor: Any = load_cached(PeAudioFeatureExtractor, config.name)
        hop: int = self.extractor.hop_length
        require(
            hop == trunk.hop,
            f"The preprocessor of '{config.name}' has a hop of {hop} samples, its audio tower one of "
            f"{trunk.hop}: put the model's own processor_config.json beside its weights.",
        )
        self.rate: int = self.extractor.sampling_rate
        # Whole hops, so that only the last chunk of a clip is padded.
        self.chunk = max(1, round(config.step_seconds * self.rate) // hop) * hop
        self.min_tail = round(config.min_tail_seconds * self.rate)
        preparation = {
            "kind": "pe_av_audio",
            "rate": self.rate,
            "hop": hop,
            "chunk": self.chunk,
            "min_tail": self.min_tail,
        }
        super().__init__(trunk, head, sizes.width, preparation, dim=sizes.dim)
        self.set_arithmetic(config.arithmetic)

    def prepare(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, "step value"]:
        """Chunks of a mono waveform at `rate`, each behind its length."""
        cut = chunks(wave, self.chunk, self.min_tail)
        rows = torch.zeros(len(cut), 1 + self.chunk)
        for row, chunk in zip(rows, cut, strict=True):
            # One by one: in a batch it would fill up with zeros instead of a mirrored end.
            padded = self.extractor([chunk], sampling_rate=self.rate, return_tensors="pt")
            samples = padded["input_values"].flatten()
            row[0] = len(samples)
            row[1 : 1 + len(samples)] = samples
        return rows


@shared_trunk
def _audio_tower(name: str) -> tuple["_AudioTrunk", nn.Module, Sizes]:
    model = _load(_AudioModel, name, PeAvAudio.types)
    head = model.audio_head
    sizes = Sizes(dim=head.proj.out_features, width=head.proj.in_features)
    return _AudioTrunk(model.audio_encoder), head, sizes


class _AudioTrunk(nn.Module):
    """Reads each sound at its own length.

    Padding would change the vector: the codec's convolutions turn silence after a sound into values that
    reach back into its last frames, and no mask hides them.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.width: int = model.config.hidden_size
        self.hop: int = model.config.dac_config.hop_length

    def forward(self, rows: Float[Tensor, "step value"]) -> Float[Tensor, "step width"]:
        lengths = rows[:, 0].long()
        features = rows.new_zeros(len(rows), self.width)
        for length in lengths.unique().tolist():
            same = lengths == length
            read = self.model(input_values=rows[same, None, 1 : 1 + length])
            features[same] = read.pooler_output.to(features.dtype)
        return features


class PeAvVisionEncoder(VisionEncoder):
    """All frames of a clip (1, 1 + frame, 3, side, side), squeezed to a square, to features.

    The first number of a step is how many frames it has; pictures beyond them are padding.

    Attributes:
        processor: Of `transformers`, working on PIL pictures.
    """

    batch_size = 4  # of 16 frames each
    no_export = "clips have different numbers of frames, which its ONNX graph could not tell apart"

    def __init__(self, config: PeAvVision) -> None:
        """Load the model.

        Raises:
            UserError: `timm` is not installed, no such model, or it has no preprocessor.
        """
        trunk, head, sizes = _vision_tower(config.name)
        self.processor = frame_processor(config.name)
        self.count = config.frames
        self.side = picture_size(self.processor, config.name)
        self.frames = FramePlan(
            rule="uniform",
            count=config.frames,
            short_side=None,
            size=self.side,
            resample=filter_of(self.processor, config.name),
            nearest=config.nearest,
        )
        preparation = {
            "kind": "pe_av_vision",
            "size": list(self.side),
            "mean": list(self.processor.image_mean),
            "std": list(self.processor.image_std),
            "resize": "pil",
        }
        super().__init__(trunk, head, sizes.width, preparation, dim=sizes.dim)
        self.set_arithmetic(config.arithmetic)

    def prepare(
        self, frames: UInt8[np.ndarray, "frame height width 3"]
    ) -> Float[Tensor, "1 picture 3 high wide"]:
        """One step: the number of frames, and the frames."""
        return clip_step(
            self.processor(list(frames), return_tensors="pt")["pixel_values"], self.count
        )

    def example(self) -> Float[Tensor, "2 picture 3 high wide"]:
        """Two clips of two black frames."""
        height, width = self.side
        return self.prepare(np.zeros((2, height, width, 3), np.uint8)).repeat_interleave(2, dim=0)


def clip_step(
    pixels: Float[Tensor, "frame 3 high wide"], count: int
) -> Float[Tensor, "1 picture 3 high wide"]:
    """A clip's frames as one step, padded to `count`, behind a picture that begins with their number."""
    step = pixels.new_zeros(1, 1 + count, *pixels.shape[1:])
    step[0, 0, 0, 0, 0] = len(pixels)
    step[0, 1 : 1 + len(pixels)] = pixels
    return step


@shared_trunk
def _vision_tower(name: str) -> tuple[nn.Module, nn.Module, Sizes]:
    if find_spec("timm") is None:
        raise UserError(
            f"The vision tower of '{name}' reads frames by a model of timm, which is not installed: pip "
            "install timm, or choose another --model.vision; PE-AV's audio and text need no timm."
        )
    model = _load(_VideoModel, name, PeAvVision.types)
    head = model.video_head
    sizes = Sizes(dim=head.proj.out_features, width=head.proj.in_features)
    return VideoTrunk(model.video_encoder), head, sizes


class VideoTrunk(nn.Module):
    """Steps of `clip_step` to features; padded frames are masked."""

    def __init__(self, model: Any) -> None:
        """Wrap an encoder of `transformers`."""
        super().__init__()
        self.model = model

    def forward(
        self, steps: Float[Tensor, "step picture 3 high wide"]
    ) -> Float[Tensor, "step width"]:
        """Features of clips."""
        counts = steps[:, 0, 0, 0, 0].long()
        # The encoder of `transformers` needs contiguous frames, and a slice is not.
        frames = steps[:, 1 : 1 + int(counts.max())].contiguous()
        mask = torch.arange(frames.shape[1], device=steps.device) < counts[:, None]
        return self.model(pixel_values_videos=frames, padding_mask_videos=mask).pooler_output


def frame_processor(name: str) -> Any:
    """The settings of PE-AV's video processor, which needs torchvision, in one that does not.

    Raises:
        UserError: There are none.
    """
    folder = fetch_model(name)
    for file, part in (
        ("processor_config.json", "video_processor"),
        ("video_preprocessor_config.json", ""),
    ):
        try:
            settings: dict[str, Any] = json.loads((folder / file).read_text())
            settings = settings[part] if part else settings
            wanted = ("size", "resample", "image_mean", "image_std", "rescale_factor")
            return SiglipImageProcessorPil(**{key: settings[key] for key in wanted})
        except (OSError, ValueError, KeyError, TypeError):
            continue
    raise UserError(
        f"The model '{name}' has no settings of its video processor in {folder} (processor_config.json): "
        "fetch the whole model again."
    )
