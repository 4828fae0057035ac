"""Frames are resized as the processors of `transformers` do it, whatever their settings."""

import numpy as np
import pytest
from PIL import Image
from transformers import BitImageProcessorPil, SiglipImageProcessorPil

from trichord.config import ClipVision
from trichord.encoders.frames import FILTERS, frame_plan
from trichord.media import Decoder
from trichord.media.plan import DecodePlan, FramePlan


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "picture.png"
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (70, 90, 3), np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def decoder():
    with Decoder(workers=1) as decoder:
        yield decoder


SQUARE = {"height": 32, "width": 32}


@pytest.mark.parametrize("resample", FILTERS)
@pytest.mark.parametrize(
    "processor",
    [
        lambda resample: SiglipImageProcessorPil(size=SQUARE, resample=resample),
        lambda resample: BitImageProcessorPil(
            size={"shortest_edge": 40}, crop_size=SQUARE, resample=resample
        ),
    ],
    ids=["squeezed", "cropped"],
)
def test_every_filter_is_that_of_the_processor(picture, decoder, processor, resample):
    made = processor(resample)
    plan = frame_plan(ClipVision(), made)
    [ours], [whole] = (
        decoder.decode(picture, ((0.0, None),), DecodePlan(frames=one))
        for one in (plan, FramePlan(short_side=None))
    )
    assert whole.frames.shape == (1, 70, 90, 3)
    assert ours.frames.shape[1:3] == plan.target_size(90, 70)[::-1]
    inputs = [made(list(one.frames), return_tensors="np")["pixel_values"] for one in (ours, whole)]
    np.testing.assert_array_equal(*inputs)


def test_what_is_not_resized_keeps_its_size(picture):
    plan = frame_plan(ClipVision(), BitImageProcessorPil(crop_size=SQUARE, do_resize=False))
    assert plan.target_size(90, 70) == (90, 70)
