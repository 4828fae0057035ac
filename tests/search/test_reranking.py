import numpy as np
import pytest

from trichord.search.engine import SearchEngine
from trichord.search.filters import Filter
from trichord.search.indexing import index
from trichord.search.query import Query
from trichord.types import UserError
from trichord.types.tensors import Batch, Padded

TEXT = "a low bell rings slowly"


@pytest.fixture
def ready(start, clip4vla, archive, decoder):
    """Makes an engine over the archive."""

    def ready(**options):
        model = clip4vla(**options)
        collection = start(model)
        list(index(collection, model, decoder, [archive]))
        return SearchEngine(collection, model, decoder)

    return ready


def fused(engine, hit, modalities=("audio", "vision")):
    """What the model's own forward pass makes of a text and a moment alone."""
    model, moment = engine.model, hit.moment
    span = (moment.start, moment.end if moment.end > moment.start else None)
    [decoded] = engine.decoder.decode(moment.file, (span,), model.plan_of(modalities))
    batch = Batch(
        ids=("one",),
        text=Padded.stack(list(model.text.prepare([TEXT])[:, None])),
        vision=Padded.stack([model.vision_inputs(decoded)]),
        audio=Padded.stack([model.audio_inputs(decoded)]),
    )
    return model(batch).similarity.item()


def files(hits):
    return [(hit.moment.file.rsplit("/", 1)[-1], hit.moment.start) for hit in hits]


@pytest.mark.parametrize("level", ["tight", "local_to_local"])
def test_the_order_is_that_of_the_fusion(ready, level):
    engine = ready(level=level)
    first = engine.search(Query.of(TEXT), k=100, rerank=0)
    assert all(hit.reranked is None for hit in first)
    hits = engine.search(Query.of(TEXT), k=100)
    expected = {hit.moment: fused(engine, hit) for hit in first}
    assert [hit.reranked for hit in hits] == sorted((hit.reranked for hit in hits), reverse=True)
    for hit in hits:
        assert hit.reranked == pytest.approx(expected[hit.moment], abs=2e-6)
    assert files(hits) != files(first)
    assert len(hits) == len(first) == 10


def test_scores_stay_those_of_the_vectors(ready):
    engine = ready(level="local_to_local")
    first = engine.search(Query.of(TEXT), k=100, rerank=0)
    hits = engine.search(Query.of(TEXT), k=100)
    kept = {hit.moment: (hit.score, hit.visual, hit.audio) for hit in first}
    assert {hit.moment: (hit.score, hit.visual, hit.audio) for hit in hits} == kept


def test_only_the_best_are_looked_at_and_the_others_follow(ready):
    engine = ready(level="local_to_local")
    first = engine.search(Query.of(TEXT), k=100, rerank=0)
    hits = engine.search(Query.of(TEXT), k=100, rerank=4)
    assert set(files(hits[:4])) == set(files(first[:4]))
    assert hits[4:] == first[4:]
    whole = engine.search(Query.of(TEXT), k=100)
    assert engine.search(Query.of(TEXT), k=2) == whole[:2]


def test_what_cannot_be_read_any_more_keeps_its_place(ready, archive):
    engine = ready(level="local_to_local")
    first = engine.search(Query.of(TEXT), k=100, rerank=0)
    (archive / "red.mp4").unlink()
    (archive / "blue.mp4").write_bytes(b"no film")
    hits = engine.search(Query.of(TEXT, where=Filter(missing=True)), k=100)
    lost = {str(archive / "red.mp4"), str(archive / "blue.mp4")}
    for place, (hit, before) in enumerate(zip(hits, first, strict=True)):
        assert (hit.moment.file in lost) == (before.moment.file in lost), place
        assert (hit.reranked is None) == (hit.moment.file in lost)
        assert hit.moment.file not in lost or hit == before
    scores = [hit.reranked for hit in hits if hit.reranked is not None]
    assert scores == sorted(scores, reverse=True)


def test_equal_scores_stay_as_they_were(ready):
    engine = ready(level="local_to_local")
    engine.model.fusion.cross.similarity.weight.data.zero_()
    first = engine.search(Query.of(TEXT), k=100, rerank=0)
    assert files(engine.search(Query.of(TEXT), k=100)) == files(first)


def test_a_weight_of_zero_hides_a_modality_from_the_fusion(ready):
    engine = ready(level="local_to_local")
    for hit in engine.search(Query.of(TEXT, audio_weight=0.0), k=100):
        assert hit.reranked == pytest.approx(fused(engine, hit, ("vision",)), abs=2e-6)


def test_the_fusion_hears_at_the_sound_token_asked_for(ready, clip4vla):
    engine = ready(level="local_to_local")
    hits = engine.search(Query.of(TEXT, visual_weight=0.0, audio_type=1.0), k=100)
    engine.model = clip4vla(1.0, level="local_to_local")
    for hit in hits:
        assert hit.reranked == pytest.approx(fused(engine, hit, ("audio",)), abs=2e-6)


def test_pictures_and_sounds_are_not_searched_for_twice(ready, archive):
    engine = ready(level="local_to_local")
    hits = engine.search(Query.of(image=archive / "still.png"))
    assert all(hit.reranked is None for hit in hits)


@pytest.mark.parametrize("level", [None, "global_to_local"])
def test_where_the_index_says_all_nothing_is_looked_at_again(ready, level):
    hits = ready(level=level).search(Query.of(TEXT))
    assert len(hits) == 10
    assert all(hit.reranked is None for hit in hits)


def test_a_moment_whose_score_is_no_number_keeps_its_place(ready):
    engine = ready(level="local_to_local")
    engine.model.fusion.cross.similarity.bias.data.fill_(np.nan)
    first = engine.search(Query.of(TEXT), k=100, rerank=0)
    assert engine.search(Query.of(TEXT), k=100) == first


def test_a_text_without_room_and_a_negative_number_are_refused(ready):
    engine = ready(level="local_to_local", text_slots=4)
    with pytest.raises(UserError, match=r"--rerank 0: A row has .* text tokens") as caught:
        engine.search(Query.of("a red ball bounces on the beach"))
    assert "\n" not in str(caught.value)
    assert engine.search(Query.of("a red ball bounces on the beach"), rerank=0)
    with pytest.raises(UserError, match="--rerank is -1"):
        engine.search(Query.of("a ball"), rerank=-1)
