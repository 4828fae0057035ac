"""Published models as finished runs: OpenAI's CLIP, and CLIP4VLA's checkpoints."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from safetensors.torch import save
from torch import Tensor

from trichord.checkpoint import Progress, Run, fresh_model
from trichord.config import (
    CLIP,
    ClipAudio,
    ClipText,
    ClipVision,
    Cross,
    Experiment,
    GlobalToGlobal,
    InfoNCE,
    LogMel,
    TriModal,
)
from trichord.encoders.clip_audio import SoundToken
from trichord.encoders.published import Names, Published, block_names, read_published
from trichord.encoders.published_clip import (
    HEAD_WIDTH,
    ClipTowers,
    has_sound_tokens,
    sound_state,
    towers_at,
    towers_of_state,
)
from trichord.media import file_signature
from trichord.models.cross import CrossTransformer, Form
from trichord.models.fusion import FRAME_SLOTS, TEXT_SLOTS, Absent
from trichord.types import UserError
from trichord.types.files import write_atomically

TOWERS = "./clip"
"""Where a run keeps the CLIP that came with it: relative to itself, so that it can be moved."""
PICTURE = 224
"""Time steps and bands of CLIP4VLA's pictures of sound."""
CAPTIONER, PROBE = "captioner.safetensors", "probe.safetensors"
"""What a run keeps of parts that no model here has yet, under their published names."""

Level = Literal["global_to_global", "global_to_local", "tight", "local_to_local"]

PARTS = ("clip.", "audio.visual.", "cross.", "similarity_dense.", "cls.predictions.", "cls_linear.")
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
"""Where each form of the cross transformer has its blocks, and what their parts are called."""
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
_KEPT: dict[str, set[str]] = {
    "cls.predictions.": {
        *(
            f"transform.{part}.{kind}"
            for part in ("dense", "LayerNorm")
            for kind in ("weight", "bias")
        ),
        "decoder.weight",
        "bias",
    },
    "cls_linear.": {f"{part}.{kind}" for part in (0, 1) for kind in ("weight", "bias")},
}
"""Keys of the heads of a captioner and of a probe, where a checkpoint has them."""
_SCORE = {"weight": "similarity.weight", "bias": "similarity.bias"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a checkpoint of CLIP4VLA does not say about how it was trained."""

    fusion: Level | None = None
    """Global-to-local if the checkpoint has a cross transformer for retrieval, else global-to-global."""
    token: SoundToken | None = None
    """As in the authors' fine-tuning on MSR-VTT and VATEX, 0.5, where the checkpoint has tokens."""
    segments: int = 16
    """Of sound at most, from the middle: 16 for MSR-VTT, 6 for VATEX and AudioCaps."""
    absent: Absent = "zeros"
    """What a clip without sound is scored by: as published, with a zero vector for it."""


def import_clip(source: str, path: Path, *, tokenizer: str = CLIP) -> Run:
    """Make a run of a CLIP: its text and vision towers, and an audio tower to be trained.

    The audio tower is CLIP4VLA's before training: the vision tower with fresh sound tokens.

    Args:
        source: A state_dict of OpenAI's CLIP, as safetensors or a pickle without code; a folder of
            the `transformers` format, which is copied; or a hub name, which the run refers to.
        path: The run directory to make.
        tokenizer: For a state_dict, as for `read_tokenizer`.

    Returns:
        The run, finished.

    Raises:
        UserError: The source is none of these, or not whole; `path` is not empty.
    """
    _require_free(path)
    file = Path(source)
    towers = (
        towers_of_state(read_published(file), tokenizer) if file.is_file() else towers_at(source)
    )
    name = TOWERS if file.exists() else source
    experiment = Experiment(
        system="clip",
        model=TriModal(
            text=ClipText(name=name),
            vision=ClipVision(name=name),
            audio=_fresh_audio(name, towers),
        ),
    )
    with _appearing(path) as run:
        run.start(experiment, file_signature(file) if file.is_file() else source)
        if file.exists():
            towers.write(run.path / TOWERS)
        model = fresh_model(run.experiment())
        run.finish(model, experiment.objective.build(), Progress())
    return Run(path)


def import_clip4vla(file: Path, path: Path, *, tokenizer: str = CLIP, recipe: Recipe) -> Run:
    """Make a run of a checkpoint of CLIP4VLA, equal to the authors' model in single precision.

    Args:
        file: Its state_dict: `pytorch_model.bin`, or the same as safetensors. The parts of a captioner
            and of a probe are kept in the run as `captioner.safetensors` and `probe.safetensors`.
        path: The run directory to make.
        tokenizer: As for `read_tokenizer`.
        recipe: What the checkpoint does not say.

    Returns:
        The run, finished.

    Raises:
        UserError: A key is unknown or missing, or the recipe does not fit; `path` is not empty.
    """
    _require_free(path)
    if recipe.segments < 1:
        raise UserError(f"--segments {recipe.segments}: give at least 1.")
    parts = _parts(read_published(file))
    towers = towers_of_state(parts["clip."], tokenizer)
    sound = sound_state(parts["audio.visual."], towers)
    fusion, fusion_state = _fusion(parts, towers, recipe)
    experiment = _experiment(towers, fusion, _token(parts["audio.visual."], recipe), recipe)
    with _appearing(path) as run:
        run.start(experiment, file_signature(file))
        towers.write(run.path / TOWERS)
        for name, tensors in _kept(parts).items():
            write_atomically(run.path / name, save(tensors))
        model = fresh_model(run.experiment())
        model.audio.load_state_dict(sound)
        model.audio.own_trunk()
        if model.fusion is not None:
            model.fusion.load_state_dict(fusion_state)
        run.finish(model, experiment.objective.build(), Progress())
    return Run(path)


def _parts(published: Published) -> dict[str, Published]:
    """The checkpoint by its parts; those that it does not have are empty."""
    unknown = [name for name in published.tensors if not name.startswith(PARTS)]
    published.refuse_keys(unknown)
    parts = {prefix: published.part(prefix) for prefix in PARTS}
    for prefix, known in _KEPT.items():
        if held := parts[prefix].tensors.keys():
            parts[prefix].refuse_keys(held - known, known - held)
    return parts


def _for_retrieval(parts: dict[str, Published]) -> bool:
    """Whether the cross transformer scores pairs; without `similarity_dense` it writes captions."""
    return bool(parts["similarity_dense."].tensors)


def _kept(parts: dict[str, Published]) -> dict[str, dict[str, Tensor]]:
    """Parts without a model here, by file name; a captioner is its head and its transformer."""
    captioner = ("cls.predictions.",) if _for_retrieval(parts) else ("cls.predictions.", "cross.")
    files = {CAPTIONER: captioner, PROBE: ("cls_linear.",)}
    kept = {
        file: {
            prefix + name: value.clone(memory_format=torch.contiguous_format)
            for prefix in prefixes
            for name, value in parts[prefix].tensors.items()
        }
        for file, prefixes in files.items()
    }
    return {file: tensors for file, tensors in kept.items() if tensors}


def _token(audio: Published, recipe: Recipe) -> SoundToken:
    token = recipe.token
    if token is None:
        return 0.5 if has_sound_tokens(audio) else "none"
    if token != "none" and not has_sound_tokens(audio):
        raise UserError(
            f"--sound-token: {audio.file} was trained without sound tokens: leave it out."
        )
    if not isinstance(token, str) and not 0 <= token <= 1:
        raise UserError(
            f"--sound-token {token:g}: give a number from 0 (verbal) to 1 (nonverbal), or 'both' "
            "(published as 3), 'clip' (2) or 'none' (-1)."
        )
    return token


def _fresh_audio(name: str, towers: ClipTowers) -> ClipAudio:
    patch: int = towers.vision.patch_size
    side = PICTURE if PICTURE % patch == 0 else towers.vision.image_size // patch * patch
    return ClipAudio(name=name, frames=side, log_mel=LogMel(mels=side))


def _experiment(
    towers: ClipTowers, fusion: GlobalToGlobal | Cross, token: SoundToken, recipe: Recipe
) -> Experiment:
    """How the authors fine-tune and test; no stages, for the training is done."""
    side: int = towers.vision.image_size
    words = isinstance(fusion, Cross) and fusion.level == "local_to_local"
    model = TriModal(
        text=ClipText(name=TOWERS, tokens=words, longest=TEXT_SLOTS),
        vision=ClipVision(
            name=TOWERS, frames_per_second=1.0, max_frames=FRAME_SLOTS, pooling="mean_of_unit"
        ),
        audio=ClipAudio(
            name=TOWERS,
            token=token,
            log_mel=LogMel(mels=side),
            frames=side,
            longest=recipe.segments,
        ),
        fusion=fusion,
    )
    objective = InfoNCE(temperature=0.01, learned=False, shared=True, directions="to_first")
    return Experiment(system="clip4vla", model=model, objective=objective)


def _fusion(
    parts: dict[str, Published], towers: ClipTowers, recipe: Recipe
) -> tuple[GlobalToGlobal | Cross, dict[str, Tensor]]:
    """The fusion that was trained, or that the recipe wants, and its state."""
    trained = _for_retrieval(parts)
    level = recipe.fusion or ("global_to_local" if trained else "global_to_global")
    if level == "global_to_global":
        return GlobalToGlobal(absent=recipe.absent), {}
    cross = parts["cross."]
    if not trained:
        raise UserError(
            f"--fusion {level}: {cross.file} has no cross transformer that was trained for "
            "retrieval (no similarity_dense.*): choose global_to_global."
        )
    form: Form = "clip" if cross.depth(_BLOCKS["clip"][0]) else "bert"
    layers, heads = cross.depth(_BLOCKS[form][0]), _heads(cross, form, towers)
    with torch.device("meta"):
        ours = CrossTransformer(form=form, dim=towers.dim, layers=layers, heads=heads)
    state = cross.renamed(_cross_names(cross, form, layers), ours)
    state |= parts["similarity_dense."].renamed(_SCORE, ours)
    room = ours.positions.num_embeddings - TEXT_SLOTS - FRAME_SLOTS
    if recipe.segments > room:
        raise UserError(f"--segments {recipe.segments}: {cross.file} has room for {room}.")
    fusion = Cross(
        level=level,
        form=form,
        from_text=False,
        layers=layers,
        heads=heads,
        text_slots=TEXT_SLOTS,
        frame_slots=FRAME_SLOTS,
        segment_slots=recipe.segments,
        absent=recipe.absent,
    )
    return fusion, {f"cross.{name}": value for name, value in state.items()}


def _heads(cross: Published, form: Form, towers: ClipTowers) -> int:
    """As published: the clip form has those of the text tower, whatever its own width."""
    heads = towers.text_heads if form == "clip" else max(1, towers.dim // HEAD_WIDTH)
    if towers.dim % heads:
        raise UserError(
            f"{cross.file}: {heads} heads do not divide the {towers.dim} dimensions of its cross "
            "transformer: it is none of CLIP4VLA's two."
        )
    return heads


def _cross_names(cross: Published, form: Form, layers: int) -> dict[str, str]:
    spelled = {
        below if (below := f"embeddings.{theirs}") in cross.tensors else theirs: ours
        for theirs, ours in _EMBEDDINGS[form].items()
    }
    blocks, parts = _BLOCKS[form]
    pooler = _POOLER if form == "bert" else {}
    return spelled | pooler | block_names(blocks, "blocks.", layers, parts)


def _require_free(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} is not empty: choose another directory for the run.")


@contextmanager
def _appearing(path: Path) -> Generator[Run]:
    """A run in a hidden folder beside `path` that takes its place once all of it is written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".", suffix=".part") as place:
            run = Run(Path(place) / path.name)
            yield run
            run.path.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
