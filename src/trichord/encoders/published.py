"""Published CLIP weights under the names of `transformers`, and CLIP4VLA's audio tower under ours."""

import gzip
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from trichord.encoders.clip_audio import SoundTrunk
from trichord.encoders.pretrained import load
from trichord.types import UserError
from trichord.types.files import write_atomically

HEAD_WIDTH = 64
"""Of every attention head in OpenAI's models: their number is not in the weights."""
SIGNS = 256
"""One a byte: the least that a tokenizer of any text has."""
MERGES = 49_152 - 256 - 2
"""Of OpenAI's byte-pair file the models know the first ones only."""
ADDED_TOKENS = ("<|maskoftext|>", "<|unkoftext|>", "<|padoftext|>")
"""What CLIP4VLA adds to CLIP's vocabulary; the last one pads."""
SIZES_APART = {"input_resolution", "context_length", "vocab_size"}
"""OpenAI's archives repeat these beside the weights."""
TRANSPOSED = {"proj", "text_projection"}
"""Matrices that OpenAI multiplies from the right."""
NAMED = 3
"""How many keys a complaint names."""

Names = Mapping[str, str]
"""Published names to ours. `*` in one of ours stands for q, k and v, which the published tensor has one
below the other; published tensors with one and the same name of ours are laid one below the other."""

_BLOCK = {
    "attn.in_proj_{}": "self_attn.*_proj.{}",
    "attn.out_proj.{}": "self_attn.out_proj.{}",
    "ln_1.{}": "layer_norm1.{}",
    "mlp.c_fc.{}": "mlp.fc1.{}",
    "mlp.c_proj.{}": "mlp.fc2.{}",
    "ln_2.{}": "layer_norm2.{}",
}
_TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "logit_scale": "logit_scale",
}
_VISION = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
}
_SOUND = {
    "class_embedding": "trunk.class_embedding",
    "conv1.weight": "trunk.patches.weight",
    "positional_embedding": "trunk.positions",
    "control_embedding": "trunk.tokens",
    "ln_pre.weight": "trunk.before.weight",
    "ln_pre.bias": "trunk.before.bias",
    "ln_post.weight": "trunk.after.weight",
    "ln_post.bias": "trunk.after.bias",
    "proj": "head.weight",
}


@dataclass(frozen=True, slots=True)
class Published:
    """Tensors of a published file by their published names.

    `prefix` is what the names of a part of it have lost; complaints give it back.
    """

    file: Path
    tensors: Mapping[str, Tensor]
    prefix: str = ""

    def part(self, prefix: str) -> "Published":
        """The tensors below a prefix."""
        below = {
            name.removeprefix(prefix): value
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }
        return Published(self.file, below, self.prefix + prefix)

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            UserError: There is none of that name, or it has another number of dimensions.
        """
        if name not in self.tensors:
            raise UserError(
                f"{self.file} lacks '{self.prefix}{name}': give the whole state_dict of the model."
            )
        shape = tuple(self.tensors[name].shape)
        if len(shape) != rank:
            raise UserError(
                f"{self.file}: '{self.prefix}{name}' has {len(shape)} dimensions instead of {rank}: "
                "it is of another model."
            )
        return shape

    def depth(self, blocks: str) -> int:
        """How many blocks there are below a prefix."""
        return len(
            {
                name.removeprefix(blocks).partition(".")[0]
                for name in self.tensors
                if name.startswith(blocks)
            }
        )

    def renamed(self, names: Names, ours: nn.Module) -> dict[str, Tensor]:
        """The tensors under our names, as copies in single precision.

        Args:
            names: All names that the tensors must have.
            ours: The module they are for; its shapes count, its values do not.

        Raises:
            UserError: A key is unknown or missing, or a tensor has another shape.
        """
        self._refuse_other_keys(names)
        shapes = {name: value.shape for name, value in ours.state_dict().items()}
        sharing = Counter(names.values())
        found: dict[str, list[Tensor]] = {}
        for theirs, name in names.items():
            parts = [name.replace("*", part) for part in "qkv"] if "*" in name else [name]
            value = self.tensors[theirs]
            turned = theirs.rpartition(".")[2] in TRANSPOSED
            wanted = _published_shape(shapes[parts[0]], len(parts), sharing[name], turned)
            if tuple(value.shape) != wanted:
                raise UserError(
                    f"{self.file}: '{self.prefix}{theirs}' is {_by(value.shape)} instead of "
                    f"{_by(wanted)}: it is of another model."
                )
            value = value.T if turned else value
            for part, rows in zip(parts, _split(value, len(parts)), strict=True):
                found.setdefault(part, []).append(rows)
        return {name: _joined(rows) for name, rows in found.items()}

    def refuse_keys(self, unknown: Collection[str], missing: Collection[str] = ()) -> None:
        """Name the keys that the model does not have, and those that it lacks.

        Raises:
            UserError: If there are any.
        """
        odd = {"unknown": unknown, "missing": missing}
        told = [
            f"{len(keys)} {what} ({self._some(keys)})" for what, keys in odd.items() if len(keys)
        ]
        if told:
            raise UserError(
                f"{self.file} has other keys than the model: {', '.join(told)}: choose the kind of "
                "import that fits, and give the whole state_dict and nothing else."
            )

    def _refuse_other_keys(self, names: Names) -> None:
        self.refuse_keys(self.tensors.keys() - names.keys(), names.keys() - self.tensors.keys())

    def _some(self, keys: Collection[str]) -> str:
        named = [" ".join(f"{self.prefix}{key}".split()) for key in sorted(keys)[:NAMED]]
        return ", ".join(named + ["..."] * (len(keys) > NAMED))


def _published_shape(ours: torch.Size, parts: int, sharing: int, turned: bool) -> tuple[int, ...]:
    if turned:
        return tuple(reversed(ours))
    return (ours[0] * parts // sharing, *ours[1:]) if ours else ()


def _split(value: Tensor, parts: int) -> tuple[Tensor, ...]:
    return (value,) if parts == 1 else value.chunk(parts)


def _joined(rows: list[Tensor]) -> Tensor:
    whole = rows[0] if len(rows) == 1 else torch.cat(rows)
    return whole.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _by(shape: Collection[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def read_published(file: Path) -> Published:
    """Tensors of a safetensors file or of a pickled state_dict; no code of the file is ever run.

    Raises:
        UserError: No such file, one of another kind, or a pickle of anything but tensors.
    """
    if not file.is_file():
        raise UserError(f"{file} is no file: give a .safetensors file or a pickled state_dict.")
    tensors = _from_safetensors(file) if file.suffix == ".safetensors" else _from_pickle(file)
    return Published(file, {k: v for k, v in tensors.items() if k not in SIZES_APART})


def _from_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except Exception as error:  # the library has several kinds, none of them our mistake
        raise UserError(f"{file} is damaged or not safetensors ({_line(error)}).") from error


def _from_pickle(file: Path) -> dict[str, Tensor]:
    if _is_torchscript(file):
        raise UserError(
            f"{file} is a TorchScript archive, which holds code: save its tensors with "
            "safetensors.torch.save_file(torch.jit.load(FILE).state_dict(), 'clip.safetensors') "
            "and import that."
        )
    try:
        held: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged pickle may raise anything
        raise UserError(
            f"{file} is not a plain state_dict that can be read without running its code "
            f"({_line(error)}): save its tensors as .safetensors and import that."
        ) from error
    if not isinstance(held, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor)
        for name, value in cast(dict[Any, Any], held).items()
    ):
        raise UserError(
            f"{file} holds something else than tensors by name: save the model's state_dict() alone."
        )
    return cast(dict[str, Tensor], held)


def _is_torchscript(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False  # older pickles are no archives; a damaged one is told when it is read


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def read_tokenizer(source: str, rows: int) -> CLIPTokenizer:
    """A CLIP tokenizer that fits a table of token embeddings.

    Args:
        source: OpenAI's `bpe_simple_vocab_16e6.txt`, packed or not, or a folder or hub name.
        rows: Of the table: as many as the tokenizer has tokens, or three more for CLIP4VLA's.

    Raises:
        UserError: No such tokenizer, or one of another size.
    """
    try:
        file = Path(source)
        tokenizer = _from_byte_pairs(file) if file.is_file() else _whole_tokenizer(source)
    except UserError as error:
        raise UserError(f"--tokenizer: {error}") from error
    if rows == len(tokenizer) + len(ADDED_TOKENS):
        tokenizer.add_tokens(list(ADDED_TOKENS), special_tokens=True)
        tokenizer.pad_token = ADDED_TOKENS[-1]
    if rows != len(tokenizer):
        raise UserError(
            f"--tokenizer: {source} has {len(tokenizer)} tokens, the model {rows}: give the "
            "tokenizer of the same model."
        )
    return tokenizer


def _whole_tokenizer(name: str) -> CLIPTokenizer:
    tokenizer = load(CLIPTokenizer, name)
    if len(tokenizer) < SIGNS:  # `transformers` makes up an empty one where it finds no files
        raise UserError(
            f"{name} has no vocabulary in that folder or at the model hub: check the name, the "
            "network, or give OpenAI's bpe_simple_vocab_16e6.txt.gz."
        )
    return tokenizer


def _from_byte_pairs(file: Path) -> CLIPTokenizer:
    shown = [chr(byte) for byte in range(33, SIGNS) if chr(byte).isprintable()]
    signs = shown + [chr(SIGNS + n) for n in range(SIGNS - len(shown))]
    pairs = _pairs(file)
    words = [*signs, *(f"{sign}</w>" for sign in signs), *("".join(pair) for pair in pairs)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=cast(Any, pairs))


def _pairs(file: Path) -> list[tuple[str, ...]]:
    """The merges of a byte-pair file, whose first line is a title."""
    try:
        with file.open("rb") as raw:
            packed = raw.peek(2).startswith(b"\x1f\x8b")
            lines = gzip.GzipFile(fileobj=raw) if packed else raw
            pairs = [tuple(line.decode().split()) for line in islice(lines, 1, MERGES + 1)]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{file} cannot be read as byte pairs ({_line(error)}).") from error
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise UserError(f"{file} is no byte-pair file: each line but the first has two parts.")
    return pairs


@dataclass(frozen=True, slots=True)
class ClipTowers:
    """A CLIP as `transformers` keeps it: architecture, weights, tokenizer and preparation of pictures."""

    config: CLIPConfig
    state: Mapping[str, Tensor]
    tokenizer: CLIPTokenizer
    processor: CLIPImageProcessorPil

    @property
    def dim(self) -> int:
        """Of the shared space."""
        return cast(Any, self.config).projection_dim

    @property
    def text_heads(self) -> int:
        """Attention heads of the text tower."""
        return cast(Any, self.config.text_config).num_attention_heads

    @property
    def vision(self) -> Any:
        """Sizes of the vision tower."""
        return self.config.vision_config

    def write(self, folder: Path) -> None:
        """Write an ordinary folder of the `transformers` format, weights as safetensors."""
        for part in (self.tokenizer, self.processor, self.config):
            part.save_pretrained(folder)
        write_atomically(folder / "model.safetensors", save(dict(self.state), {"format": "pt"}))


def towers_of_state(clip: Published, tokenizer: str) -> ClipTowers:
    """OpenAI's CLIP from its state_dict; sizes are read off the tensors, preparation is OpenAI's.

    Args:
        clip: The state_dict; CLIP4VLA's has three tokens more than CLIP's.
        tokenizer: As for `read_tokenizer`.

    Raises:
        UserError: A key is unknown or missing, a tensor has another shape, the vision tower is no
            transformer, or the tokenizer does not fit.
    """
    if any(name.startswith(("visual.layer1.", "visual.attnpool.")) for name in clip.tensors):
        raise UserError(
            f"{clip.file} is a CLIP with a ResNet: choose one with a vision transformer (ViT)."
        )
    words = read_tokenizer(tokenizer, clip.shape("token_embedding.weight", 2)[0])
    words.model_max_length = clip.shape("positional_embedding", 2)[0]
    config = _config(clip, words)
    vision: Any = config.vision_config
    side = {"height": vision.image_size, "width": vision.image_size}
    processor = CLIPImageProcessorPil(size={"shortest_edge": vision.image_size}, crop_size=side)
    names = _TEXT | _VISION
    trunks = {"": "text_model.encoder.layers.", "visual.": "vision_model.encoder.layers."}
    for trunk, ours in trunks.items():
        blocks = f"{trunk}transformer.resblocks."
        names |= block_names(blocks, ours, clip.depth(blocks), _BLOCK)
    return ClipTowers(config, clip.renamed(names, _empty_clip(config)), words, processor)


def _config(clip: Published, tokenizer: CLIPTokenizer) -> CLIPConfig:
    _, dim = clip.shape("text_projection", 2)
    rows, text_width = clip.shape("token_embedding.weight", 2)
    width, channels, patch, _ = clip.shape("visual.conv1.weight", 4)
    places, _ = clip.shape("visual.positional_embedding", 2)
    text: dict[str, object] = {
        "vocab_size": rows,
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision: dict[str, object] = {
        "num_channels": channels,
        "patch_size": patch,
        "image_size": patch * round(max(0, places - 1) ** 0.5),
    }
    config = CLIPConfig(
        text_config=text | _trunk_sizes(clip, "", text_width, dim),
        vision_config=vision | _trunk_sizes(clip, "visual.", width, dim),
        projection_dim=dim,
    )
    config.architectures = ["CLIPModel"]
    return config


def _trunk_sizes(clip: Published, trunk: str, width: int, dim: int) -> dict[str, object]:
    blocks = f"{trunk}transformer.resblocks."
    if not width or width % HEAD_WIDTH:
        raise UserError(
            f"{clip.file}: {width} dimensions are no multiple of {HEAD_WIDTH}, the width of an "
            "attention head in CLIP: give its folder in the transformers format instead."
        )
    return {
        "hidden_size": width,
        "intermediate_size": clip.shape(f"{blocks}0.mlp.c_fc.weight", 2)[0],
        "num_hidden_layers": clip.depth(blocks),
        "num_attention_heads": width // HEAD_WIDTH,
        "hidden_act": "quick_gelu",
        "projection_dim": dim,
    }


def towers_at(name: str) -> ClipTowers:
    """A CLIP by folder or hub name, loaded whole.

    Raises:
        UserError: It cannot be loaded, or its weights are not those of a CLIP.
    """
    model, found = load(
        CLIPModel, name, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    # Older folders keep the numbers of the positions, which are no weights.
    unknown = {key for key in found["unexpected_keys"] if not key.endswith(".position_ids")}
    Published(Path(name), {}).refuse_keys(unknown, found["missing_keys"])
    return ClipTowers(
        model.config,
        model.state_dict(),
        _whole_tokenizer(name),
        load(CLIPImageProcessorPil, name),
    )


def sound_state(audio: Published, towers: ClipTowers) -> dict[str, Tensor]:
    """The state of CLIP4VLA's audio tower under the names of `ClipAudioEncoder`.

    A tower that was trained without sound tokens gets zeros for them and for their position: it is
    to listen with `none`.

    Args:
        audio: What its checkpoint has below `audio.visual.`.
        towers: The CLIP beside it, whose vision tower it has the sizes of.

    Raises:
        UserError: A key is unknown or missing, or a tensor has another shape.
    """
    vision = towers.vision
    names = _SOUND | block_names(
        "transformer.resblocks.", "trunk.layers.layers.", vision.num_hidden_layers, _BLOCK
    )
    model: Any = _empty_clip(towers.config)
    with torch.device("meta"):
        trunk = SoundTrunk(model.vision_model, (vision.image_size, vision.image_size))
    tower = nn.ModuleDict({"trunk": trunk, "head": model.visual_projection})
    return _with_tokens(audio).renamed(names, tower)


def has_sound_tokens(audio: Published) -> bool:
    """Whether the tower was trained with sound tokens."""
    return "control_embedding" in audio.tensors


def _with_tokens(audio: Published) -> Published:
    if has_sound_tokens(audio):
        return audio
    _, width = audio.shape("positional_embedding", 2)
    table = audio.tensors["positional_embedding"]
    added = {
        "positional_embedding": torch.cat([table, table.new_zeros(1, width)]),
        "control_embedding": table.new_zeros(2, width),
    }
    return Published(audio.file, {**audio.tensors, **added}, audio.prefix)


def block_names(theirs: str, ours: str, depth: int, parts: Names) -> dict[str, str]:
    """Names of the tensors of numbered blocks; `{}` in a part stands for weight and for bias."""
    return {
        f"{theirs}{n}.{part.format(kind)}": f"{ours}{n}.{name.format(kind)}"
        for n in range(depth)
        for part, name in parts.items()
        for kind in ("weight", "bias")
    }


def _empty_clip(config: CLIPConfig) -> CLIPModel:
    with torch.device("meta"):
        return CLIPModel(config)
