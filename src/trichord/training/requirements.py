"""Checks before a run starts."""

from collections.abc import Sequence

import numpy as np

from trichord.config import Adafactor, Experiment, Stage, check
from trichord.distributed import world_size
from trichord.encoders.adapters import layers_to_adapt
from trichord.features.source import Source, refuse_masks
from trichord.models.embedder import Embedder
from trichord.training.sampler import pools_of
from trichord.types import UserError
from trichord.types.terms import term_of


def require_trainable(
    experiment: Experiment, model: Embedder, sources: Sequence[Source], *, sharded: bool
) -> None:
    """Refuse an experiment that cannot be trained on these clips with this model.

    Raises:
        UserError: Names the option and the remedy.
    """
    check(experiment)
    require_all(experiment, sources, sharded=sharded)
    require_widths(experiment, model)
    require_layers(experiment, model)
    if sources:
        require_masks(experiment, model, sources[0])


def require_all(experiment: Experiment, sources: Sequence[Source], *, sharded: bool) -> None:
    """Refuse stages that cannot be trained on these clips.

    Raises:
        UserError: Names the stage and the option.
    """
    for stage in experiment.stages:
        require_captions(stage, sources[0])
        require_enough(stage, sources[0])
        pools_of(stage, sources[0].clips)  # refuses if there are too few nonverbal clips
        kinds = {name.split("<-")[1] for name in stage.criterion}
        for validation in sources[1:]:
            if kinds and "sound" not in kinds and kinds.isdisjoint(validation.captions.numbers):
                raise criterion_error(stage)
        # A captioner uses the token embeddings of the text trunk.
        writes = any(term_of(name).loss == "words" for name in stage.terms)
        if sharded and writes and "text" in stage.towers:
            raise UserError(
                f"Stage '{stage.name}' trains the text trunk and writes captions with its words: leave "
                "out --sharding."
            )
        if sharded and stage.towers and isinstance(stage.optimizer, Adafactor):
            raise UserError(
                f"Stage '{stage.name}': --stages.N.optimizer adafactor keeps rows and columns of whole "
                "matrices: choose adamw, or leave out --sharding."
            )


def require_captions(stage: Stage, source: Source) -> None:
    """Refuse text terms in draws without captions, and clips without the captions to draw from.

    Raises:
        UserError: Names the draw and the term, or the required and the available captions.
    """
    counts = {kind: len(numbers) for kind, numbers in source.captions.numbers.items()}
    for number, draw in enumerate(stage.draws):
        textual = [term for term in draw.terms if "text" in term_of(term).sides]
        if textual and not draw.captions:
            raise UserError(
                f"Stage '{stage.name}' asks for '{textual[0]}', a term of texts, but draws no captions: "
                f"add them by --stages.N.draws.{number}.captions."
            )
        if draw.captions and not any(counts.get(kind) for kind in draw.captions):
            available = (
                ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none at all"
            )
            raise UserError(
                f"Stage '{stage.name}' needs {' or '.join(draw.captions)} captions; the training "
                f"clips have {available}: choose an experiment that fits, or add captions."
            )


def require_masks(experiment: Experiment, model: Embedder, source: Source) -> None:
    """Refuse terms of masked audio if it is read from the cache, or cannot be masked.

    Raises:
        UserError: Names the remedy.
    """
    if not any("masked" in term_of(name).sides for name in experiment.terms):
        return
    if "audio" in source.precomputed:
        refuse_masks()
    second = model.audio.spectrogram(np.zeros(model.audio.rate, np.float32))
    # An error if the encoder does not support it.
    model.audio.spec_augment(second, np.random.default_rng(0))


def require_layers(experiment: Experiment, model: Embedder) -> None:
    """Refuse adapters of layers that a trunk does not have.

    Raises:
        UserError: Names the layers that there are; or peft is missing.
    """
    for name, lora in experiment.adapters().items():
        layers_to_adapt(model.encoders()[name].trunk, lora, f"The {name} trunk")


def require_widths(experiment: Experiment, model: Embedder) -> None:
    """Refuse Matryoshka widths that are no part of a vector.

    Raises:
        UserError: Names the width and the size of the vectors.
    """
    whole = min(encoder.dim for encoder in model.encoders().values())
    for width in experiment.objective.matryoshka:
        if width >= whole:
            raise UserError(
                f"--objective.matryoshka {width}: the vectors have {whole} numbers: give shorter widths; "
                "the whole is trained anyway."
            )


def criterion_error(stage: Stage) -> UserError:
    """The error for validation clips that lack what a stage's criterion needs."""
    return UserError(
        f"The validation clips allow nothing that chooses the best epoch of stage "
        f"'{stage.name}' ({', '.join(stage.criterion)}): add captions or media to that split."
    )


def require_enough(stage: Stage, source: Source) -> None:
    """Refuse more processes than clips in a mini-batch, and a single clip for a contrastive loss.

    Raises:
        UserError: Names the number of clips.
    """
    clips = min(stage.batch_size, len(source.clips))
    if clips < 2 and any(term_of(name).contrasts for name in stage.terms):
        raise UserError(
            f"Stage '{stage.name}' contrasts clips with one another, and there is {clips} to learn from: "
            "add clips to the split 'train'."
        )
    if clips < world_size():
        raise UserError(
            f"Stage '{stage.name}' has {clips} clips in a mini-batch for {world_size()} processes: start "
            "fewer, or raise --stages.N.batch-size."
        )
