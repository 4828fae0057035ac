import json
from io import StringIO
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from rich.console import Console

from trichord.config import Provenance
from trichord.evaluation.classes.answers import answer, class_row
from trichord.evaluation.classes.classification import (
    ClassProtocol,
    ClassReport,
    class_table,
    list_of,
    probed,
    worst,
)
from trichord.evaluation.classes.folds import Fold, labelled
from trichord.evaluation.classes.probing import FoldAnswers
from trichord.evaluation.report import read_report, write_json
from trichord.evaluation.tables import published_tables
from trichord.types import Clip, UserError

NAN = np.nan
HELD = labelled(
    [Clip(id=f"c{i}", path=f"/{i}", labels=("abc"[i % 3],)) for i in range(8)], Path("m")
)


def folds():
    """Two folds of four and three clips: the first right but for an unread one, the second poor."""
    ids = np.eye(3)
    right = ids[HELD.truth[:4]]
    right[3] = NAN
    first = FoldAnswers(
        fold=Fold(name="1", train=np.arange(4, 7), test=np.arange(4)),
        scores=right,
        readable=np.array([True, True, True, False]),
        learnt=3,
        chosen=("C 1",),
        unseen={},
        untaught=(),
    )
    second = FoldAnswers(
        fold=Fold(name="2", train=np.arange(4), test=np.arange(4, 7)),
        scores=np.array([[0.0, 1, 0], [0, 1, 0], [NAN, NAN, NAN]]),
        readable=np.array([True, True, True]),
        learnt=4,
        chosen=("C 10",),
        unseen={2: 1},
        untaught=(6,),
    )
    return [first, second]


@pytest.fixture
def report():
    found = probed(folds(), HELD)
    protocol = ClassProtocol(
        kind="probe",
        list=list_of(HELD),
        clips=8,
        classes=3,
        folds="two folds",
        tested=(4, 3),
        modality="audio",
        features="frozen",
        audio_type="1",
        method="some method",
        seed=0,
    )
    return ClassReport(
        run="a-run",
        experiment="an-experiment",
        seed=3,
        provenance=Provenance(settings={}),
        protocol=protocol,
        classes=HELD.classes,
        rows=found.folds,
        every=found.every,
        missing={"c3": "silent"},
        untaught=found.untaught,
        unlabelled=("x", "y"),
    )


def printed(shown, width=130):
    written = StringIO()
    Console(width=width, file=written).print(shown)
    return " ".join(written.getvalue().split())


def test_unread_clips_are_wrong_in_one_number_and_left_out_of_the_other(report):
    first, second = report.rows
    assert first.numbers == {"accuracy": 0.75, "of those read": 1.0}
    assert first.sizes["unread"] == 1
    # c4 is of class b: right; c5 of c, taken for b; nobody answers for c6, which could be read.
    assert second.numbers["accuracy"] == pytest.approx(1 / 3)
    assert second.numbers["of those read"] == pytest.approx(1 / 3)
    assert second.unseen == {"c": 1}
    assert report.untaught == ("c6",)
    assert report.every.estimates["accuracy"].value == pytest.approx(4 / 7)
    assert report.every.estimates["of those read"].value == pytest.approx(4 / 6)


def test_the_spread_is_the_mean_and_sample_deviation_over_folds(report):
    values = [0.75, 1 / 3]
    over = report.over_folds()
    assert (over.mean, over.sd) == pytest.approx((mean(values), stdev(values)))
    assert report.over_folds("of those read").mean == pytest.approx(mean([1, 1 / 3]))


def test_the_table_has_every_number_and_the_protocol(report):
    text = printed(class_table(report))
    for told in (
        "a-run: an-experiment, seed 3",
        "1 3 4 1 75.0 100.0 C 1",
        "2 4 3 0 33.3 33.3 C 10",
        "mean ± sd over 2 folds 54.2 ± 29.5 66.7 ± 47.1",
        "all test clips (95 %) 7 2 57.1 (",
        "chance 33.3",
        "(tested: 4, 3); audio, frozen; audio type 1; some method; clips that cannot be read count",
    ):
        assert told in text


def test_whatever_was_left_out_is_named(report):
    assert report.notes() == [
        "class 'c' has no training clip in fold 2: its 1 test clips there count as wrong",
        "1 clips cannot be read as asked; tested, they count as wrong: c3 (silent)",
        "1 clips have what too few training clips have; they count as wrong: c6",
        "2 clips have no label and are left out: x, y",
    ]


def test_the_worst_classes_are_named_with_what_they_are_taken_for(report):
    assert worst(report, 2) == "a 33.3 (taken for unread); c 50.0 (taken for b)"


def test_a_report_is_read_as_it_was_written(report, tmp_path):
    write_json(report, tmp_path / "probe.json")
    assert read_report(tmp_path / "probe.json", ClassReport) == report


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("[", "is not JSON"),
        ('{"kind": "retrieval"}', "is not a report of a probe"),
        ('{"kind": "classification", "format": 3}', "is broken at run"),
    ],
)
def test_a_file_that_is_no_such_report_is_refused(content, told, tmp_path):
    path = tmp_path / "probe.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=told):
        read_report(path, ClassReport)


def test_another_format_is_refused(report, tmp_path):
    path = tmp_path / "probe.json"
    write_json(report, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    with pytest.raises(UserError, match="is of format"):
        read_report(path, ClassReport)


def test_the_list_tells_clips_and_classes_apart():
    other = labelled(
        [Clip(id=f"c{i}", path=f"/{i}", labels=("abd"[i % 3],)) for i in range(8)], Path("m")
    )
    assert list_of(HELD) != list_of(other)
    assert list_of(HELD) == list_of(labelled(HELD.clips[::-1], Path("m")))


def test_without_folds_there_is_no_spread(report):
    from dataclasses import replace

    truth = np.array([0, 1])
    every = class_row(answer(np.eye(3)[truth], truth), truth, HELD.classes)
    alone = replace(report, rows=(), every=every, missing={}, untaught=(), unlabelled=())
    assert alone.over_folds() is None
    assert alone.notes() == []
    assert "mean ± sd" not in printed(class_table(alone))


def test_the_papers_table_is_as_printed():
    text = printed(*published_tables("classification"))
    assert "VATT-Medium 512~768 TPU days 2048 264M 84.7 89.6" in text
    assert "CLIP4VLA 48 V100 days 256 88M 86.8 91.9" in text
