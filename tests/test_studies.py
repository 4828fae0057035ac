"""`studies/`: every result is written by a script that the table of studies names."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from trichord.types import Caption, Clip

ROOT = Path(__file__).parents[1]
STUDIES = ROOT / "studies"
TABLE = dict(
    re.findall(r"^\| `(\S+\.json)` \| `([^`]+)`", (STUDIES / "README.md").read_text(), re.MULTILINE)
)
"""Result file to command."""
NEEDS_A_CARD = {"gpu.json"}
"""Results that this project's machines cannot make: they have no GPU. They come from whoever has one."""


def writer(command):
    """The script that a command runs."""
    if command == "make torture":
        return ROOT / "tests" / "shared" / "counts.py"
    program, script, *_ = command.split()
    assert program == "python", command
    return ROOT / script


def test_the_table_has_all_results_and_no_others():
    results = {path.name for path in (STUDIES / "results").iterdir()}
    assert results | NEEDS_A_CARD == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_a_result_is_written_by_the_script_that_the_table_names(name):
    text = writer(TABLE[name]).read_text()
    stem = name.removesuffix(".json")
    assert re.search(rf'record\(\s*"{stem}"|/ "{re.escape(name)}"', text), TABLE[name]


def test_every_script_is_named_by_the_table_or_the_text_below_it():
    named = (STUDIES / "README.md").read_text()
    assert [path.name for path in STUDIES.glob("*.py") if path.name not in named] == []


def test_the_package_has_no_circle_and_no_class_name_for_two_things():
    spec = spec_from_file_location("structure", STUDIES / "structure.py")
    structure = module_from_spec(spec)
    spec.loader.exec_module(structure)
    assert len(structure.modules()) > 200
    assert structure.circles() == []
    assert structure.names_of_two() == {}


@pytest.fixture(scope="module")
def study():
    """Imports a script of `studies/`, which imports others beside it by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(STUDIES))
        before = {*sys.modules}
        yield lambda name: __import__(name)
        for name in {*sys.modules} - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(STUDIES)):
                del sys.modules[name]


def clips(*sentences):
    return [
        Clip(id=f"{i}", path=f"{i}.wav", captions=(Caption(text=text, about="audio"),))
        for i, text in enumerate(sentences)
    ]


def test_no_sentence_is_said_in_two_splits(study):
    parts = study("spoken_words").split(clips(*(f"sentence {i % 20}" for i in range(60))))

    said = [{clip.captions[0].text for clip in part} for part in parts.values()]
    assert [len(one) for one in said] == [14, 2, 4]
    assert len(set.union(*said)) == 20
    assert [{clip.split for clip in part} for part in parts.values()] == [
        {"train"},
        {"val"},
        {"test"},
    ]


@pytest.mark.parametrize("decibels", [10.0, 0.0, -5.0])
def test_noise_is_mixed_at_its_loudness_and_never_from_silence(study, decibels):
    random = np.random.default_rng(0)
    speech = random.normal(0, 0.1, 3_000)
    noise = np.concatenate([np.zeros(9_000), random.normal(0, 0.02, 3_000), np.zeros(9_000)])

    added = study("speech_sounds").mixed(speech, noise, decibels) - speech

    assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(
        decibels, abs=0.01
    )
    assert np.count_nonzero(np.abs(added) > 1e-6) == 3_000


def test_a_clip_without_a_word_is_no_hit_and_ties_count_by_the_mean_of_their_orders(study):
    right = np.eye(4, dtype=bool)
    scores = np.array([[3.0, 1, 1, 1], [2, 2, 0, 0], [5, 5, -np.inf, 5], [9, 9, 9, 1]])

    found = study("spoken_words").outcomes(scores, right)

    assert found == pytest.approx(np.array([[1, 1, 1], [0.5, 1, 0.75], [0, 0, 0], [0, 1, 0.25]]))


def test_both_ways_fused_follow_the_one_that_has_the_weight(study):
    words = study("spoken_words")
    vectors = words.Vectors(clips=np.eye(3), queries=np.eye(3), background=np.ones((2, 3)) / 3**0.5)
    other = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    condition = words.Condition(vectors, other, np.ones((2, 3)))

    for fuse in words.FUSIONS.values():
        assert fuse(condition, 0.01).argmax(axis=1).tolist() == [0, 1, 2]
        assert fuse(condition, 100.0).argmax(axis=1).tolist() == [1, 2, 0]


def test_full_text_search_finds_a_word_at_its_time(study):
    words = study("spoken_words")
    said = {
        "a": [words.SpokenWord("blue", 0.0, 0.5), words.SpokenWord("seven", 0.5, 1.0)],
        "b": [words.SpokenWord("green", 0.0, 0.5)],
    }
    heard = {
        "a": [words.SpokenWord("blue", 1.5, 2.0), words.SpokenWord("seven", 0.6, 1.0)],
        "b": [],
    }

    found = words.found_in_time(said, heard)

    assert (found["words"], found["found"]) == (3, pytest.approx(1 / 3))
    assert found["without a hit"] == ["green"]
    assert found["hit of another word or time"] == ["blue"]
    assert found["share of them recognised in time"] == pytest.approx(1 / 3)


def cells_of(study, *means, queries=40, seeds=2):
    """Hits in nine cells, each a world and a pair: so many of the first queries are found."""
    hits = study("cells").Hits
    keys = [(world, pair) for world in range(3) for pair in range(3)]
    rows = [np.arange(queries) < round(mean * queries) for mean in means]
    return {
        key: hits(np.tile(row.astype(float), (seeds, 1)), np.arange(queries) // 2)
        for key, row in zip(keys, rows, strict=True)
    }


def test_a_finding_holds_only_where_all_cells_and_the_interval_agree(study):
    difference = study("verdicts").difference
    low = cells_of(study, *[0.2] * 9)
    assert difference(cells_of(study, *[0.7] * 9), low).verdict == "holds"
    assert difference(low, cells_of(study, *[0.7] * 9)).verdict == "does not hold"
    one_against = difference(cells_of(study, *[0.7] * 8, 0.1), low)
    assert (one_against.verdict, one_against.clips_needed) == ("undecided", None)
    barely = difference(cells_of(study, *[0.225] * 9), low)
    assert barely.verdict == "undecided"
    assert barely.clips_needed > barely.clips == 60


def test_two_systems_are_level_only_if_the_whole_interval_says_so(study):
    difference = study("verdicts").difference
    same = cells_of(study, *[0.5] * 9)
    assert difference(same, same).level == "holds"
    assert difference(cells_of(study, *[0.9] * 9), same).level == "does not hold"
    assert difference(cells_of(study, *[0.525] * 9), same).level == "undecided"


def test_what_a_difference_varies_with_is_told_apart(study):
    difference = study("verdicts").difference
    first = cells_of(study, *[0.3, 0.5, 0.7] * 3)  # pairs differ, worlds do not
    spread = difference(first, cells_of(study, *[0.3] * 9)).spread
    assert spread["encoders"] == pytest.approx(0.2)
    assert (spread["worlds"], spread["seeds"]) == (0, 0)


def natural_cells(right_of, *, seeds=(0, 1), folds=range(1, 6)):
    """Cells of both starts, frozen and tuned, of ten clips a fold."""
    for kind in ("frozen", "tuned"):
        for start in ("scratch", "initial"):
            for seed in seeds:
                for fold in folds:
                    right = {f"{fold}-{n}": right_of(kind, start, seed, n) for n in range(10)}
                    key = {"kind": kind, "start": start, "size": 80, "fold": fold, "seed": seed}
                    yield key, {"right": right}


@pytest.mark.parametrize(
    ("better", "verdict", "difference"),
    [("initial", "holds", 0.4), ("scratch", "does not hold", -0.4), ("", "undecided", 0.0)],
)
def test_a_start_is_judged_by_the_paired_interval(study, better, verdict, difference):
    cells = natural_cells(lambda kind, start, seed, n: n < (7 if start == better else 3))
    found = study("natural_start_table").table(cells, ("at",), 80)["initial less scratch"]

    one = found["tuned"]["none"]["80"]
    assert (one["verdict"], one["difference"]) == (verdict, pytest.approx(difference))
    assert (one["seeds"], one["clips"]) == ([0, 1], 50)
    assert one["low"] <= one["difference"] <= one["high"]
    assert (one["low"] < one["high"]) == bool(better)


def test_a_seed_counts_when_all_its_folds_are_there(study):
    whole = natural_cells(lambda kind, start, seed, n: n < 5, seeds=(0,))
    part = natural_cells(lambda kind, start, seed, n: True, seeds=(1,), folds=(1, 2))
    found = study("natural_start_table").table([*whole, *part], ("at",), 80)

    assert found["initial less scratch"]["tuned"]["none"]["80"]["seeds"] == [0]
    table = found["accuracy by row, start, size and seed"]
    assert table["tuned"]["none"]["initial"]["80"] == {"0": 0.5}


def test_an_advantage_that_training_takes_away_is_named(study):
    def right_of(kind, start, seed, n):
        return n < (8 if (kind, start) == ("frozen", "initial") else 4)

    found = study("natural_start_table").table(natural_cells(right_of), ("at",), 80)
    lost = found["tuned advantage less frozen advantage"]["80"]

    assert lost["difference"] == pytest.approx(-0.4)
    assert lost["accuracies"] == [0.4, 0.4, 0.4, 0.8]
    assert lost["verdict"] == "does not hold"


def test_a_tie_counts_against_the_right_answer_and_chance_is_that_of_a_random_order(study):
    trunks = study("real_trunks")
    scores = np.array([[0.9, 0.9, 0.1], [0.5, 0.2, 0.1]])
    right = np.array([[True, False, False], [True, False, True]])
    assert trunks.hits(scores, right)[:, 0].tolist() == [0, 1]

    own = np.eye(30, dtype=bool)
    assert trunks.chance([own, own]) == {"R@1": 0.0333, "R@5": 0.1667, "R@10": 0.3333}
    two_of_four = np.array([[True, True, False, False]])
    assert trunks.chance([two_of_four]) == {"R@1": 0.5, "R@5": 1.0, "R@10": 1.0}


def test_folds_of_real_clips_leave_labels_out_and_ask_for_each_clip_once(study, tmp_path):
    (tmp_path / "avclips").mkdir()
    rows = [f"{i}.mp4,label {i % 12},caption {i}\n" for i in range(30)]
    (tmp_path / "avclips/clips.csv").write_text("file,label,caption\n" + "".join(rows))
    vectors = {"audio": {str(i): np.zeros(2) for i in range(30)}}
    folds = study("real_trunks").clip_folds(tmp_path, vectors)

    for fold in folds:
        labels = {
            part: {clip.labels[0] for clip in fold.clips if clip.split == part}
            for part in ("train", "val", "test")
        }
        assert not labels["train"] & labels["test"]
        assert not labels["train"] & labels["val"]
        assert not labels["val"] & labels["test"]
    asked = [one for fold in folds for one in fold.asks["audio->visual"][3]]
    assert sorted(asked, key=int) == [str(i) for i in range(30)]


def test_recordings_are_validated_on_a_fold_that_is_neither_trained_nor_tested_on(study):
    recordings = study("recordings")
    inner = {fold: recordings.inner(fold) for fold in range(1, 6)}
    assert sorted(inner.values()) == [1, 2, 3, 4, 5]
    assert all(fold != chosen for fold, chosen in inner.items())
    assert recordings.experiment(Path("towers"), 1, 2).hand_over == "best"
