"""Systems against the first one, query by query."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from trichord.evaluation.bootstrap import Resampling, estimates
from trichord.evaluation.comparison import compare_paired
from trichord.evaluation.gallery import Mean
from trichord.evaluation.metrics import METRICS
from trichord.evaluation.paired import MEANS, _weighted_median, pair
from trichord.evaluation.query_ranks import QueryRanks, query_ranks
from trichord.evaluation.report import RetrievalReport, read_report, write_json
from trichord.evaluation.retrieval import answer, evaluate
from trichord.evaluation.tables import paired_table
from trichord.types import UserError

FEW = Resampling(200)


@pytest.fixture
def ranked_report(report, clips):
    """A report on clips as noisy as given, with its rows and ranks."""

    def build(experiment="slava-av", seed=0, noise=1.0, fused=False, **protocol):
        vectors = replace(clips(noise=noise), fused=Mean() if fused else None)
        return replace(
            report(experiment, seed, fused=fused, **protocol),
            rows=evaluate(vectors),
            ranks=query_ranks(answer(vectors), vectors),
        )

    return build


def ranks(rank, clip):
    """Stored ranks of one run, without ties."""
    return QueryRanks(
        clip=" ".join(map(str, clip)),
        better=" ".join(str(one - 1) for one in rank),
        tied=" ".join("0" for _ in rank),
    )


@pytest.fixture
def paired(report):
    """Gives the differences of systems with these ranks: a list for each seed."""
    seeds = [report(seed=seed) for seed in range(3)]

    def build(first, other, clip, how=FEW):
        systems = [
            [replace(seeds[i], ranks={"a": ranks(one, clip)}) for i, one in enumerate(some)]
            for some in (first, other)
        ]
        return pair(("one", systems[0]), ("two", systems[1]), how).tasks["a"]

    return build


def test_the_values_of_both_are_those_of_their_reports(ranked_report):
    first, other = ranked_report("mine"), ranked_report("yours", noise=2.0)
    [found] = compare_paired([first, other], "", FEW).paired
    assert len(found.tasks) == 7
    for name, task in found.tasks.items():
        for report, side in ((first, "first"), (other, "other")):
            [row] = [row for row in report.rows if row.name == name]
            measured = row.numbers | {m: e.value for m, e in row.estimates.items()}
            for measure, one in task.differences.items():
                if measure in measured:
                    assert getattr(one, side) == pytest.approx(measured[measure])
                assert one.difference == pytest.approx(one.other - one.first)
        assert (task.queries, task.clips) == (
            row.sizes["queries"],
            len(set(first.ranks[name].clip.split())),
        )
    assert (found.first, found.other) == ("mine", "yours")
    worse = found.tasks["visual<-sound"].differences["MRR"]
    assert worse.difference < 0
    assert worse.high < 0
    assert worse.excludes_zero


def test_a_metric_is_taken_by_seed_and_then_averaged(paired):
    """Ranks 1 and 19 make R@1 of a half; the mean rank, 10, would make it nothing."""
    task = paired([[1, 5], [19, 5]], [[10, 5], [10, 5]], [0, 1])
    assert task.differences["R@1"].first == 0.25
    assert task.differences["R@10"].first == 0.75
    assert task.differences["R@10"].other == 1.0
    assert task.differences["MRR"].first == pytest.approx((1 + 1 / 19 + 0.2 + 0.2) / 4)
    assert task.differences["nDCG@10"].other == pytest.approx(
        METRICS.find("ndcg@10").per_query(np.array([10.0, 5.0])).mean()
    )
    # Medians are of a run each: 3 and 12.
    assert task.differences["median rank"].first == 7.5


def test_clips_are_drawn_with_all_their_queries(paired):
    """Copies of each query are no further evidence."""
    rng = np.random.default_rng(3)
    first, other = (rng.integers(1, 20, size=40).tolist() for _ in range(2))
    once = paired([first], [other], range(40))
    often = paired(
        *([np.repeat(r, 5).tolist()] for r in (first, other)), np.repeat(np.arange(40), 5)
    )
    assert (once.queries, once.clips, often.queries, often.clips) == (40, 40, 200, 40)
    for measure, one in once.differences.items():
        another = often.differences[measure]
        assert (another.low, another.high) == pytest.approx((one.low, one.high))


def test_intervals_are_those_of_the_one_bootstrap(paired):
    rng = np.random.default_rng(4)
    first, other = rng.integers(1, 30, size=(2, 60))
    clip = np.arange(60) // 3
    task = paired([first.tolist()], [other.tolist()], clip, Resampling(500, 7))
    change = ((other <= 5).astype(float) - (first <= 5))[:, None]
    [wanted] = estimates(change, clip, resamples=500, seed=7)
    found = task.differences["R@5"]
    assert (found.difference, found.low, found.high) == pytest.approx(
        (wanted.value, wanted.low, wanted.high)
    )


def test_medians_are_resampled_as_numpy_takes_them(paired):
    rng = np.random.default_rng(5)
    first, other = rng.integers(1, 30, size=(2, 21))
    clip = np.arange(21) // 2
    found = paired([first.tolist()], [other.tolist()], clip).differences["median rank"]
    assert found.difference == np.median(other) - np.median(first)
    drawn = np.random.default_rng(0).integers(11, size=(200, 11))
    changes = []
    for clips in drawn:
        queries = np.concatenate([np.flatnonzero(clip == one) for one in clips])
        changes.append(np.median(other[queries]) - np.median(first[queries]))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(changes, (0.025, 0.975))))


@pytest.mark.parametrize("times", [[1, 1, 1], [0, 2, 2], [1, 0, 0], [3, 1, 0], [2, 0, 2]])
def test_a_weighted_median_is_that_of_repeated_ranks(times):
    rank = np.array([1.0, 4.0, 9.0])
    [found] = _weighted_median(rank, np.array([times]))
    assert found == np.median(np.repeat(rank, times))


def test_the_interval_holds_the_true_difference_about_95_times_in_100(paired):
    """Of 60 clips with three captions that hit or miss together; system two is better by 0.15."""
    rng = np.random.default_rng(6)
    clip, held = np.repeat(np.arange(60), 3), 0
    for _ in range(100):
        hard = rng.random(60)
        hits = [np.repeat(hard < share, 3) for share in (0.4, 0.55)]
        one, two = ([np.where(hit, 1, 99).tolist()] for hit in hits)
        found = paired(one, two, clip, Resampling(200)).differences["R@1"]
        held += found.low <= 0.15 <= found.high
    assert 89 <= held <= 100


def test_equal_systems_differ_in_nothing(paired):
    """Whatever the order of their seeds: sums in another order may differ in the last bit."""
    rng = np.random.default_rng(7)
    seeds = rng.integers(1, 50, size=(3, 80)).tolist()
    task = paired(seeds, [seeds[2], seeds[0], seeds[1]], range(80))
    for one in task.differences.values():
        assert (one.difference, one.low, one.high) == (0, 0, 0)
        assert not one.excludes_zero


def test_ties_count_as_the_protocol_says(clips, report):
    def system(name, tied):
        held = QueryRanks(clip="0 1", better="0 0", tied=tied)
        return replace(report(name, ties="expected"), ranks={"a": held})

    task = pair(("one", [system("one", "1 0")]), ("two", [system("two", "0 0")]), FEW).tasks["a"]
    assert task.differences["R@1"].first == 0.75  # one of two orders of the tied pair


def test_every_system_stands_against_the_first_named(ranked_report):
    reports = [
        ranked_report("mine", seed=1),
        ranked_report("audioclip", noise=2.0),
        ranked_report("mine", seed=0),
        ranked_report("more", fused=True),
    ]
    found = compare_paired(reports, "title", FEW)
    assert [(one.first, one.other) for one in found.paired] == [
        ("mine", "audioclip"),
        ("mine", "more"),
    ]
    assert found.paired[0].first_seeds == (0, 1)
    assert found.paired[0].left_out == ()
    assert found.paired[1].left_out == ("clip<-visual", "clip<-audio", "clip<-audio_visual")
    assert not any(
        one.excludes_zero for one in found.paired[1].tasks["visual<-visual"].differences.values()
    )


def test_seeds_of_one_system_are_no_pair(ranked_report):
    with pytest.raises(
        UserError, match=r"all that is named are seeds of one \(slava-av\): name an"
    ):
        compare_paired([ranked_report(seed=0), ranked_report(seed=1)], "", FEW)


def test_unlike_protocols_are_refused_by_name(ranked_report):
    with pytest.raises(UserError, match=r"runs/a-0 and runs/b-0 .* \(rule for ties: pessimistic"):
        compare_paired([ranked_report("a"), ranked_report("b", ties="expected")], "", FEW)


def test_a_report_without_ranks_says_what_makes_them(ranked_report, report):
    with pytest.raises(UserError) as refused:
        compare_paired([ranked_report("a"), report("old")], "", FEW)
    assert str(refused.value) == (
        "The report on runs/old-0 has no ranks of its queries, because an older Trichord wrote it: make "
        "it again with `trichord evaluate RUN MANIFEST`."
    )


def test_ranks_of_other_queries_are_never_paired(report):
    one, two = (
        replace(report(name), ranks={"a": ranks((1, 2, 3), clip)})
        for name, clip in (("a", (0, 1, 1)), ("b", (0, 0, 1)))
    )
    with pytest.raises(UserError, match="runs/a-0 and runs/b-0 have ranks of other queries for a"):
        pair(("a", [one]), ("b", [two]), FEW)


def test_the_table_says_method_clips_seeds_and_what_excludes_zero(ranked_report):
    found = compare_paired([ranked_report("mine"), ranked_report("yours", noise=3.0)], "", FEW)
    console = Console(width=80)
    with console.capture() as capture:
        console.print(paired_table(found.paired[0]))
    shown = capture.get()
    words = " ".join(shown.split())
    assert "paired percentile bootstrap over clips, 200 resamples, seed 0" in words
    assert "mine: 1 seed; yours: 1 seed" in words
    lines = [line for line in shown.splitlines() if line.split()[-1:] in (["yes"], ["no"])]
    assert len(lines) == 7 * (len(MEANS) + 1)
    one = found.paired[0].tasks["visual<-visual"].differences["R@1"]
    assert lines[0].split() == [
        "R@1", f"{one.first:.3f}", f"{one.other:.3f}", f"{one.difference:+.3f}",
        f"({one.low:+.3f},", f"{one.high:+.3f})", "yes",
    ]  # fmt: skip
    assert "visual<-visual 87 queries, 29 clips R@1" in words


def test_the_ranks_of_a_report_come_back_from_its_file(ranked_report, tmp_path):
    made = ranked_report()
    write_json(made, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json", RetrievalReport) == made
    held = json.loads((tmp_path / "report.json").read_text())["ranks"]["visual<-sound"]
    assert len(held["better"].split()) == len(held["tied"].split()) == len(held["clip"].split())
