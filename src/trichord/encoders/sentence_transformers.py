"""Models of the package `sentence-transformers` as encoders, from a folder with its `modules.json`.

The package prepares the inputs and computes the vectors: the trunk is its whole pipeline, from the
transformer to the last module, and the head is an identity that may be trained. This file needs the extra
`sentence-transformers`; it is imported when such an encoder is built.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as package
from torch import Tensor, nn

from trichord.config.towers import (
    SentenceTransformersAudio,
    SentenceTransformersText,
    SentenceTransformersVision,
)
from trichord.encoders.clap import chunks
from trichord.encoders.clip import count_longer
from trichord.encoders.encoder import AudioEncoder, TextEncoder
from trichord.encoders.frames import TransformersVisionEncoder, frame_plan
from trichord.encoders.graph import Sizes
from trichord.encoders.heads import cut_head
from trichord.encoders.hub import fetch_model
from trichord.encoders.module_list import Module, modalities, read_modules
from trichord.encoders.pretrained import quiet, require_all, require_weights
from trichord.encoders.prompts import Prompts
from trichord.encoders.tokenizer import require_fit, tokenizer_digest
from trichord.encoders.weight_cache import part_of, shared_trunk
from trichord.types import Modality, UserError, first_line
from trichord.types.rules import require

NO_EXPORT = "it is computed by another package, whose steps an ONNX graph does not keep"
PROMPTS_OF_DOCUMENTS = ("document", "passage", "corpus")
"""The package puts the first of these that a model has before a document."""
PADDING, TOKEN, PROMPT = 0, 1, 2
"""Marks of tokens. A pooling may leave out those of the prompt."""


class SentenceTransformersTextEncoder(TextEncoder):
    """Tokens (text, token, number) to features: the numbers are id, mark and, if it has one, segment.

    Attributes:
        prompts: Of the model.
    """

    no_export = NO_EXPORT
    trunk: "_TextTrunk"

    def __init__(self, config: SentenceTransformersText) -> None:
        """Load the model.

        Raises:
            UserError: No such model or prompt, a tokenizer of another model, or too large a width.
        """
        trunk, head, sizes = _part(_TextTrunk, config.name, "text", config.width)
        self.tokenizer: Any = trunk.model.tokenizer
        require_fit(self.tokenizer, config.name, sizes.tokens)
        written = Prompts.of(config.name).texts
        for_documents = [written[one] for one in PROMPTS_OF_DOCUMENTS if one in written]
        self.prompts = Prompts({"query": ""} | written | {"document": [*for_documents, ""][0]})
        self.prompt_name = config.prompt
        self.prompt = self.prompts.text(config.prompt, config.name)
        self.max_tokens = trunk.model.max_seq_length
        preparation = trunk.described() | {
            "tokenizer": tokenizer_digest(self.tokenizer),
            "max_tokens": self.max_tokens,
            "prompt": self.prompt,
        }
        super().__init__(trunk, head, sizes.width, preparation, dim=sizes.dim)
        self.set_arithmetic(config.arithmetic)

    def prepare(self, texts: list[str]) -> Int[Tensor, "text token number"]:
        """Tokens behind the prompt of the config."""
        return self._tokens(texts, self.prompt_name, self.prompt)

    def prepare_for(
        self, texts: list[str], task: Literal["query", "document"]
    ) -> Int[Tensor, "text token number"]:
        """Tokens behind the model's prompt for a task."""
        return self._tokens(texts, task, self.prompts.texts[task])

    def _tokens(self, texts: list[str], task: str, prompt: str) -> Int[Tensor, "text token number"]:
        made = self.trunk.preprocess(texts, prompt=prompt or None, task=task)
        numbers = [made["input_ids"], _marks(made)]
        numbers += [made["token_type_ids"]] if "token_type_ids" in made else []
        rows = torch.stack(numbers, dim=2)
        # Tokenizers of decoders pad at the start; Trichord batches texts by cutting columns at the end.
        order = (rows[:, :, 1] == PADDING).int().argsort(dim=1, stable=True)
        return rows.gather(1, order[:, :, None].expand_as(rows))

    def lengths(self, inputs: Int[Tensor, "text token number"]) -> Int[Tensor, " text"]:
        """Tokens of each text, those of the prompt included."""
        return (inputs[:, :, 1] != PADDING).sum(dim=1).clamp(min=1)

    def count_cut(self, texts: list[str]) -> int:
        """Number of texts that are truncated."""
        if self.max_tokens is None:
            return 0
        return count_longer(self.tokenizer, [self.prompt + one for one in texts], self.max_tokens)


def _marks(made: dict[str, Any]) -> Int[Tensor, "text token"]:
    require(
        "attention_mask" in made,
        "This model's tokenizer marks no padding, so that other texts of a batch would change a vector: "
        "choose another model.",
    )
    marks = made["attention_mask"] * TOKEN
    count = made.get("prompt_length", 0)
    in_prompt = (marks.cumsum(dim=1) <= count) & (marks == TOKEN)
    return marks.masked_fill(in_prompt, PROMPT)


class SentenceTransformersVisionEncoder(TransformersVisionEncoder):
    """Frames (step, 3, height, width) to features."""

    no_export = NO_EXPORT
    trunk: "_VisionTrunk"

    def __init__(self, config: SentenceTransformersVision) -> None:
        """Load the model.

        Raises:
            UserError: No such model, one without vision, or too large a width.
        """
        trunk, head, sizes = _part(_VisionTrunk, config.name, "vision", config.width)
        whole: Any = trunk.model.processor
        processor = getattr(whole, "image_processor", whole)
        super().__init__(
            "sentence_transformers_vision",
            trunk,
            head,
            sizes.width,
            processor=processor,
            frames=frame_plan(config, processor),
            pooling=config.pooling,
            dim=sizes.dim,
        )
        self.preparation |= trunk.described()
        self.set_arithmetic(config.arithmetic)
        self.example()  # refuses inputs of another form before media are decoded

    def prepare(
        self, frames: UInt8[np.ndarray, "step height width 3"]
    ) -> Float[Tensor, "step 3 high wide"]:
        """Frames as the package prepares pictures."""
        made = self.trunk.preprocess([Image.fromarray(one) for one in frames])
        return _only_input(made, "pixel_values")


class SentenceTransformersAudioEncoder(AudioEncoder):
    """Chunks (step, ...) of a size that the model's feature extractor always makes, to features."""

    no_export = NO_EXPORT
    trunk: "_AudioTrunk"

    def __init__(self, config: SentenceTransformersAudio) -> None:
        """Load the model.

        Raises:
            UserError: No such model, one without audio, one that reads sounds at their own length, or too
                large a width.
        """
        trunk, head, sizes = _part(_AudioTrunk, config.name, "audio", config.width)
        whole: Any = trunk.model.processor
        extractor: Any = getattr(whole, "feature_extractor", whole)
        self.rate: int = extractor.sampling_rate
        # CLAP's and Whisper's. CLAP's crops longer sounds at random.
        longest = getattr(extractor, "nb_max_samples", None) or getattr(extractor, "n_samples", 0)
        self.chunk = round(longest)
        self.min_tail = round(config.min_tail_seconds * self.rate)
        require(
            self.chunk,
            f"The model '{config.name}' reads each sound at its own length, which this encoder cannot: "
            "choose one with CLAP or Whisper in it, or an encoder of kind audio-trunk.",
        )
        self.has_batch_norm = any(
            isinstance(one, nn.modules.batchnorm._BatchNorm)  # pyright: ignore[reportPrivateUsage] (the base of all three)
            for one in trunk.modules()
        )
        preparation = trunk.described() | {
            "chunk": self.chunk,
            "min_tail": self.min_tail,
            "extractor": type(extractor).__name__,
        }
        super().__init__(trunk, head, sizes.width, preparation, "mean", dim=sizes.dim)
        self.set_arithmetic(config.arithmetic)

    def prepare(self, wave: Float[np.ndarray, " sample"]) -> Float[Tensor, "step ..."]:
        """Chunks of a mono waveform at `rate`, as the package prepares sounds."""
        made = [
            self.trunk.preprocess([{"array": chunk, "sampling_rate": self.rate}])
            for chunk in chunks(wave, self.chunk, self.min_tail)
        ]
        return torch.cat([_only_input(one, "input_features") for one in made]).float()


def _only_input(made: dict[str, Any], name: str) -> Tensor:
    """The input of a modality; CLAP's mark of longer sounds, which are split before, is left out.

    Raises:
        UserError: The model needs others beside it.
    """
    others = sorted(made.keys() - {name, "modality", "is_longer"})
    require(
        name in made and not others,
        f"This model's inputs are {', '.join([*others, 'and no ' * (name not in made) + name])}, and this "
        "encoder reads one tensor of one shape: choose a CLIP, SigLIP, CLAP or Whisper of that format.",
    )
    return made[name]


class _Trunk(nn.Module):
    """The pipeline, on the inputs of one modality."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        self.model = pipeline

    def preprocess(self, inputs: list[Any], **options: Any) -> dict[str, Any]:
        """The package's tensors of some inputs."""
        return dict(self.model.preprocess(inputs, **options))

    def vectors(self, **features: Any) -> Float[Tensor, "step width"]:
        return self.model(features)["sentence_embedding"]

    def described(self) -> dict[str, object]:
        """What the vectors depend on beside the weights, as JSON values."""
        return {"kind": "sentence_transformers", "modules": self.model.described}


class _TextTrunk(_Trunk):
    def forward(self, rows: Int[Tensor, "text token number"]) -> Float[Tensor, "text width"]:
        ids, marks, *segments = rows.unbind(dim=2)
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": (marks != PADDING).long()}
        features |= {"token_type_ids": segments[0]} if segments else {}
        # All texts of a batch have one prompt.
        features |= {"prompt_length": int((marks == PROMPT).sum(dim=1).max())}
        return self.vectors(modality="text", **features)


class _VisionTrunk(_Trunk):
    def forward(self, pixels: Float[Tensor, "step 3 high wide"]) -> Float[Tensor, "step width"]:
        return self.vectors(modality="image", pixel_values=pixels)


class _AudioTrunk(_Trunk):
    def forward(self, inputs: Float[Tensor, "step ..."]) -> Float[Tensor, "step width"]:
        return self.vectors(modality="audio", input_features=inputs)


Part = TypeVar("Part", bound=_Trunk)


def _part(
    kind: type[Part], name: str, modality: Modality, width: int | None
) -> tuple[Part, nn.Linear, Sizes]:
    """The pipeline for a modality, a head for the width of the vectors, and its sizes.

    Raises:
        UserError: As for `_pipeline`; it lacks the modality; or the width is too large.
    """
    known = modalities(read_modules(fetch_model(name)))
    require(
        modality in known,
        f"The model '{name}' reads {' and '.join(known) or 'nothing known here'}, not {modality}: choose "
        f"one that does, or another --model.{modality}.",
    )
    pipeline, _, sizes = _pipeline(name)
    head = cut_head(sizes.width, width, name)
    return part_of(pipeline, kind(pipeline)), head, replace(sizes, dim=head.out_features)


@shared_trunk
def _pipeline(name: str) -> tuple[Any, nn.Module, Sizes]:
    modules = read_modules(fetch_model(name))
    with quiet():
        loaded = [_load(one, name) for one in modules]
        pipeline: Any = SentenceTransformer(modules=loaded, device="cpu")
    pipeline.described = [
        f"{one.kind} {made.get_config_dict()}" for one, made in zip(modules, loaded, strict=True)
    ]
    width = pipeline.get_embedding_dimension()
    rows = getattr(loaded[0].config.get_text_config(), "vocab_size", 0)
    return pipeline, nn.Identity(), Sizes(dim=width, width=width, tokens=rows)


class _WholeModel:
    """A transformer of the package that refuses missing tensors, which would be drawn at random."""

    def _load_model(self, path: str, *args: Any, **options: Any) -> Any:
        files = require_weights(Path(path), path)
        read: Any = super()
        model, info = read._load_model(
            path,
            *args,
            **options,
            use_safetensors=files.safetensors,
            weights_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        require_all(path, model.config.model_type, files, model, info)
        return model


class _Transformer(_WholeModel, package.Transformer): ...


class _Clip(_WholeModel, package.CLIPModel): ...


READERS: dict[str, Any] = {"Transformer": _Transformer, "CLIPModel": _Clip}


def _load(module: Module, name: str) -> Any:
    """A module with its weights.

    Raises:
        UserError: It is made of adapters alone, uses code that is no part of torch, or is damaged.
    """
    adapters = module.folder / "adapter_config.json"
    require(
        not adapters.is_file(),
        f"{adapters}: the model '{name}' holds adapters alone, for another model: merge them into it with "
        "peft's merge_and_unload, save that, and give its folder.",
    )
    activation = str(module.config().get("activation_function", "torch."))
    require(
        activation.startswith("torch."),
        f"{module.folder} uses '{activation}', and Trichord runs no code of a model: choose another.",
    )
    kind = READERS.get(module.kind) or getattr(package, module.kind)
    try:
        return kind.load(
            str(module.folder),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": torch.float32},
        )
    except UserError:
        raise
    except Exception as error:  # files of a foreign folder may fail anywhere in two packages
        raise UserError(
            f"sentence-transformers cannot read the module {module.kind} of '{name}' in {module.folder} "
            f"({first_line(error)}): fetch the whole model again, or choose another."
        ) from error
