import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

from trichord.losses.info_nce import info_nce, intra_nce

DIRECTIONS = ("both", "a_to_b", "b_to_a")


def units(seed, rows, dim=12):
    """Unit vectors, the partners of which are near."""
    random = torch.Generator().manual_seed(seed)
    one = F.normalize(torch.randn(rows, dim, generator=random, dtype=torch.float64), dim=-1)
    other = one + 0.8 * torch.randn(rows, dim, generator=random, dtype=torch.float64) / dim**0.5
    return one, F.normalize(other, dim=-1)


def averaged(directions, first, second):
    return {"both": (first + second) / 2, "a_to_b": first, "b_to_a": second}[directions]


def plain(logits, wanted):
    """Mean loss of rows that spread their wishes."""
    return -(wanted * F.log_softmax(logits, dim=1)).sum(dim=1).mean()


def reference_nce(left, right, scale, directions, groups):
    logits = scale * left @ right.T
    same = (groups[:, None] == groups).double()
    wanted = same / same.sum(dim=1, keepdim=True)
    return averaged(directions, plain(logits, wanted), plain(logits.T, wanted))


def reference_intra(left, right, scale, directions):
    own = torch.eye(len(left), dtype=torch.bool)
    pairs = own.double()

    def asked(one, other):
        across = scale * one @ other.T
        alike = (scale * one @ one.T).masked_fill(own, -1e30)
        return plain(torch.cat([across, alike], dim=1), torch.cat([pairs, 0 * pairs], dim=1))

    return averaged(directions, asked(left, right), asked(right, left))


def worked(loss, one, other, scale, dtype):
    """Value and gradients of a loss."""
    inputs = [x.detach().to(dtype).requires_grad_() for x in (one, other, torch.tensor(scale))]
    value = loss(*inputs)
    return [value.detach(), *torch.autograd.grad(value, inputs)]


def assert_alike(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        error = (ours.double() - theirs).norm()
        assert torch.isfinite(ours).all()
        assert error <= 1e-5 * theirs.norm() + 1e-12


SIZES = [(1, 0), (2, 1), (7, 1), (7, 3), (64, 7), (64, 63), (1000, 300), (1000, 512)]


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize(("rows", "tile"), SIZES)
@pytest.mark.parametrize("scale", [1.0, pytest.param(14.3, marks=pytest.mark.slow), 100.0])
def test_values_and_gradients_are_those_of_double_precision(rows, tile, scale, directions):
    one, other = units(rows, rows)
    pairs = torch.arange(rows)
    tile = max(tile, 1)

    def nce(left, right, scale):
        return info_nce(left, right, scale, directions, tile=tile)

    def intra(left, right, scale):
        return intra_nce(left, right, scale, directions, tile=tile)

    for ours, theirs in (
        (nce, lambda *x: reference_nce(*x, directions, pairs)),
        (intra, lambda *x: reference_intra(*x, directions)),
    ):
        found = worked(ours, one, other, scale, torch.float32)
        assert_alike(found, worked(theirs, one, other, scale, torch.float64))


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize(("rows", "tile"), [(1, 1), (7, 3), (7, 50), (64, 10), (1000, 300)])
def test_rows_of_a_group_are_positives_of_one_another(rows, tile, directions):
    one, other = units(rows, rows)
    groups = torch.randint(rows // 3 + 1, (rows,), generator=torch.Generator().manual_seed(1))

    def ours(left, right, scale):
        return info_nce(left, right, scale, directions, tile=tile, groups=groups)

    found = worked(ours, one, other, 14.3, torch.float32)
    expected = worked(
        lambda *x: reference_nce(*x, directions, groups), one, other, 14.3, torch.float64
    )
    assert_alike(found, expected)


def test_groups_of_one_and_negative_numbers_change_nothing():
    one, other = units(3, 20)
    scale = torch.tensor(9.0, dtype=torch.float64)
    expected = info_nce(one, other, scale)
    for groups in (torch.arange(20).flip(0), torch.full((20,), -1), torch.arange(20) - 10):
        found = info_nce(one, other, scale, tile=6, groups=groups)
        torch.testing.assert_close(found, expected)


def test_two_equal_texts_worked_by_hand():
    # Two clips with one text, and a third: the two share their wish, half each.
    sight = torch.eye(3, dtype=torch.float64)
    text = torch.eye(3, dtype=torch.float64)[[0, 0, 2]]
    e = torch.e
    first = 1 - torch.log(torch.tensor(1 / (2 * e + 1)).double()) - 2  # clip 0: 1, 1, 0
    second = -torch.log(torch.tensor(1 / 3).double())  # clip 1: 0, 0, 0
    third = -torch.log(torch.tensor(e / (e + 2)).double())
    found = info_nce(
        sight, text, torch.tensor(1.0).double(), "a_to_b", tile=2, groups=torch.tensor([5, 5, 7])
    )
    torch.testing.assert_close(found, (first + second + third) / 3)


def test_a_batch_no_larger_than_a_tile_is_scored_whole_bit_for_bit():
    one, other = (side.float() for side in units(5, 33))
    scale = torch.tensor(14.3)
    for directions in DIRECTIONS:
        assert info_nce(one, other, scale, directions, tile=33) == info_nce(
            one, other, scale, directions
        )
        assert intra_nce(one, other, scale, directions, tile=33) == intra_nce(
            one, other, scale, directions
        )


def test_a_tiny_loss_keeps_its_digits():
    one = torch.eye(40)
    expected = torch.log1p(39 * torch.exp(torch.tensor(-30.0, dtype=torch.float64)))
    assert expected < 1e-11
    found = info_nce(one, one, torch.tensor(30.0), tile=16)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert info_nce(one, one, torch.tensor(30.0)) == 0  # what single precision makes of it whole


def test_rows_far_apart_in_score_do_not_overflow():
    one, other = units(8, 30)
    found = worked(
        lambda *x: info_nce(*x, tile=7), one * 30, other * 30, 100.0, torch.float32
    )  # scores of up to ninety thousand
    assert all(torch.isfinite(each).all() for each in found)


def test_zero_vectors_among_them_are_rows_like_others():
    one, other = units(9, 30)
    one[::4] = 0
    expected = worked(
        lambda *x: reference_nce(*x, "both", torch.arange(30)), one, other, 14.3, torch.float64
    )
    assert_alike(worked(lambda *x: info_nce(*x, tile=8), one, other, 14.3, torch.float32), expected)
    one[:], other[:] = 0, 0
    assert info_nce(one, other, torch.tensor(5.0), tile=8).item() == pytest.approx(3.4011974)


def test_gradients_of_what_was_weighed_and_of_one_side_alone():
    one, other = (side.float() for side in units(10, 25))
    scale = torch.tensor(14.3, requires_grad=True)
    left = one.clone().requires_grad_()
    whole = torch.autograd.grad(-2.5 * info_nce(left, other, scale), (left, scale))
    tiled = torch.autograd.grad(-2.5 * info_nce(left, other, scale, tile=9), (left, scale))
    torch.testing.assert_close(tiled, whole)
    (mirrored,) = torch.autograd.grad(info_nce(other, left, scale, tile=9), left)
    torch.testing.assert_close(-2.5 * mirrored, whole[0])
    (alone,) = torch.autograd.grad(info_nce(one, other, scale, tile=9), scale)
    torch.testing.assert_close(-2.5 * alone, whole[1])


def test_the_gradient_is_that_of_finite_differences():
    one, other = units(11, 5, 3)
    inputs = [x.requires_grad_() for x in (one, other, torch.tensor(3.0, dtype=torch.float64))]
    groups = torch.tensor([0, 1, 0, 2, 0])
    assert torch.autograd.gradcheck(lambda *x: info_nce(*x, tile=2), inputs)
    assert torch.autograd.gradcheck(lambda *x: info_nce(*x, tile=2, groups=groups), inputs)
    assert torch.autograd.gradcheck(lambda *x: intra_nce(*x, tile=2), inputs)


def test_half_precision_is_summed_in_single():
    one, other = (side.bfloat16() for side in units(12, 50))
    same = one.float(), other.float()
    for loss in (info_nce, intra_nce):
        found = worked(lambda *x, f=loss: f(*x, tile=16), one, other, 14.3, torch.bfloat16)
        exact = worked(lambda *x, f=loss: f(*x, tile=16), *same, 14.3, torch.float32)
        assert found[0].dtype == torch.float32
        assert found[0].item() == pytest.approx(exact[0].item(), rel=2e-3)  # the scale is rounded
        inputs = one.requires_grad_(), other.requires_grad_()
        scale = torch.tensor(14.3)
        value = loss(*inputs, scale, tile=16)
        assert value == exact[0]
        assert torch.autograd.grad(value, inputs)[0].equal(exact[1].bfloat16())


def test_autocast_changes_no_bit():
    one, other = (side.float() for side in units(13, 50))
    for loss in (info_nce, intra_nce):
        expected = worked(lambda *x, f=loss: f(*x, tile=16), one, other, 14.3, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            found = worked(lambda *x, f=loss: f(*x, tile=16), one, other, 14.3, torch.float32)
        assert all(a.equal(b) for a, b in zip(found, expected, strict=True))


class Watching(TorchDispatchMode):
    """Notes the size of every tensor that is made, and the multiplications of matrices."""

    def __init__(self):
        super().__init__()
        self.largest = 0
        self.products = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor) and one.untyped_storage().nbytes():
                self.largest = max(self.largest, one.untyped_storage().nbytes() // 4)
        name = func.overloadpacket.__name__
        if name in ("mm", "addmm", "addmm_"):
            first, second = [x for x in args if isinstance(x, torch.Tensor)][-2:]
            self.products += first.shape[0] * first.shape[1] * second.shape[1]
        return made


ROWS, DIM, TILE = 600, 8, 50


def watched(loss, **asked):
    with Watching() as seen:
        one, other = (side.float().requires_grad_() for side in units(14, ROWS, DIM))
        seen.largest = 0
        loss(one, other, torch.tensor(9.0, requires_grad=True), **asked).backward()
    return seen


@pytest.mark.parametrize(
    ("loss", "asked"),
    [
        *((info_nce, {"directions": directions}) for directions in DIRECTIONS),
        *((intra_nce, {"directions": directions}) for directions in DIRECTIONS),
        (info_nce, {"groups": torch.arange(ROWS) // 4}),
    ],
)
def test_no_tensor_is_larger_than_a_tile_or_the_rows(loss, asked):
    # In bytes of storage, so that a view of something larger is caught; twice for numbers of 8 bytes.
    assert watched(loss, tile=TILE, **asked).largest <= max(TILE**2, ROWS * DIM)
    assert ROWS * DIM < ROWS**2 / 10


def test_the_watch_sees_a_whole_matrix():
    assert watched(info_nce, tile=ROWS).largest >= ROWS**2


def test_four_products_of_the_square_are_enough():
    square = ROWS**2 * DIM
    assert watched(info_nce, tile=TILE).products == 4 * square
    assert watched(info_nce, tile=TILE, directions="b_to_a").products == 4 * square
    # Of a side's likeness to itself one half is enough, and the tiles on the diagonal.
    half = square / 2 + ROWS * TILE * DIM / 2
    assert watched(intra_nce, tile=TILE).products == 4 * square + 2 * 4 * half


def test_without_a_gradient_one_product_is_enough():
    one, other = (side.float() for side in units(15, ROWS, DIM))
    with Watching() as seen, torch.no_grad():
        info_nce(one, other, torch.tensor(9.0), tile=TILE)
    assert seen.products == ROWS**2 * DIM


def test_tiles_of_every_size_agree():
    one, other = units(16, 23)
    scale = torch.tensor(14.3, dtype=torch.float64)
    values = {info_nce(one, other, scale, tile=tile).item() for tile in range(1, 30)}
    assert max(values) - min(values) < 1e-13


def test_there_is_no_second_derivative_to_be_had():
    one, other = (side.requires_grad_() for side in units(17, 6))
    value = info_nce(one, other, torch.tensor(3.0, dtype=torch.float64), tile=4)
    (gradient,) = torch.autograd.grad(value, one, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
