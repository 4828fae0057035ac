import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from trichord.config import Provenance
from trichord.evaluation.classes.answers import answer, class_row
from trichord.evaluation.classes.classification import ClassProtocol, ClassReport
from trichord.evaluation.classes.confusion import UNREAD, cell_size, draw_confusion
from trichord.types import UserError

pytest.importorskip("matplotlib")


def report(classes, wrong=0, unread=0):
    """A report on two clips a class, some of the first clips taken for the class after theirs."""
    names = tuple(f"some_class_{i:03}" for i in range(classes))
    truth = np.repeat(np.arange(classes), 2)
    scores = np.eye(classes)[truth]
    scores[:wrong] = np.roll(scores[:wrong], 1, axis=1)
    scores[len(scores) - unread :] = np.nan
    every = class_row(answer(scores, truth), truth, names)
    protocol = ClassProtocol(
        kind="zero-shot",
        list="0",
        clips=len(truth),
        classes=classes,
        folds="all clips",
        tested=(len(truth),),
        modality="vision",
        features="unit vectors",
        audio_type="not heard",
        method="prompts",
        seed=0,
    )
    return ClassReport(
        run="r",
        experiment="e",
        seed=0,
        provenance=Provenance(settings={}),
        protocol=protocol,
        rows=(),
        every=every,
        classes=names,
    )


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


@pytest.fixture
def axes(monkeypatch):
    """The axes of every figure that is drawn."""
    from matplotlib.figure import Figure

    drawn = []
    original = Figure.add_axes
    monkeypatch.setattr(
        Figure, "add_axes", lambda self, *a, **k: drawn.append(original(self, *a, **k)) or drawn[-1]
    )
    return drawn


@pytest.mark.parametrize("classes", [2, 10, 50, 101])
def test_names_do_not_overlap_and_stay_within_the_picture(classes, axes, tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    draw_confusion(report(classes, wrong=1, unread=1), tmp_path / "c.png")
    (drawn,) = axes
    renderer = FigureCanvasAgg(drawn.figure).get_renderer()
    boxes = [label.get_window_extent(renderer) for label in drawn.get_yticklabels()]
    assert len(boxes) == classes
    assert all(above.y0 >= below.y1 - 1 for above, below in pairwise(boxes))
    across = [label.get_window_extent(renderer) for label in drawn.get_xticklabels()]
    assert all(left.x1 <= right.x0 + 1 for left, right in pairwise(across))
    assert min(box.x0 for box in boxes) > 0
    assert min(box.y0 for box in across) > 0
    assert [label.get_text() for label in drawn.get_xticklabels()][-1] == UNREAD


def test_letters_fit_their_cells_whatever_the_number_of_classes():
    for classes in (2, 10, 20, 21, 50, 60, 61, 101, 400):
        scale = cell_size(classes)
        assert scale.points >= 6
        assert scale.cell * 72 > scale.points
    assert [cell_size(n).numbers for n in (10, 21)] == [True, False]


def test_cells_are_shaded_by_the_share_of_their_row(axes, tmp_path):
    draw_confusion(report(3, wrong=1), tmp_path / "c.png")
    (drawn,) = axes
    np.testing.assert_allclose(drawn.images[0].get_array(), [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    assert [label.get_text() for label in drawn.get_xticklabels()] == [
        "some_class_000",
        "some_class_001",
        "some_class_002",
    ]
    assert sorted(text.get_text() for text in drawn.texts) == ["1", "1", "2", "2"]


def test_a_class_without_clips_is_an_empty_row(tmp_path, axes):
    whole = report(3)
    lines = [list(line) for line in whole.every.confusion]
    lines[1] = [0, 0, 0, 0]
    every = replace(whole.every, confusion=tuple(map(tuple, lines)))
    draw_confusion(replace(whole, every=every), tmp_path / "c.png")
    assert not np.asarray(axes[0].images[0].get_array())[1].any()
    assert pixels(tmp_path / "c.png").shape[0] > 100


def test_without_matplotlib_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'trichord\[metrics\]'"):
        draw_confusion(report(2), tmp_path / "none.png")
