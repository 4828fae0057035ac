from dataclasses import replace
from itertools import pairwise, product
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from trichord_world import drawing
from trichord_world.difficulty import Difficulty
from trichord_world.drawing import SIZES, picture, poses
from trichord_world.format import FRAMES_PER_SECOND, SIDE, stroke_times
from trichord_world.law import Background, Colour, Motion, Scene, Size, Speed, Thing
from trichord_world.sprites import COLOURS, sprite

CLEAN = Difficulty(picture_noise=0.0)
SCENE = Scene(
    id="test_0", thing="ball", colour="red", size="medium", motion="bounce", speed="medium",
    background="room", heard="ball", pitch="middle", tempo="medium", phrase=None, voice=None,
    silent=False, dark=False, sight_seed=5, sound_seed=6,
)  # fmt: skip
NEUTRAL = {"ink": (32, 26, 38), "cream": (252, 244, 222), "grey": (150, 150, 158)} | {
    "wood": (134, 94, 58), "drop": (176, 204, 216),
}  # fmt: skip


def nearest_colours(pixels):
    """The name of the palette's or a neutral colour nearest to each pixel."""
    names = [*COLOURS, *NEUTRAL]
    palette = np.array([*COLOURS.values(), *NEUTRAL.values()], float)
    distance = np.square(pixels[:, None].astype(float) - palette).sum(-1)
    return [names[k] for k in distance.argmin(1)]


def thing_mask(scene):
    """The pixels that the thing changes: against the same scene with a tiny thing."""
    shown = picture(scene, CLEAN).astype(int)
    empty = picture(scene, replace(CLEAN, thing_scale=0.1)).astype(int)
    return np.abs(shown - empty).max(-1) > 60


def test_a_picture_has_forty_eight_square_frames():
    frames = picture(SCENE)
    assert (frames.shape, frames.dtype) == ((48, 128, 128, 3), np.uint8)


def test_the_same_scene_is_the_same_picture():
    assert np.array_equal(picture(SCENE), picture(SCENE))


@pytest.mark.parametrize(
    "heard",
    [
        {"heard": "bell", "pitch": "low", "tempo": "fast"},
        {"phrase": "turn left", "voice": "en+m7"},
        {"sound_seed": 99, "silent": True},
    ],
)
def test_nothing_of_the_sound_changes_the_picture(heard):
    assert np.array_equal(picture(SCENE), picture(replace(SCENE, **heard)))


@pytest.mark.parametrize(
    "seen",
    [
        {"thing": "bird"}, {"colour": "green"}, {"size": "large"}, {"motion": "circle"},
        {"speed": "fast"}, {"background": "night"}, {"sight_seed": 6},
    ],
)  # fmt: skip
def test_everything_seen_changes_the_picture(seen):
    assert not np.array_equal(picture(SCENE, CLEAN), picture(replace(SCENE, **seen), CLEAN))


@pytest.mark.parametrize(
    ("thing", "background"), list(product(get_args(Thing), get_args(Background)))
)
def test_every_thing_can_be_drawn_before_every_background(thing, background):
    scene = replace(SCENE, thing=thing, background=background)
    share = thing_mask(scene).mean()
    assert 0.01 < share < 0.3


@pytest.mark.parametrize(("thing", "colour"), list(product(get_args(Thing), get_args(Colour))))
def test_a_things_own_colour_is_the_one_it_shows_most_of(thing, colour):
    pixels = np.asarray(sprite(thing, COLOURS[colour], 60, struck=False))
    names = nearest_colours(pixels[pixels[..., 3] > 250][:, :3])
    of_palette = [name for name in names if name in COLOURS]
    assert max(COLOURS, key=of_palette.count) == colour
    assert of_palette.count(colour) > 0.2 * len(names)


@pytest.mark.parametrize("thing", get_args(Thing))
def test_every_thing_shows_that_it_is_struck(thing):
    rest, struck = (
        np.asarray(sprite(thing, COLOURS["blue"], 60, struck=pose)) for pose in (False, True)
    )
    assert (np.abs(rest.astype(int) - struck).max(-1) > 60).mean() > 0.02


def test_no_two_things_are_alike():
    drawn = [
        np.asarray(sprite(thing, COLOURS["red"], 60, struck=False))[..., 3] > 128
        for thing in get_args(Thing)
    ]
    overlap = [
        (one & other).sum() / (one | other).sum()
        for k, one in enumerate(drawn)
        for other in drawn[:k]
    ]
    assert max(overlap) < 0.9


@pytest.mark.parametrize("thing", get_args(Thing))
def test_larger_sizes_cover_at_least_twice_the_area(thing):
    resting = replace(SCENE, thing=thing, motion="shake")
    small, medium, large = (
        thing_mask(replace(resting, size=size))[0].sum() for size in ("small", "medium", "large")
    )
    assert small * 2 < medium
    assert medium * 2 < large


def test_a_scaled_thing_is_as_much_smaller():
    full = thing_mask(replace(SCENE, size="large", motion="shake"))[0].sum()
    half = replace(CLEAN, thing_scale=0.5)
    shown = picture(replace(SCENE, size="large", motion="shake"), half).astype(int)
    empty = picture(replace(SCENE, size="large", motion="shake"), replace(half, thing_scale=0.1))
    area = (np.abs(shown - empty).max(-1) > 60)[0].sum()
    assert area == pytest.approx(full / 4, rel=0.25)


@pytest.mark.parametrize("speed", get_args(Speed))
def test_a_bouncing_thing_is_lowest_at_each_stroke(speed):
    mask = thing_mask(replace(SCENE, speed=speed, size="small"))
    lowest = [np.flatnonzero(rows).max() for rows in mask.any(axis=2)]
    struck = np.round(stroke_times(speed) * FRAMES_PER_SECOND).astype(int)
    assert all(lowest[k] >= max(lowest) - 3 for k in struck)
    for k in struck:
        assert lowest[k] > lowest[k - 1]


def motion_at(motion, speed, seconds):
    scene = replace(SCENE, motion=motion, speed=speed, size="small")
    return poses(scene, CLEAN, np.asarray(seconds))


@pytest.mark.parametrize("speed", get_args(Speed))
def test_strokes_fall_where_the_motion_turns(speed):
    strokes = stroke_times(speed)
    fine = np.arange(0, 4, 0.001)
    assert all(
        pose.y == pytest.approx(min(p.y for p in motion_at("circle", speed, fine)), abs=0.1)
        for pose in motion_at("circle", speed, strokes)
    )
    for motion in ("slide", "swing"):
        reach = [pose.x for pose in motion_at(motion, speed, fine)]
        ends = [pose.x for pose in motion_at(motion, speed, strokes)]
        assert set(np.round(ends, 1)) == {round(min(reach), 1), round(max(reach), 1)}
        assert all(one != other for one, other in pairwise(ends))


def test_a_shaking_thing_rests_until_a_stroke_and_rattles_then():
    before, after = motion_at("shake", "slow", [0.6, 2 / 3 + 0.001])
    assert before.turn == 0
    assert abs(after.turn) > 10


@pytest.mark.parametrize(("motion", "size"), list(product(get_args(Motion), get_args(Size))))
def test_a_things_centre_square_stays_within_the_picture(motion, size):
    for seed in range(5):
        scene = replace(SCENE, motion=motion, size=size, sight_seed=seed)
        for pose in poses(scene, CLEAN, np.arange(0, 4, 1 / 12)):
            reach = 0.5 * SIZES[size] * SIDE
            slack = 12  # a shaking thing may touch the edge
            assert reach - slack <= pose.x <= SIDE - reach + slack
            assert reach - slack <= pose.y <= SIDE - reach + slack


def test_a_faster_thing_trails_its_copies_farther_behind():
    slow, fast = (
        thing_mask(replace(SCENE, motion="slide", speed=speed, size="small")).any(axis=1)
        for speed in ("slow", "fast")
    )
    # Frames after half a second: the thing is amid its way at both speeds at some frame.
    assert fast.sum(axis=1).max() > 1.4 * slow.sum(axis=1).max()


@pytest.mark.parametrize("motion", ["swing", "shake"])
def test_a_turn_that_returns_is_drawn_as_if_it_were_new(motion, monkeypatch):
    seen = replace(SCENE, motion=motion)
    kept = picture(seen)
    turned = []

    def turn_anew(stamp, turn):
        turned.append(turn)
        return stamp._image.rotate(turn, Image.Resampling.BILINEAR, expand=True)

    monkeypatch.setattr(drawing._Stamp, "_at", turn_anew)
    np.testing.assert_array_equal(picture(seen), kept)
    assert len(turned) > 20


def test_noise_has_the_deviation_that_is_asked_for():
    grain = picture(SCENE, Difficulty(picture_noise=6.0)).astype(float) - picture(SCENE, CLEAN)
    inside = grain[(picture(SCENE, CLEAN) > 40) & (picture(SCENE, CLEAN) < 215)]
    assert inside.std() == pytest.approx(6, rel=0.02)


def test_a_dark_scene_has_no_picture():
    with pytest.raises(ValueError, match="dark"):
        picture(replace(SCENE, dark=True))
