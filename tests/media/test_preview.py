"""Previews: one frame of a span at a size for people, beside the frames for a model."""

import numpy as np
import pytest
from PIL import Image

from trichord.media import DecodePlan, FramePlan

SMALL = FramePlan(per_second=1.0, short_side=16)


def test_a_preview_is_the_frame_nearest_to_the_middle_and_leaves_the_others_alone(
    make, decoder, movie
):
    spans = [(0.0, 4.0), (2.0, 6.0), (10.0, 11.0)]
    plain = decoder.decode(movie, spans, DecodePlan(frames=SMALL, rates=(16_000,)))
    with_preview = decoder.decode(
        movie, spans, DecodePlan(frames=SMALL, rates=(16_000,), preview=10_000)
    )
    whole = decoder.decode(
        movie, spans, DecodePlan(frames=FramePlan(per_second=1.0, short_side=None))
    )
    for one, other, full in zip(plain, with_preview, whole, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        assert one.audio.keys() == other.audio.keys()
        assert one.preview is None
        nearest = int(np.abs(full.times - (full.start + full.end) / 2).argmin())
        np.testing.assert_array_equal(other.preview, full.frames[nearest])


def test_its_longer_side_is_bounded_and_it_is_never_enlarged(make, decoder, movie):
    height, width = decoder.decode(
        movie, [(0.0, 1.0)], DecodePlan(frames=FramePlan(short_side=None))
    )[0].frames.shape[1:3]
    for most in (width // 2, 2 * width):
        (decoded,) = decoder.decode(movie, [(0.0, 1.0)], DecodePlan(frames=SMALL, preview=most))
        scale = min(1.0, most / max(width, height))
        assert decoded.preview.shape == (round(height * scale), round(width * scale), 3)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_images_and_animations_have_one_too(decoder, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    pages = [Image.new("RGB", (120, 60), colour) for colour in ("red", "lime", "blue")]
    moving = {"save_all": True, "append_images": pages[1:], "duration": 1000, "lossless": True}
    pages[0].save(path, **(moving if suffix == "webp" else {}))
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=3, short_side=16), preview=40)
    (decoded,) = decoder.decode(path, [(0.0, None)], plan)
    assert decoded.preview.shape == (20, 40, 3)
    expected = (0, 255, 0) if suffix == "webp" else (255, 0, 0)
    assert tuple(decoded.preview[10, 20].tolist()) == expected


def test_a_sound_has_none(make, decoder, tmp_path):
    path = make.sound(tmp_path / "a.wav", make.noise(1.0))
    (decoded,) = decoder.decode(
        path, [(0.0, None)], DecodePlan(frames=SMALL, rates=(16_000,), preview=40)
    )
    assert decoded.preview is None


def test_an_impossible_size_is_refused():
    with pytest.raises(ValueError, match="preview"):
        DecodePlan(frames=None, preview=0)
