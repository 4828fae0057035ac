import itertools

import pytest
import torch

from trichord.losses.tiles import Square, shaped


def covered(square):
    """How often each place of the square is in a tile, and in one whose row or column is ours."""
    counts = torch.zeros(3, square.size, square.size, dtype=torch.int64)
    for tile in square.tiles():
        rows, columns = tile.spans
        counts[0, rows, columns] += 1
        counts[1, rows, columns] += tile.ours[0]
        counts[2, rows, columns] += tile.ours[1]
    return counts


@pytest.mark.parametrize("tile", [1, 3, 4, 100])
@pytest.mark.parametrize("size", [0, 1, 7, 12])
def test_one_owner_has_every_place_once_whatever_the_tile(size, tile):
    square = Square(size=size, ours=slice(0, size), tile=tile)
    assert covered(square).eq(1).all()


@pytest.mark.parametrize("tile", [1, 2, 5])
@pytest.mark.parametrize("ours", list(itertools.combinations_with_replacement(range(8), 2)))
def test_a_rank_walks_its_rows_and_its_columns_and_nothing_else(ours, tile):
    start, stop = ours
    square = Square(size=7, ours=slice(start, stop), tile=tile)
    mine = torch.zeros(7, dtype=torch.int64)
    mine[start:stop] = 1
    places, rows, columns = covered(square)
    assert places.equal(mine[:, None] | mine[None, :])
    assert rows.equal(mine[:, None].expand(7, 7))
    assert columns.equal(mine[None, :].expand(7, 7))


@pytest.mark.parametrize("tile", [1, 2, 3, 9])
def test_half_a_square_has_all_that_is_above_the_diagonal_and_whole_tiles_on_it(tile):
    square = Square(size=8, ours=slice(2, 5), tile=tile, half=True)
    places = covered(square)[0]
    above = torch.ones(8, 8, dtype=torch.int64).triu(1)
    mine = torch.zeros(8, dtype=torch.int64)
    mine[2:5] = 1
    assert (places * above).equal((mine[:, None] | mine[None, :]) * above)
    for each in square.tiles():
        rows, columns = each.spans
        assert each.diagonal or rows.stop <= columns.start
        assert each.diagonal == (rows.start == columns.start)


def test_scores_are_scaled_products_and_no_larger_than_a_tile():
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 10, 4, generator=generator, dtype=torch.float64)
    square = Square(size=10, ours=slice(0, 10), tile=4)
    found = torch.full((10, 10), torch.nan, dtype=torch.float64)
    for tile, scores in square.scores(left, right, torch.tensor(3.0)):
        assert max(scores.shape) <= 4
        found[tile.spans] = scores
    torch.testing.assert_close(found, 3 * left @ right.T)


def test_a_matrix_takes_the_beginning_of_the_room():
    room = torch.arange(9.0)
    matrix = shaped(room, 2, 3)
    assert matrix.tolist() == [[0, 1, 2], [3, 4, 5]]
    matrix.zero_()
    assert room[:7].tolist() == [0, 0, 0, 0, 0, 0, 6]
