from dataclasses import replace

import numpy as np
import pytest

from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.protocol import stamp
from trichord.evaluation.report import Report
from trichord.evaluation.retrieval import CaptionVectors, ClipVectors, evaluate


@pytest.fixture
def clips():
    """Builds noisy clips: captions and sounds lie near their clip; clip 0 is dark, 1 silent."""

    def build(count=30, captions=3, noise=1.0, seed=0):
        rng = np.random.default_rng(seed)
        vision = rng.normal(size=(count, 16)).astype(np.float32)
        audio = (vision + noise * rng.normal(size=vision.shape)).astype(np.float32)
        has_vision, has_audio = np.ones((2, count), dtype=bool)
        has_vision[0], has_audio[1] = False, False
        vision[0], audio[1] = np.nan, 0.0

        def near(kind, rows):
            owner = np.repeat(np.flatnonzero(rows), captions)
            centre = np.where(has_vision[:, None], vision, audio)[owner]
            vectors = (centre + noise * rng.normal(size=centre.shape)).astype(np.float32)
            texts = tuple(f"{kind} {i} of {o}" for i, o in enumerate(owner))
            return CaptionVectors(texts, owner, vectors, vectors)

        every = np.ones(count, dtype=bool)
        return ClipVectors(
            ids=tuple(f"clip{i:03}" for i in range(count)),
            vision=vision,
            has_vision=has_vision,
            audio=audio,
            has_audio=has_audio,
            captions={
                "visual": near("visual", has_vision),
                "audio": near("audio", has_audio),
                "audio_visual": near("audio_visual", every),
            },
        )

    return build


@pytest.fixture
def report(clips):
    """Builds a report of one run on the clips above; `recall` replaces R@10 of visual<-visual."""

    def build(experiment="slava-av", seed=0, ceiling=None, recall=None, **protocol):
        vectors = clips()
        results = evaluate(vectors, resamples=50)
        if recall is not None:
            first = results[0]
            at_ten = {**first.forward.recall, 10: Estimate(recall, recall - 0.1, recall + 0.1)}
            forward = replace(first.forward, recall=at_ten)
            results = (replace(first, forward=forward), *results[1:])
        return Report(
            run=f"runs/{experiment}-{seed}",
            experiment=experiment,
            seed=seed,
            protocol=replace(stamp(vectors, split="test", resamples=50), **protocol),
            results=results,
            ceiling=ceiling,
        )

    return build
