import pytest

from trichord_world.difficulty import Difficulty


@pytest.mark.parametrize(
    "wrong",
    [
        {"picture_noise": -1.0}, {"sound_noise": -0.1}, {"thing_scale": 0.0}, {"thing_scale": 1.3},
        {"loudness": 0.0}, {"loudness": 1.1}, {"omission": -0.1}, {"omission": 1.1},
    ],
)  # fmt: skip
def test_impossible_difficulties_are_refused(wrong):
    with pytest.raises(ValueError):
        Difficulty(**wrong)
