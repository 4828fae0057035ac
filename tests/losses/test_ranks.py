"""Losses of rows that lie on several processes are those of one process that has them all."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from processes import spread
from spread_losses import OBJECTIVES, PLAIN, everything, sides, terms_of, whole


@pytest.fixture(scope="module", params=[1, 2, pytest.param(4, marks=pytest.mark.slow)])
def found(request, tmp_path_factory):
    """What each of some processes found; one needs no group."""
    if request.param == 1:
        return [everything()]
    folder = tmp_path_factory.mktemp("ranks")
    spread("spread_losses", request.param, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(request.param)]


def wish(rows, groups):
    """What a row wants, shared evenly among its positives."""
    if groups is None:
        return torch.eye(rows, dtype=torch.float64)
    same = (groups[:, None] == groups) & (groups >= 0) | torch.eye(rows, dtype=torch.bool)
    return same / same.sum(dim=1, keepdim=True).double()


def reference(kind, directions, one, other, scale, groups):
    """Of all rows, in double precision, by what autograd makes of whole matrices."""
    own = torch.eye(len(one), dtype=torch.bool)

    def asked(asking, answering):
        wanted = wish(len(one), groups if kind == "grouped" else None)
        logits = scale * asking @ answering.T
        if kind == "intra":
            alike = (scale * asking @ asking.T).masked_fill(own, -1e30)
            logits = torch.cat([logits, alike], dim=1)
            wanted = torch.cat([wanted, torch.zeros_like(wanted)], dim=1)
        return -(wanted * F.log_softmax(logits, dim=1)).sum(dim=1).mean()

    first, second = asked(one, other), asked(other, one)
    return {"both": (first + second) / 2, "a_to_b": first, "b_to_a": second}[directions]


def assert_near(found, expected):
    assert (found.double() - expected).norm() <= 1e-5 * expected.norm() + 1e-12


@pytest.mark.parametrize("case", PLAIN, ids=str)
def test_values_and_gradients_are_those_of_all_rows_in_double_precision(found, case):
    kind, rows, _, directions = case
    one, other, groups = sides(rows)
    inputs = [x.double().requires_grad_() for x in (one, other, torch.tensor(14.3))]
    expected = reference(kind, directions, *inputs, groups)
    gradients = torch.autograd.grad(expected, inputs)
    of_ranks = [each[case] for each in found]
    for each in of_ranks:
        assert each["value"] == of_ranks[0]["value"]
        assert_near(each["value"], expected.detach())
    # The mean over ranks of the gradients of parameters is the whole gradient.
    for side in (0, 1):
        assert_near(
            torch.cat([each["gradients"][side] for each in of_ranks]) / len(found), gradients[side]
        )
    assert_near(torch.stack([each["gradients"][2] for each in of_ranks]).mean(), gradients[2])


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_all_terms_of_a_batch_are_those_of_one_process(found, name):
    expected = whole(name, 0, 1)
    of_ranks = [each[name] for each in found]
    # All that the batch has: no term is lost because a rank lacks a side.
    assert set(expected) == {*terms_of(name), "value", "gradients"}
    for each in of_ranks:
        for term in set(expected) - {"gradients"}:
            assert each[term] == of_ranks[0][term]
            torch.testing.assert_close(each[term], expected[term], rtol=1e-5, atol=1e-6)
    for number, right in enumerate(expected["gradients"]):
        ours = [each["gradients"][number] for each in of_ranks]
        temperature = right.ndim == 0
        mean = torch.stack(ours).mean() if temperature else torch.cat(ours) / len(found)
        torch.testing.assert_close(mean, right, rtol=1e-4, atol=1e-6)


def test_a_term_needs_two_rows_wherever_they_are(found):
    for each in found:
        assert each["lonely"] == [[], ["av"]]
