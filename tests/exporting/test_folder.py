import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_families import embedding_gemma

from trichord.checkpoint import Run
from trichord.config import (
    EmbeddingGemmaAudio,
    EmbeddingGemmaText,
    EmbeddingGemmaVision,
    TriModal,
)
from trichord.exporting import graphs
from trichord.exporting.folder import export_run
from trichord.types import UserError
from trichord.types.tensors import Batch, Padded

TEXTS = ["a bell", "a red ball bounces on the beach", "someone says good morning slowly"]


def near(found, expected):
    np.testing.assert_allclose(found, expected, atol=2e-5)


def near_media(model, other, clips, tokens=()):
    ours, theirs = (one.embed_media(clips, tokens) for one in (model, other))
    near(theirs.vision, ours.vision)
    near(theirs.audio, ours.audio)
    np.testing.assert_array_equal(theirs.has_vision, ours.has_vision)
    np.testing.assert_array_equal(theirs.has_audio, ours.has_audio)
    return ours


def test_graphs_give_the_vectors_of_the_run_whatever_the_number_of_texts_and_clips(pair, clip):
    run, export = (one.load() for one in pair)
    for texts in (TEXTS, TEXTS[:1]):
        for toward in ("vision", "audio"):
            near(export.embed_text(texts, toward), run.embed_text(texts, toward))
    clips = [clip(0), clip(1, frames=0), clip(2, seconds=0), clip(3, frames=70, seconds=5)]
    near_media(run, export, clips)
    near_media(run, export, clips[:1])


@pytest.mark.slow
def test_a_prompt_goes_with_the_graph(deploy, tiny_clip4vla, tmp_path):
    text = EmbeddingGemmaText(name=str(embedding_gemma(tmp_path / "gemma")))
    run, export = (one.load() for one in deploy(replace(tiny_clip4vla, text=text)))
    assert export.text.prompt == run.text.prompt != ""
    near(export.embed_text(TEXTS), run.embed_text(TEXTS))


def test_a_part_that_no_graph_can_be_is_refused_with_the_remedy(
    made, source_of, tmp_path, monkeypatch
):
    """Before any other part is written, which takes minutes."""
    monkeypatch.setattr(graphs, "_traced", lambda _: pytest.fail("a graph was written"))
    name = str(embedding_gemma(tmp_path / "gemma"))
    run = made(
        TriModal(
            text=EmbeddingGemmaText(name=name),
            vision=EmbeddingGemmaVision(name=name),
            audio=EmbeddingGemmaAudio(name=name),
        )
    )
    with (
        pytest.raises(UserError, match=r"vision: its inputs have different numbers .* or --bf16"),
        export_run(source_of(run), tmp_path / "export", "graph"),
    ):
        pass
    with export_run(source_of(run), tmp_path / "export", "bfloat16"):
        pass
    halved = Run(tmp_path / "export").load()
    near_ones = (halved.embed_text(TEXTS) * run.load().embed_text(TEXTS)).sum(axis=1)
    assert near_ones.min() > 0.99


def test_an_export_is_a_run_that_can_be_moved(pair, tmp_path):
    run, export = pair
    assert export.complete
    assert export.metrics() == run.metrics() == [{"epoch": 0}]
    assert export.weighting == run.weighting == (0.75, 0.25)
    assert export.experiment().system == "made"
    moved = shutil.copytree(export.path, tmp_path / "elsewhere")
    assert Run(moved).load().fingerprint == export.load().fingerprint


def test_vectors_of_a_run_and_its_export_are_not_put_together(pair):
    run, export = (one.load() for one in pair)
    assert export.fingerprint != run.fingerprint
    for name, tower in export.encoders().items():
        assert tower.fingerprint != run.encoders()[name].fingerprint
        assert not list(tower.parameters())


def test_another_graph_in_its_place_is_refused(pair, tmp_path):
    moved = shutil.copytree(pair[1].path, tmp_path / "export")
    with (moved / "vision.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"The vision tower .* other weights"):
        Run(moved).load()
    (moved / "vision.onnx").unlink()
    with pytest.raises(UserError, match=r"vision\.onnx is missing: 'trichord export'"):
        Run(moved).load()


@pytest.mark.parametrize("content", [None, "{", '{"dims": 3}'])
def test_damaged_sizes_are_told(content, pair, tmp_path):
    moved = shutil.copytree(pair[1].path, tmp_path / "export")
    path = moved / "audio" / "sizes.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=r"sizes\.json is missing or damaged"):
        Run(moved).load()


def test_a_graph_does_not_train(pair):
    with pytest.raises(UserError, match="does not train: start from the run"):
        pair[1].load().vision.unfreeze()


def test_an_export_is_not_exported_again(pair, source_of, tmp_path):
    with (
        pytest.raises(UserError, match="is a graph already"),
        export_run(source_of(pair[1]), tmp_path / "again", "graph"),
    ):
        pass


def test_the_sound_token_can_still_be_chosen(steered, clip):
    run, export = (one.load() for one in steered)
    clips = [clip(0, channels=2), clip(1, seconds=0.1, channels=1), clip(2, seconds=0)]
    near_media(run, export, clips)
    ours = near_media(run, export, clips, (0.0, 0.3, 1.0))
    assert np.abs(ours.audio[0, 0] - ours.audio[0, 2]).max() > 0.01
    export.choose_audio_type("both")
    with pytest.raises(UserError, match="cannot listen at 'both'"):
        export.embed_media(clips)


def test_a_fusion_keeps_its_weights(steered, clip):
    run, export = (one.load() for one in steered)
    clips = [clip(seed, channels=2) for seed in range(3)]

    def scores(model):
        words = model.token_ids(TEXTS)
        longest = max(map(len, words))
        ids = torch.stack(
            [
                torch.nn.functional.pad(one, (0, longest - len(one)), value=model.text.end)
                for one in words
            ]
        )
        batch = Batch(
            ids=("a", "b", "c"),
            text=Padded.stack(list(ids[:, None])),
            vision=Padded.stack([model.vision_inputs(one) for one in clips]),
            audio=Padded.stack([model.audio_inputs(one) for one in clips]),
        )
        with torch.inference_mode():
            return model(batch).similarity

    torch.testing.assert_close(scores(export), scores(run), atol=1e-4, rtol=1e-4)


def test_eight_bits_give_the_same_vector_whatever_else_there_is(narrow, clip):
    run, export = (one.load() for one in narrow)
    together = export.embed_text(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(export.embed_text([text])[0], row)
    clips = [clip(0, channels=2), clip(1, frames=5, seconds=1, channels=2)]
    found = export.embed_media(clips)
    for i, one in enumerate(clips):
        alone = export.embed_media([one])
        np.testing.assert_allclose(alone.vision[0], found.vision[i], atol=1e-6)
        np.testing.assert_allclose(alone.audio[0], found.audio[i], atol=1e-6)
    exact = run.embed_media(clips)
    assert ((found.vision * exact.vision).sum(1) > 0.99).all()
    assert ((found.audio * exact.audio).sum(2) > 0.99).all()
    assert ((together * run.embed_text(TEXTS)).sum(1) > 0.98).all()
    assert np.abs(found.vision - exact.vision).max() > 1e-5  # or nothing was narrowed


def test_both_sound_tokens_are_part_of_a_graph(narrow, clip):
    export = narrow[1].load()
    with pytest.raises(UserError, match=r"without a mixture .* cannot listen at 0\.3"):
        export.embed_media([clip(0, channels=2)], (0.3,))


def test_half_precision_stays_in_torch_and_brings_its_towers_along(
    made, source_of, tiny_trimodal, clip, tmp_path
):
    run = made(tiny_trimodal)
    told = json.loads((run.path / "experiment.json").read_text())
    for name in ("text", "vision"):
        told["experiment"]["model"][name]["name"] = "./clip"
    shutil.copytree(tiny_trimodal.text.name, run.path / "clip")
    (run.path / "experiment.json").write_text(json.dumps(told))
    source = source_of(run)
    before = source.model.fingerprint
    with export_run(source, tmp_path / "export", "bfloat16"):
        pass
    assert source.model.fingerprint == before
    shutil.rmtree(run.path / "clip")
    export = Run(tmp_path / "export").load()
    assert export.fingerprint != before
    clips = [clip(0), clip(1)]
    ours, theirs = source.model.embed_media(clips), export.embed_media(clips)
    assert theirs.vision.dtype == np.float32
    assert np.abs(ours.vision - theirs.vision).max() > 1e-6
    for name in ("vision", "audio"):
        left, right = (getattr(one, name).reshape(2, -1) for one in (ours, theirs))
        assert ((left * right).sum(1) > 0.999).all()


def test_nothing_is_left_of_an_export_that_fails(made, source_of, tiny_trimodal, tmp_path):
    source = source_of(made(tiny_trimodal))

    def fail():
        with export_run(source, tmp_path / "export", "bfloat16") as run:
            assert run.load().text.arithmetic == "bfloat16"
            raise UserError("too far away")

    with pytest.raises(UserError, match="too far away"):
        fail()
    assert not list(tmp_path.iterdir())
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "mine").touch()
    with pytest.raises(UserError, match="is not empty: choose another directory"):
        fail()
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["mine"]


def test_what_writes_captions_stays_behind(steered):
    run, export = steered
    assert run.load().captioner is not None
    assert export.experiment().model.captioner is None
    assert export.load().captioner is None
