"""What is refused before a run begins, in the user's words."""

from collections.abc import Sequence

from trichord.config import Experiment, Stage
from trichord.distributed import ranks
from trichord.features.source import Source
from trichord.types import UserError


def require_all(experiment: Experiment, sources: Sequence[Source], *, sharded: bool) -> None:
    """Refuse stages that cannot be trained as they are asked for.

    Raises:
        UserError: Names the stage and the option.
    """
    for stage in experiment.stages:
        require_heads(stage)
        require_captions(stage, sources[0])
        require_negatives(stage)
        require_enough(stage, sources[0])
        if sharded:
            require_spreadable(stage)


def require_heads(stage: Stage) -> None:
    """Refuse to train a trunk behind a head that does not train.

    Raises:
        UserError: Names the encoder.
    """
    if idle := set(stage.towers) - set(stage.trains):
        raise UserError(
            f"Stage '{stage.name}' trains the trunk of {', '.join(sorted(idle))} but not its head: "
            "add it to --stages.N.trains or take it out of --stages.N.towers."
        )


def require_captions(stage: Stage, source: Source) -> None:
    """Refuse clips without the captions that a stage draws from.

    Raises:
        UserError: Says which captions are needed and which there are.
    """
    there = {kind: len(numbers) for kind, numbers in source.captions.numbers.items()}
    for draw in stage.draws:
        if draw.captions and not any(there.get(kind) for kind in draw.captions):
            held = ", ".join(f"{count} {kind}" for kind, count in there.items()) or "none at all"
            raise UserError(
                f"Stage '{stage.name}' needs {' or '.join(draw.captions)} captions; the training "
                f"clips have {held}: choose an experiment that fits, or add captions."
            )


def require_negatives(stage: Stage) -> None:
    """Refuse chunks of no clips, and of captions that are written: these need no large mini-batch.

    Raises:
        UserError: Names the option.
    """
    if stage.chunk is None:
        return
    if stage.chunk < 1:
        raise UserError(f"--stages.N.chunk {stage.chunk}: give a number of clips, 1 or more.")
    if any("lm" in draw.terms for draw in stage.draws):
        raise UserError(
            f"Stage '{stage.name}' writes captions ('lm'), which contrasts nothing: leave out "
            "--stages.N.chunk and take a smaller --stages.N.batch-size."
        )


def require_enough(stage: Stage, source: Source) -> None:
    """Refuse more processes than a mini-batch has clips.

    Raises:
        UserError: Says how many there are.
    """
    clips = min(stage.batch_size, len(source.clips))
    if clips < ranks():
        raise UserError(
            f"Stage '{stage.name}' has {clips} clips in a mini-batch for {ranks()} processes: start "
            "fewer, or raise --stages.N.batch-size."
        )


def require_spreadable(stage: Stage) -> None:
    """Refuse to spread a text trunk whose table of words a captioner reads.

    Raises:
        UserError: Names the option.
    """
    if "text" in stage.towers and any("lm" in draw.terms for draw in stage.draws):
        raise UserError(
            f"Stage '{stage.name}' trains the text trunk and writes captions with its words: leave "
            "out --sharding."
        )
