"""Visual and audio weights for searches with a run's model, learned on validation captions."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from trichord.checkpoint import Run
from trichord.config import Experiment
from trichord.evaluation.vectors import embed_source
from trichord.evaluation.weighting import learn_weighting
from trichord.features.source import Source
from trichord.models.embedder import Embedder
from trichord.types.files import write_atomically


def learn_search_weights(
    run: Run, experiment: Experiment, model: Embedder, sources: Sequence[Source]
) -> None:
    """Learn the default weights of searches, and write them into the run.

    Nothing is learned without validation clips, on the test split, or if the experiment lacks a
    modality.
    """
    chosen_here = len(sources) == 2 and not experiment.select_on_test
    if not chosen_here or not {"text", "audio", "vision"} <= set(experiment.modalities):
        return
    try:
        weighting = learn_weighting(embed_source(model, sources[1]))
    except ValueError:  # fewer than two validation clips have captions
        return
    write_atomically(run.path / "weighting.json", json.dumps(asdict(weighting), indent=2) + "\n")
