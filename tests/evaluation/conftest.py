from dataclasses import replace

import numpy as np
import pytest
import torch

from trichord.config import Cross, GlobalToGlobal, Provenance
from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.gallery import CaptionVectors, ClipVectors, Mean
from trichord.evaluation.protocol import stamp
from trichord.evaluation.report import RetrievalReport, with_ceiling
from trichord.evaluation.retrieval import evaluate
from trichord.features.source import FeatureSource
from trichord.features.store import FeatureFolder, FeatureRow
from trichord.types import MODALITIES, Caption, Clip


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
    """Builds a report of one run on the clips above; `recall` replaces R@10 of visual<-visual.

    `settings` are what its provenance has besides the experiment's name.
    """

    def build(
        experiment="slava-av",
        seed=0,
        ceiling=None,
        recall=None,
        fused=False,
        settings=None,
        **protocol,
    ):
        vectors = replace(clips(), fused=Mean() if fused else None)
        rows = evaluate(vectors)
        if recall is not None:
            at_ten = {"R@10": Estimate(recall, recall - 0.1, recall + 0.1)}
            first = replace(rows[0], estimates=rows[0].estimates | at_ten)
            rows = (first, *rows[1:])
        return RetrievalReport(
            run=f"runs/{experiment}-{seed}",
            experiment=experiment,
            seed=seed,
            provenance=Provenance(
                settings={"system": experiment, **(settings or {})}, seeds=(seed,)
            ),
            protocol=replace(stamp(vectors, split="test"), **protocol),
            rows=with_ceiling(rows, ceiling),
        )

    return build


CAPTIONED = (
    ("both", ("audio", "a bell"), ("audio_visual", "a drum on a table")),
    ("silent", ("audio_visual", "a red ball"), ("visual", "a ball")),
    ("dark", ("audio", "a drum"), ("audio_visual", "a bell in the dark")),
    (
        "neither",
        ("audio_visual", "nothing"),
    ),
    ("plain",),
    ("more", ("audio_visual", "a drum"), ("audio_visual", "a bell rings")),
)
"""Clips of a source and their captions; their names say what some of them lack."""


@pytest.fixture
def fused_model(tiny_trimodal):
    """Builds a tiny model with a fusion, or without, whose weights are large enough to matter."""

    def build(level="global_to_global", **options):
        fusion = None
        if level == "global_to_global":
            fusion = GlobalToGlobal(**options)
        elif level:
            room = {"heads": 2, "layers": 1, "text_slots": 77, "frame_slots": 64}
            fusion = Cross(level=level, from_text=False, **room, **options)
        text = replace(tiny_trimodal.text, tokens=level == "local_to_local")
        torch.manual_seed(0)
        model = replace(tiny_trimodal, text=text, fusion=fusion).build().eval()
        for value in model.fusion.parameters() if model.fusion else ():
            torch.nn.init.normal_(value, std=0.3)
        return model

    return build


@pytest.fixture
def feature_source(tmp_path):
    """Builds a source of random cached features for a model; by default of the clips above."""

    def build(model, captioned=CAPTIONED, *, seed=0, modalities=MODALITIES, split=None):
        clips = [
            Clip(
                id=name,
                path="/",
                split=split,
                captions=tuple(Caption(text=text, about=about) for about, text in captions),
            )
            for name, *captions in captioned
        ]
        random, folder = np.random.default_rng(seed), FeatureFolder(tmp_path / f"features-{seed}")
        texts = list(dict.fromkeys(c.text for clip in clips for c in clip.captions))
        lengths = {
            "vision": [
                0 if c.id in ("dark", "neither") else 1 + i % 3 for i, c in enumerate(clips)
            ],
            "audio": [
                0 if c.id.startswith(("silent", "neither")) else 1 + i % 2
                for i, c in enumerate(clips)
            ],
            "text": [1 + i % 4 for i in range(len(texts))],
        }
        for name, counts in lengths.items():
            tower = model.encoders()[name]
            keys = texts if name == "text" else [clip.id for clip in clips]
            counts = counts if name != "text" or model.text.tokens else [1] * len(counts)
            folder.table(name, tower).put(
                [
                    FeatureRow(k, "o", "ok", random.normal(size=(n, tower.width)).astype("f4"))
                    for k, n in zip(keys, counts, strict=True)
                ]
            )
        return FeatureSource(clips, model, folder, modalities)

    return build
