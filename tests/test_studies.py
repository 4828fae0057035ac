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
