import numpy as np
import pytest

from trichord.exporting.parity import Parity, compare, noise


def test_cosines_are_counted_where_there_is_something_to_compare():
    found = Parity()
    ours = np.eye(3, dtype=np.float32)
    theirs = np.array([[1, 0, 0], [0, 0.6, 0.8], [0, 0, 0]], np.float32)
    found.add(["a", "b", "c"], ours, theirs, np.array([True, True, False]))
    found.add(["d"], ours[:1], np.array([[0.8, 0.6, 0]], np.float32))
    assert found.names == ["a", "b", "d"]
    assert found.cosines == pytest.approx([1, 0.6, 0.8])
    assert found.lowest == pytest.approx(0.6)
    assert found.mean == pytest.approx(0.8)
    assert found.worst == "b"


def test_towers_are_compared_by_their_own_vectors(untrained_model, clip):
    clips = [("silent", clip(0, seconds=0)), ("dark", clip(1, frames=0)), ("whole", clip(2))]
    found = compare(untrained_model, untrained_model, ["a dog", "a bell"], clips)
    assert {name: one.names for name, one in found.items()} == {
        "text": ["a dog", "a bell"],
        "vision": ["silent", "whole"],
        "audio": ["dark", "whole"],
        "sound_text": ["a dog", "a bell"],
    }
    assert all(one.lowest == pytest.approx(1, abs=1e-6) for one in found.values())
    assert "audio" not in compare(untrained_model, untrained_model, ["a dog"], clips[:1])


def test_noise_fits_the_plan_and_is_the_same_each_time(tiny_clip4vla):
    model = tiny_clip4vla.build()
    [(_, first), *_] = drawn = list(noise(model, 2))
    assert [name for name, _ in drawn] == ["noise 1", "noise 2"]
    assert first.frames.shape == (3, 32, 32, 3)
    assert first.audio[16_000].shape == (2, 48_000)
    [(_, again)] = noise(model, 1)
    np.testing.assert_array_equal(again.frames, first.frames)
