"""The parts of a CLIP4VLA checkpoint, each as a config and its state."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from trichord.config import CaptionGenerator, Cross, GlobalToGlobal
from trichord.encoders.clip_settings import CLIP4VLA
from trichord.encoders.encoder import AudioType
from trichord.encoders.published import Names, PublishedTensors, block_names, read_published
from trichord.encoders.published_clip import (
    HEAD_WIDTH,
    ClipTowers,
    has_audio_type_tokens,
    towers_of_state,
)
from trichord.evaluation.classes.published_head import PublishedHead, layers_of
from trichord.models.captioner import Captioner
from trichord.models.cross import CrossTransformer, Form
from trichord.models.fusion import FRAME_SLOTS, TEXT_SLOTS, Absent
from trichord.types import UserError
from trichord.types.decoding import SHORTEST

Level = Literal["global_to_global", "global_to_local", "tight", "local_to_local"]

CLIP, SOUND, CROSS, SCORE = "clip.", "audio.visual.", "cross.", "similarity_dense."
CAPTIONS, HEAD = "cls.predictions.", "cls_linear."
PARTS = (CLIP, SOUND, CROSS, SCORE, CAPTIONS, HEAD)

_BLOCKS: dict[Form, tuple[str, Names]] = {
    "clip": (
        "transformer.resblocks.",
        {
            "attn.in_proj_{}": "attention.entry.{}",
            "attn.out_proj.{}": "attention.exit.{}",
            "ln_1.{}": "attention_norm.{}",
            "mlp.c_fc.{}": "expand.{}",
            "mlp.c_proj.{}": "contract.{}",
            "ln_2.{}": "inner_norm.{}",
        },
    ),
    "bert": (
        "encoder.layer.",
        {
            "attention.self.query.{}": "attention.entry.{}",
            "attention.self.key.{}": "attention.entry.{}",
            "attention.self.value.{}": "attention.entry.{}",
            "attention.output.dense.{}": "attention.exit.{}",
            "attention.output.LayerNorm.{}": "attention_norm.{}",
            "intermediate.dense.{}": "expand.{}",
            "output.dense.{}": "contract.{}",
            "output.LayerNorm.{}": "inner_norm.{}",
        },
    ),
}
"""Prefix and names of the blocks in each form of the cross transformer."""
_EMBEDDINGS: dict[Form, Names] = {
    "clip": {
        "positional_embedding": "positions.weight",
        "token_type_embeddings.weight": "types.weight",
    },
    "bert": {
        "position_embeddings.weight": "positions.weight",
        "token_type_embeddings.weight": "types.weight",
        "LayerNorm.weight": "norm.weight",
        "LayerNorm.bias": "norm.bias",
    },
}
"""Some checkpoints have them below `embeddings.`."""
_POOLER = {"pooler.dense.weight": "pooler.0.weight", "pooler.dense.bias": "pooler.0.bias"}
_SCORE = {"weight": "similarity.weight", "bias": "similarity.bias"}
_WORDS = {
    "transform.dense.weight": "turn.weight",
    "transform.dense.bias": "turn.bias",
    "transform.LayerNorm.weight": "turn_norm.weight",
    "transform.LayerNorm.bias": "turn_norm.bias",
    "bias": "bias",
}
_TIED = "decoder.weight"
"""A copy of the token embeddings: the captioner's head has none of its own."""
_TABLE = "token_embedding.weight"
_LAYERS = {f"{part}.{kind}": f"{part}.{kind}" for part in (0, 1) for kind in ("weight", "bias")}


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """Options of a CLIP4VLA model that are not in its checkpoint."""

    fusion: Level | None = None
    """Global-to-local if the checkpoint has a cross transformer for retrieval, else global-to-global."""
    token: AudioType | None = None
    """None: as the authors fine-tune, 0.5, or 1 (nonverbal) with a head for ESC-50, or no token."""
    segments: int = 16
    """Most audio segments, from the middle: 16 for MSR-VTT, 6 for VATEX and AudioCaps."""
    absent: Absent = "zeros"
    """A missing modality in a clip's score; published: a zero vector."""
    reads: tuple[Literal["vision", "audio"], ...] | None = None
    """Modalities of its captioner; None: both."""
    words: int = TEXT_SLOTS
    """Most tokens of a text; frames have the next positions. 32, for captions of VATEX 48."""


@dataclass(kw_only=True)
class Checkpoint:
    """A checkpoint of CLIP4VLA.

    Attributes:
        published: All of its tensors.
        towers: Its CLIP.
        options: Options that are not in it.
        notes: Assumptions and omissions, in words; each part adds its own.
    """

    published: PublishedTensors
    towers: ClipTowers
    options: CheckpointOptions
    notes: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def read(cls, file: Path, tokenizer: str, options: CheckpointOptions) -> "Checkpoint":
        """Read a checkpoint and its CLIP.

        Raises:
            UserError: A key is unknown or missing, or an option does not fit.
        """
        published = read_published(file)
        published.refuse_keys([name for name in published.tensors if not name.startswith(PARTS)])
        towers = towers_of_state(published.part(CLIP), tokenizer, CLIP4VLA)
        checkpoint = cls(
            published=published, towers=towers, options=options, notes=dict(towers.notes)
        )
        checkpoint._check_recipe()
        checkpoint.notes["lengths"] = (
            f"{options.words} tokens, {FRAME_SLOTS} frames, {options.segments} segments "
            "(--words, --segments)"
        )
        return checkpoint

    def _check_recipe(self) -> None:
        options, most = self.options, self.towers.tokenizer.model_max_length
        if options.segments < 1:
            raise UserError(f"--segments {options.segments}: give at least 1.")
        if not SHORTEST <= options.words <= most:
            raise UserError(f"--words {options.words}: give from {SHORTEST} to {most}.")
        if options.reads is None:
            return
        if not self.part(CAPTIONS).tensors:
            raise UserError(
                f"--reads: {self.published.file} has no captioner (cls.predictions.*): leave it out."
            )
        if not options.reads or len(set(options.reads)) < len(options.reads):
            raise UserError("--reads: give vision, audio, or both, each once.")

    def part(self, prefix: str) -> PublishedTensors:
        """The tensors below a prefix; may be empty."""
        return self.published.part(prefix)

    @property
    def scores_pairs(self) -> bool:
        """Whether the cross transformer was trained for retrieval."""
        return bool(self.part(SCORE).tensors)

    def token(self) -> AudioType:
        """The audio type token.

        Raises:
            UserError: No such token, or the checkpoint has none.
        """
        audio, token = self.part(SOUND), self.options.token
        if token is None:
            token, why = 0.5, "0.5 (assumed, as the authors do for MSR-VTT and VATEX)"
            if not has_audio_type_tokens(audio):
                token, why = "none", "none (the checkpoint has no table of them)"
            elif self.part(HEAD).tensors:
                token, why = 1.0, "1 (assumed, as the authors do for ESC-50)"
            self.notes["audio type token"] = why
        if token != "none" and not has_audio_type_tokens(audio):
            raise UserError(
                f"--audio-type: {audio.file} was trained without audio type tokens: leave it out."
            )
        if not isinstance(token, str) and not 0 <= token <= 1:
            raise UserError(
                f"--audio-type {token:g}: give a number from 0 (verbal) to 1 (nonverbal), or 'both' "
                "(published as 3), 'clip' (2) or 'none' (-1)."
            )
        return token

    def fusion(self) -> tuple[GlobalToGlobal | Cross, dict[str, Tensor]]:
        """The trained fusion, or the one of the options, and its state.

        Raises:
            UserError: The checkpoint has no such fusion, or not all of it.
        """
        options, cross = self.options, self.part(CROSS)
        level = options.fusion or ("global_to_local" if self.scores_pairs else "global_to_global")
        if level == "global_to_global":
            self._note_cross()
            return GlobalToGlobal(absent=options.absent), {}
        if not self.scores_pairs:
            raise UserError(
                f"--fusion {level}: {cross.file} has no cross transformer that was trained for "
                "retrieval (no similarity_dense.*): choose global_to_global."
            )
        ours, layers, heads = self._empty_cross(cross)
        state = cross.renamed(_cross_names(cross, ours.form, layers), ours)
        state |= self.part(SCORE).renamed(_SCORE, ours)
        self._require_room(cross, ours, FRAME_SLOTS, options.segments)
        fusion = Cross(
            level=level,
            form=ours.form,
            from_text=False,
            layers=layers,
            heads=heads,
            text_slots=options.words,
            frame_slots=FRAME_SLOTS,
            segment_slots=options.segments,
            absent=options.absent,
        )
        return fusion, {f"cross.{name}": value for name, value in state.items()}

    def captioner(self) -> tuple[CaptionGenerator, dict[str, Tensor]] | None:
        """The captioner and its state; None if there is none.

        Raises:
            UserError: It is incomplete, or has other token embeddings.
        """
        head, cross, options = self.part(CAPTIONS), self.part(CROSS), self.options
        reads = options.reads or ("vision", "audio")
        frames = FRAME_SLOTS if "vision" in reads else 0
        segments = options.segments if "audio" in reads else 0
        if not head.tensors:
            return None
        ours, layers, heads = self._empty_cross(cross)
        if ours.form == "bert":
            left = (CAPTIONS,) if self.scores_pairs else (CAPTIONS, CROSS)
            self._leave_out(left, "captioners are read with CLIP's blocks only, not BERT's")
            return None
        self._require_room(cross, ours, frames, segments)
        rows, width = self.part(CLIP).shape(_TABLE, 2)
        with torch.device("meta"):
            writer = Captioner(ours, width=width, vocabulary=rows)
        names = _cross_names(cross, ours.form, layers)
        state = {f"cross.{key}": value for key, value in cross.renamed(names, ours).items()}
        state |= self._untied(head).renamed(_WORDS, writer)
        source = "--reads" if options.reads else "assumed; else give --reads"
        self.notes["captions"] = f"from {' and '.join(reads)} ({source})"
        return CaptionGenerator(
            reads=reads,
            from_text=False,
            layers=layers,
            heads=heads,
            text_slots=options.words,
            frame_slots=frames,
            segment_slots=segments,
            padding="as_published",
        ), state

    def head(self) -> PublishedHead | None:
        """The classifier; None if there is none, or if its classes are unknown.

        Raises:
            UserError: It is incomplete.
        """
        head = self.part(HEAD)
        if not head.tensors:
            return None

        from trichord.corpora.esc50 import CLASSES  # with all readers of corpora

        head.refuse_keys(head.tensors.keys() - _LAYERS.keys(), _LAYERS.keys() - head.tensors.keys())
        classes, _ = head.shape("1.weight", 2)
        with torch.device("meta"):
            ours = layers_of(self.towers.dim, classes)
        state = head.renamed(_LAYERS, ours)
        if classes != len(CLASSES):
            self._leave_out(
                (HEAD,),
                f"a head of {classes} classes that nobody names; ESC-50's has {len(CLASSES)}",
            )
            return None
        self.notes["head"] = "ESC-50's 50 classes, in the order of its targets (assumed)"
        return PublishedHead(classes=CLASSES, state=state)

    def _empty_cross(self, cross: PublishedTensors) -> tuple[CrossTransformer, int, int]:
        """The cross transformer without weights, its layers and its heads."""
        form: Form = "bert" if cross.depth(_BLOCKS["bert"][0]) else "clip"
        layers, dim = cross.depth(_BLOCKS[form][0]), self.towers.dim
        if not layers:
            cross.refuse_keys((), _cross_names(cross, form, 1).keys())
        # As published: the clip form has as many as the text tower, whatever its width.
        heads = self.towers.text_heads if form == "clip" else max(1, dim // HEAD_WIDTH)
        if dim % heads:
            raise UserError(
                f"{cross.file}: {heads} heads do not divide the {dim} dimensions of its cross "
                "transformer: it is none of CLIP4VLA's two."
            )
        with torch.device("meta"):
            return CrossTransformer(form=form, dim=dim, layers=layers, heads=heads), layers, heads

    def _untied(self, head: PublishedTensors) -> PublishedTensors:
        """The captioner's head without its copy of the token embeddings.

        Raises:
            UserError: There is no copy, or it differs.
        """
        table = self.part(CLIP).tensors[_TABLE].float()
        if head.shape(_TIED, 2) != table.shape or not head.tensors[_TIED].float().equal(table):
            raise UserError(
                f"{head.file}: '{head.prefix}{_TIED}' is not the text tower's table of tokens "
                f"('{CLIP}{_TABLE}'), as it is in CLIP4VLA: it is of another model."
            )
        others = {name: value for name, value in head.tensors.items() if name != _TIED}
        return PublishedTensors(head.file, others, head.prefix)

    def _require_room(
        self, cross: PublishedTensors, ours: CrossTransformer, frames: int, segments: int
    ) -> None:
        """Refuse more tokens, frames and segments than positions."""
        words = self.options.words
        room = ours.positions.num_embeddings - words - frames
        least = min(1, segments)
        if room < least:
            raise UserError(f"--words {words}: {cross.file} has room for {words + room - least}.")
        if segments > room:
            raise UserError(f"--segments {segments}: {cross.file} has room for {room}.")

    def _note_cross(self) -> None:
        """Note that the cross transformer is not used for fusion."""
        if self.scores_pairs:
            writes = bool(self.part(CAPTIONS).tensors)
            self._leave_out(
                (SCORE,) if writes else (CROSS, SCORE),
                "--fusion global_to_global has no use for it",
            )
        elif self.part(CAPTIONS).tensors:
            self.notes["fusion"] = (
                "global_to_global (its cross transformer scores no pairs, for there is no "
                "similarity_dense.*)"
            )
        elif self.part(CROSS).tensors:
            self._leave_out((CROSS,), "neither similarity_dense.* nor cls.predictions.* is with it")

    def _leave_out(self, prefixes: Collection[str], why: str) -> None:
        count = sum(len(self.part(prefix).tensors) for prefix in prefixes)
        what = ", ".join(f"{prefix}*" for prefix in prefixes)
        message = f"{count} tensors, {what}: {why}"
        earlier = self.notes.get("left out")
        self.notes["left out"] = f"{earlier}; {message}" if earlier else message


def _cross_names(cross: PublishedTensors, form: Form, layers: int) -> dict[str, str]:
    spelled = {
        below if (below := f"embeddings.{theirs}") in cross.tensors else theirs: ours
        for theirs, ours in _EMBEDDINGS[form].items()
    }
    blocks, parts = _BLOCKS[form]
    pooler = _POOLER if form == "bert" else {}
    return spelled | pooler | block_names(blocks, "blocks.", layers, parts)
