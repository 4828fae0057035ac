import numpy as np
import pytest
import torch

from trichord.evaluation.classes.classifiers import METHODS, AsPaper
from trichord.evaluation.classes.folds import Fold
from trichord.evaluation.classes.probing import FrozenFeatures, probe, read_frozen, views
from trichord.features.source import FeatureSource, MediaSource
from trichord.features.store import FeatureFolder, FeatureRow
from trichord.types import Clip, UserError


@pytest.fixture
def cached(tmp_path):
    """Clips with random trunk features: c1 is silent, c2 dark; gives the source and the features."""

    def make(model, modalities=("audio", "vision")):
        random, folder, held = np.random.default_rng(0), FeatureFolder(tmp_path), {}
        clips = [Clip(id=f"c{i}", path="/") for i in range(3)]
        for name, steps in (("vision", [3, 1, 0]), ("audio", [1, 0, 2])):
            tower = model.encoders()[name]
            held[name] = [random.normal(size=(n, tower.width)).astype(np.float32) for n in steps]
            rows = zip((clip.id for clip in clips), held[name], strict=True)
            folder.table(name, tower).put([FeatureRow(k, "o", "ok", v) for k, v in rows])
        return FeatureSource(clips, model, folder, modalities), held

    return make


def test_features_are_the_mean_of_projected_steps_not_normalised(tiny_model, cached):
    source, held = cached(tiny_model)
    parts = read_frozen(tiny_model, source)
    assert parts["vision"].present.tolist() == [True, True, False]
    assert parts["audio"].present.tolist() == [True, False, True]
    for name, row in (("vision", 0), ("audio", 2)):
        head = tiny_model.encoders()[name].head
        with torch.no_grad():
            expected = head(torch.from_numpy(held[name][row])).mean(dim=0).numpy()
        np.testing.assert_allclose(parts[name].values[row], expected, rtol=1e-5, atol=1e-6)
        assert abs(np.linalg.norm(expected) - 1) > 1e-3
    assert not parts["audio"].values[1].any()


def test_only_what_the_source_gives_is_read(tiny_model, cached):
    source, _ = cached(tiny_model, ("audio",))
    assert set(read_frozen(tiny_model, source)) == {"audio"}


def test_features_do_not_depend_on_what_else_is_read(tiny_clip4vla, made_up):
    model = tiny_clip4vla.build().eval()
    clips = [Clip(id=name, path=f"/{name}.mp4") for name in ("a", "silent-b", "c")]
    together = read_frozen(model, MediaSource(clips, model, made_up, ("audio",)))["audio"]
    for row, clip in enumerate(clips):
        alone = read_frozen(model, MediaSource([clip], model, made_up, ("audio",)))["audio"]
        np.testing.assert_allclose(alone.values[0], together.values[row], atol=1e-5)
        assert alone.present[0] == together.present[row] == (row != 1)


SIGHT = FrozenFeatures(
    np.array([[1.0, 2], [3, 4], [9, 9], [0, 0]], np.float32), np.array([1, 1, 0, 0], bool)
)
SOUND = FrozenFeatures(
    np.array([[5.0, 6], [9, 9], [7, 8], [0, 0]], np.float32), np.array([1, 0, 1, 0], bool)
)


def test_the_mean_leaves_out_what_is_missing():
    (view,) = views({"vision": SIGHT, "audio": SOUND})
    assert view.values[:3].tolist() == [[3, 4], [3, 4], [7, 8]]
    assert view.present.tolist() == view.asked.tolist() == [True, True, True, False]


def test_one_modality_is_itself():
    (view,) = views({"audio": SOUND}, "concatenated")
    assert view.values[0].tolist() == [5, 6]
    assert view.present.tolist() == [True, False, True, False]


def test_end_to_end_each_kind_of_clip_has_a_classifier_that_learns_from_all_it_can():
    both, sight, sound = views({"vision": SIGHT, "audio": SOUND}, "concatenated")
    assert both.values[0].tolist() == [1, 2, 5, 6]
    assert both.present.tolist() == both.asked.tolist() == [True, False, False, False]
    assert sight.present.tolist() == [True, True, False, False]
    assert sight.asked.tolist() == [False, True, False, False]
    assert sound.present.tolist() == [True, False, True, False]
    assert sound.asked.tolist() == [False, False, True, False]


@pytest.fixture
def clouds():
    """Forty clips of two classes that sight tells apart and sound too, far apart in both."""
    random = np.random.default_rng(0)
    truth = np.arange(40) % 2
    values = (np.where(truth, 3.0, -3.0)[:, None] + random.normal(size=(40, 4))).astype(np.float32)
    return truth, values, Fold(name="1", train=np.arange(30), test=np.arange(30, 40))


def every(values):
    return FrozenFeatures(values, np.ones(len(values), bool))


def test_a_fold_is_taught_and_tested(clouds):
    pytest.importorskip("sklearn")
    truth, values, fold = clouds
    seen = views({"vision": every(values)})
    found = probe(seen, truth, np.arange(40) % 5, fold, METHODS["logistic"])
    assert found.scores.argmax(axis=1).tolist() == truth[30:].tolist()
    assert (found.learnt, found.unseen, found.untaught) == (30, {}, ())
    assert found.readable.all()


def test_clips_that_cannot_be_read_neither_teach_nor_answer(clouds):
    truth, values, fold = clouds
    present = np.ones(40, bool)
    present[[0, 5, 31]] = False
    broken = values.copy()
    broken[~present] = 1e6
    clean = values.copy()
    clean[~present] = 0
    first, second = (
        probe(views({"audio": FrozenFeatures(v, present)}), truth, np.arange(40), fold, AsPaper())
        for v in (broken, clean)
    )
    np.testing.assert_array_equal(first.scores, second.scores)
    assert np.isnan(first.scores[1]).all()
    assert first.readable.tolist() == [row != 1 for row in range(10)]
    assert first.learnt == 28


def test_clips_with_sight_alone_are_answered_by_what_sight_teaches(clouds):
    truth, values, fold = clouds
    silent = np.arange(40) % 4 != 1
    parts = {"vision": every(values), "audio": FrozenFeatures(values, silent)}
    found = probe(views(parts, "concatenated"), truth, np.arange(40), fold, AsPaper())
    assert [one.split(":")[0] for one in found.chosen] == ["vision and audio", "vision"]
    alone = probe(views({"vision": every(values)}), truth, np.arange(40), fold, AsPaper())
    rows = ~silent[30:]
    np.testing.assert_array_equal(found.scores[rows], alone.scores[rows])
    assert np.isfinite(found.scores).all()


def test_clips_of_a_kind_that_nobody_was_taught_are_named(clouds):
    truth, values, fold = clouds
    heard = np.arange(40) >= 35
    parts = {"vision": every(values), "audio": FrozenFeatures(values, heard)}
    found = probe(views(parts, "concatenated"), truth, np.arange(40), fold, AsPaper())
    assert found.untaught == tuple(range(35, 40))
    assert np.isnan(found.scores[5:]).all()
    assert found.readable.all()


def test_a_class_that_only_the_test_has_is_counted(clouds):
    truth, values, fold = clouds
    truth = truth.copy()
    truth[[32, 33, 36]] = 2
    found = probe(views({"vision": every(values)}), truth, np.arange(40), fold, AsPaper())
    assert found.unseen == {2: 3}
    assert np.isneginf(found.scores[:, 2]).all()


def test_a_fold_that_teaches_one_class_is_refused(clouds):
    truth, values, _ = clouds
    fold = Fold(name="2", train=np.arange(0, 30, 2), test=np.arange(30, 40))
    with pytest.raises(UserError, match="Fold 2: its training clips that can be read"):
        probe(views({"vision": every(values)}), truth, np.arange(40), fold, AsPaper())
