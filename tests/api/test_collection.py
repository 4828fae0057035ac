from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

import trichord
from trichord.api.collection import Collection
from trichord.api.model import Model
from trichord.config import Cross
from trichord.search.filters import Filter
from trichord.search.query import Query
from trichord.types import Caption, Clip, UserError


def test_files_are_added_and_the_broken_one_is_named(model, folder, tmp_path):
    archive = trichord.Collection.create(tmp_path / "archive", model, seconds=1.0, hop=1.0)
    assert len(archive) == 0
    done = {one.file.rpartition("/")[2]: one for one in archive.add(folder)}
    assert {name: one.status for name, one in done.items()} == {
        "beep.wav": "no_video", "broken.mp4": "corrupt", "clip.mp4": "ok", "still.png": "no_audio"
    }  # fmt: skip
    assert len(archive) == 2 + 1 + 1
    assert {one.change for one in archive.adding(folder)} == {"unchanged"}
    assert [path.rpartition("/")[2] for path in archive.remove(folder / "clip.mp4")] == ["clip.mp4"]
    assert len(archive) == 2


def test_it_is_opened_with_the_model_that_made_it(archive, model, tiny_trimodal, tmp_path):
    again = trichord.Collection.open(tmp_path / "archive", model)
    assert [hit.moment for hit in again.search("a bell")] == [
        hit.moment for hit in archive.search("a bell")
    ]
    other = tiny_trimodal.build().eval()
    other.vision.head.weight.data += 1
    with pytest.raises(UserError, match="vectors of other weights"):
        trichord.Collection.open(tmp_path / "archive", Model("other", other))
    with pytest.raises(UserError, match="is not an archive"):
        trichord.Collection.open(tmp_path / "nowhere", model)


def test_moments_are_found_by_words_files_and_by_one_another(archive, folder):
    words = archive.search("a red ball", k=3)
    assert len(words) == 3
    assert all(a.score >= b.score for a, b in pairwise(words))
    by_sound = archive.search(audio=folder / "beep.wav", visual_weight=0.0, k=1)
    assert by_sound[0].moment.file.endswith("beep.wav")
    by_sight = archive.search(image=folder / "still.png", audio_weight=0.0, k=1)
    assert by_sight[0].moment.file.endswith("still.png")
    like = archive.search(like=by_sound[0].moment, by="audio", k=9)
    assert by_sound[0].moment not in [hit.moment for hit in like]
    assert like
    silent = archive.search("a bell", where=Filter(has_audio=False))
    assert {hit.moment.file.rpartition("/")[2] for hit in silent} == {"still.png"}


def test_what_the_model_does_not_read_is_logged_once(archive, caplog):
    for _ in range(2):
        archive.search("собака лает")
    archive.search("a dog barks")
    [record] = [one for one in caplog.records if one.name == "trichord.search"]
    assert "letters that are not Latin (Cyrillic)" in record.message


def test_files_are_grouped_and_followed_in_time(archive, folder):
    query = Query.of("a red ball -bell", audio_weight=0.0)
    groups = archive.grouped(query)
    assert [group.file for group in groups] == list(dict.fromkeys(
        hit.moment.file for hit in archive.search("a red ball -bell", audio_weight=0.0, k=50)
    ))  # fmt: skip
    curve = archive.timeline(query, folder / "clip.mp4")
    best = max(
        hit.score for group in groups if group.file.endswith("clip.mp4") for hit in group.hits
    )
    assert max(curve.score) == pytest.approx(best, abs=1e-5)
    assert len(curve.start) == len(curve.visual) == len(curve.audio)


def test_lines_of_a_file_that_the_archive_lacks_are_refused(archive, folder):
    assert archive.lines(folder / "clip.mp4") == ()
    with pytest.raises(UserError, match=r"nope\.mp4: the archive has no moments of such a file"):
        archive.lines(folder / "nope.mp4")


def test_captions_of_a_manifest_are_found_by_their_words(model, folder, tmp_path):
    archive = Collection.create(tmp_path / "told", model, seconds=1.0, hop=1.0)
    said = Caption(text="the lighthouse keeper waves", about="visual")
    clip = Clip(id="a", path=str(folder / "clip.mp4"), start=1.0, end=2.0, captions=(said,))
    archive.add(folder, metadata=[clip])
    found = archive.search("lighthouse", caption_weight=100.0, k=1)
    assert found[0].moment.file.endswith("clip.mp4")
    assert found[0].moment.start == 1.0
    assert found[0].caption == "the lighthouse keeper waves"


def test_what_is_added_meanwhile_is_found(archive, model, tmp_path):
    archive.search("a bell")
    another = tmp_path / "more"
    another.mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(another / "new.png")
    Collection.open(tmp_path / "archive", model).add(another)
    files = {hit.moment.file for hit in archive.search("a bell", k=50)}
    assert str(another / "new.png") in files
    assert np.isfinite([hit.score for hit in archive.search("a bell", k=50)]).all()


def test_a_fusion_that_reads_pairs_looks_again_as_often_as_asked(tiny_clip4vla, folder, tmp_path):
    text = replace(tiny_clip4vla.text, tokens=True, longest=32)
    fusion = Cross(level="local_to_local", from_text=False, heads=2, layers=1)
    pairs = replace(tiny_clip4vla, text=text, fusion=fusion).build().eval()
    with Model("pairs", pairs, workers=1) as model:
        archive = Collection.create(tmp_path / "pairs", model, seconds=1.0)
        archive.add(folder)
        for rerank in (0, 1, 50):
            hits = archive.search("a bell", k=3, rerank=rerank)
            assert sum(hit.reranked is not None for hit in hits) == min(rerank, 3)


def test_several_texts_have_the_hits_of_each(archive):
    texts = ["a red ball", "a bell -red"]
    assert archive.search(texts, k=3) == [archive.search(text, k=3) for text in texts]
    assert archive.search([]) == []
    plain = archive.search("a red ball", fold=False, k=50)
    scenes = archive.search("a red ball", k=50)
    assert len(plain) == sum(1 + len(hit.more) for hit in scenes) > len(scenes)
    least = plain[1].score
    assert archive.search("a red ball", fold=False, min_score=least, k=50) == plain[:2]
    with pytest.raises(UserError, match="--min-score"):
        archive.search("a red ball", min_score=float("nan"))
