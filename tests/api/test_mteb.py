"""MTEB's own evaluation of a model, and MTEB's tasks as clips: the same numbers both ways."""

import io
import os
import warnings
import wave

import av
import numpy as np
import pytest
from PIL import Image

from trichord import UserError, load
from trichord.api.model import Model
from trichord.corpora import mteb_task
from trichord.evaluation.retrieval import evaluate, tasks_named
from trichord.evaluation.vectors import embed_source
from trichord.features.source import MediaSource

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what MTEB's imports warn of is theirs
    mteb = pytest.importorskip("mteb", reason="needs the extra 'mteb'")
    import datasets
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

from trichord.api.mteb import MtebModel

pytestmark = pytest.mark.filterwarnings("ignore")  # MTEB's own

COUNT, RATE = 12, 16_000
WORDS = ("a", "red", "ball", "bounces", "on", "the", "beach", "low", "bell", "rings", "slowly")
"""Those that the tiny towers know: of others they would make the same vectors, and ties count otherwise."""
COLUMNS = {"a": "audio", "v": "video", "i": "image", "t": "text"}


def text(number):
    return " ".join(np.random.default_rng(number).permutation(WORDS)[:5])


def sound(number):
    time = np.arange(RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (200 + 90 * number) * time) * (1 + number % 3)
    place = io.BytesIO()
    with wave.open(place, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes((tone * 20_000).clip(-32_000, 32_000).astype("<i2").tobytes())
    return place.getvalue()


def pixels(number):
    return np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def still(number):
    place = io.BytesIO()
    Image.fromarray(pixels(number)).save(place, "png")
    return place.getvalue()


def film(number):
    place = io.BytesIO()
    with av.open(place, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            frame = av.VideoFrame.from_ndarray(pixels(number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return place.getvalue()


MAKERS = {"audio": (sound, "wav"), "image": (still, "png"), "video": (film, "mp4")}
TYPES = {"audio": datasets.Audio, "image": datasets.Image, "video": datasets.Video}


def table(columns, rows, folder, name):
    """A table of the hub's form: media as bytes in the cells of a Parquet file."""
    held = {"id": [f"{name}{i}" for i in range(rows)]}
    for column in columns:
        if column == "text":
            held["text"] = [text(i) for i in range(rows)]
        else:
            make, suffix = MAKERS[column]
            held[column] = [{"bytes": make(i), "path": f"{i}.{suffix}"} for i in range(rows)]
    made = datasets.Dataset.from_dict(held)
    for column in columns:
        if column != "text":
            made = made.cast_column(column, TYPES[column]())
    path = folder / f"{name}.parquet"
    made.to_parquet(path)
    return datasets.Dataset.from_parquet(str(path), cache_dir=str(folder / "cache"))


def task(category, folder, *, texts=2 * COUNT):
    """A task of MTEB's form; item i has the texts 2i and 2i + 1, if it is compared with texts."""
    sides = [[COLUMNS[one] for one in part] for part in category.split("2")]
    counts = [texts if side == ["text"] else COUNT for side in sides]
    each = [2 if side == ["text"] else 1 for side in sides]

    class Small(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f"Small{category.upper()}",
            description="Generated.",
            reference=None,
            dataset={"path": "none", "revision": "none"},
            type="Any2AnyRetrieval",
            category=category,
            modalities=sorted({*sides[0], *sides[1]}),
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="hit_rate_at_1",
            date=("2026-01-01", "2026-01-02"),
            domains=["Encyclopaedic"],
            task_subtypes=[],
            license="mit",
            annotations_creators="derived",
            dialect=[],
            sample_creation="found",
            bibtex_citation="",
        )

        def load_data(self, **_):
            right = {}
            for item in range(COUNT):
                for query in range(item * each[0], (item + 1) * each[0]):
                    right[f"q{query}"] = {
                        f"d{one}": 1 for one in range(item * each[1], (item + 1) * each[1])
                    }
            queries = table(sides[0], counts[0], folder, "q")
            corpus = table(sides[1], counts[1], folder, "d")
            self.dataset = {
                "default": {
                    "test": {
                        "queries": queries,
                        "corpus": corpus,
                        "relevant_docs": right,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return Small()


def files(folder, column):
    """The media of all items as files."""
    make, suffix = MAKERS[column]
    paths = [folder / f"{i}.{suffix}" for i in range(COUNT)]
    for i, path in enumerate(paths):
        path.write_bytes(make(i))
    return paths


def theirs(model, asked):
    result = mteb.evaluate(
        MtebModel(model, revision="1"),
        asked,
        cache=None,
        show_progress_bar=False,
        co2_tracker=False,
    )
    [scores] = result.task_results[0].scores["test"]
    return scores


def ours(model, clips, name):
    embedder = model.embedder
    source = MediaSource(list(clips), embedder, model.decoder)
    return {row.name: row for row in evaluate(embed_source(embedder, source), tasks_named([name]))}


@pytest.mark.parametrize(
    ("category", "name"),
    [("t2a", "audio<-audio"), ("t2v", "visual<-visual"), ("t2i", "visual<-visual")],
)
def test_texts_find_media_as_often_by_mteb_as_by_us(model, tmp_path, category, name):
    asked = task(category, tmp_path)
    found = theirs(model, asked)
    prepared = mteb_task.clips(tmp_path / "media", task=task(category, tmp_path))
    row = ours(model, prepared.clips, name)[name]
    assert row.sizes["queries"] == 2 * COUNT
    assert 0 < row.estimates["R@5"].value < 1  # else equality would say nothing
    for k in (1, 5, 10):
        assert row.estimates[f"R@{k}"].value == pytest.approx(found[f"hit_rate_at_{k}"], abs=1e-5)
    assert row.numbers["MRR"] == pytest.approx(found["mrr_at_1000"], abs=1e-5)


def test_sounds_find_texts_as_often_by_mteb_as_by_us(model, tmp_path):
    found = theirs(model, task("a2t", tmp_path))
    prepared = mteb_task.clips(tmp_path / "media", task=task("a2t", tmp_path))
    row = ours(model, prepared.clips, "audio<-audio")["audio->audio"]
    for k in (1, 5, 10):
        assert row.estimates[f"hit@{k}"].value == pytest.approx(found[f"hit_rate_at_{k}"], abs=1e-5)
        assert row.estimates[f"recall@{k}"].value == pytest.approx(
            found[f"recall_at_{k}"], abs=1e-5
        )


def test_sounds_find_pictures_in_one_space(model, tmp_path):
    found = theirs(model, task("a2i", tmp_path))
    vision = model.embed_vision([pixels(i) for i in range(COUNT)])
    scores = model.embed_audio(files(tmp_path, "audio")) @ vision.T
    rank = (scores > np.diag(scores)[:, None]).sum(1)
    assert found["hit_rate_at_1"] == pytest.approx(float((rank < 1).mean()), abs=1e-5)
    assert found["hit_rate_at_5"] == pytest.approx(float((rank < 5).mean()), abs=1e-5)


def test_a_clip_of_picture_and_sound_scores_the_mean_of_both(untrained_model, tmp_path):
    with Model("pair", untrained_model, workers=1) as pair:
        wrapped = MtebModel(pair, revision="1")
        asked = task("t2va", tmp_path)
        asked.load_data()
        data = asked.dataset["default"]["test"]

        class Loader:
            def __init__(self, dataset):
                self.dataset = dataset

        parts = [
            wrapped.encode(Loader(data[side]), task_metadata=asked.metadata, prompt_type=prompt)
            for side, prompt in (("queries", "query"), ("corpus", "document"))
        ]
        texts = list(data["queries"]["text"])
        seen = pair.embed_text(texts) @ pair.embed_vision(files(tmp_path, "video")).T
        heard = pair.embed_text(texts, "audio") @ pair.embed_audio(files(tmp_path, "audio")).T
        np.testing.assert_allclose(wrapped.similarity(*parts), (seen + heard) / 2, atol=1e-5)


def test_text_and_sound_in_one_query_are_refused(model, tmp_path):
    asked = task("at2v", tmp_path, texts=COUNT)
    with pytest.raises(UserError, match="SmallAT2V joins text and media in one item"):
        theirs(model, asked)


def test_two_spaces_are_not_compared(untrained_model, tmp_path):
    with (
        Model("pair", untrained_model, workers=1) as pair,
        pytest.raises(UserError, match="SmallA2I"),
    ):
        theirs(pair, task("a2i", tmp_path))


def test_clips_have_the_texts_of_their_item(tmp_path):
    prepared = mteb_task.clips(tmp_path / "media", task=task("t2a", tmp_path))
    assert [clip.id for clip in prepared.clips] == [f"d{i}" for i in range(COUNT)]
    first = prepared.clips[0]
    assert [caption.text for caption in first.captions] == [text(0), text(1)]
    assert {caption.about for caption in first.captions} == {"audio"}
    assert first.path.endswith(".wav")
    written = set((tmp_path / "media").iterdir())
    mteb_task.clips(tmp_path / "media", task=task("t2a", tmp_path))
    assert set((tmp_path / "media").iterdir()) == written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": ""}, "name it"),
        ({"task": "AudioCaps"}, "--task AudioCaps"),
        ({"task": "AudioCapsAVA2VRetrieval"}, "compares audio with video"),
    ],
)
def test_other_tasks_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        mteb_task.clips(tmp_path, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.weights
@pytest.mark.skipif(
    os.environ.get("HF_HUB_OFFLINE") == "1", reason="needs the hub: set HF_HUB_OFFLINE=0"
)
def test_published_clap_finds_audiocaps_as_published(tmp_path):
    """R@1 30.2 of `laion/clap-htsat-unfused`, text to audio, over 883 clips."""
    prepared = mteb_task.clips(tmp_path / "media", task="AudioCapsT2ARetrieval")
    assert len(prepared.clips) == 883
    with load("clip-clap") as model:
        row = ours(model, prepared.clips, "audio<-audio")["audio<-audio"]
        assert 100 * row.estimates["R@1"].value == pytest.approx(30.2, abs=0.5)
        found = theirs(model, mteb.get_task("AudioCapsT2ARetrieval"))
        assert 100 * found["hit_rate_at_1"] == pytest.approx(30.2, abs=0.5)
