"""PQ, HLG and untagged video as the sRGB that is meant, against curves worked out here."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from trichord.media import DecodePlan, FramePlan
from trichord.media.hdr import HLG, LEVELS, PQ, light, to_srgb

PLAN = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=None))
ODD = Path(__file__).parents[3] / "shared" / "data" / "odd"
FROM_BT709 = np.array(
    [[0.627404, 0.329283, 0.043313], [0.069097, 0.919541, 0.011362], [0.016391, 0.088013, 0.895595]]
)
"""Linear BT.709 to linear BT.2020 (BT.2087)."""


def linear(value):
    """Light of an sRGB value of 0 to 255."""
    value = np.asarray(value) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def pq_signal(nits):
    """Inverse EOTF of SMPTE ST 2084."""
    power = (nits / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg_signal(scene):
    """OETF of ARIB STD-B67."""
    curved = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), curved)


def signal_of(colour, transfer):
    wide = FROM_BT709 @ linear(colour)
    return pq_signal(203 * wide) if transfer == PQ else hlg_signal(0.265 * wide)


def video(path, signal, transfer, primaries=9):
    """One lossless picture of a colour, given as signal of 0 to 1."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "gbrp16le"
        stream.codec_context.color_trc = transfer
        stream.codec_context.color_primaries = primaries
        pixels = np.full((16, 32, 3), np.round(65_535 * np.asarray(signal)), np.uint16)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format="gbrp16le")
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("colour", [(0, 200, 0), (180, 40, 90), (60, 60, 60), (225, 225, 225)])
def test_hdr_shows_the_colour_that_is_meant(decoder, tmp_path, transfer, colour):
    path = video(tmp_path / "a.mkv", signal_of(colour, transfer), transfer)
    [decoded] = decoder.decode(path, [(0.0, None)], PLAN)
    assert decoded.frames.shape == (1, 16, 32, 3)
    np.testing.assert_allclose(decoded.frames[0, 8, 16], colour, atol=3)


def test_levels_of_the_standards_are_white():
    # BT.2408: white paper has 203 cd/m², which is 58 % in PQ and 75 % in HLG.
    assert light(PQ)[round(0.5807 * (LEVELS - 1))] == pytest.approx(1, abs=0.01)
    assert light(HLG)[round(0.75 * (LEVELS - 1))] == pytest.approx(1, abs=0.01)
    assert light(PQ)[-1] == pytest.approx(10_000 / 203, rel=1e-4)


def test_highlights_keep_their_order_and_stay_below_full_scale():
    steps = np.array([0.8, 1.0, 1.5, 3.0, 49.0], np.float32)
    shown = to_srgb(steps.repeat(3).reshape(1, 5, 3), wide=False)[0, :, 0]
    assert shown.tolist() == sorted(shown.tolist())
    # 0.8 is 231 in sRGB; white paper becomes 0.926, which is 247.
    assert shown[:2].tolist() == [231, 247]
    assert len(set(shown[:4].tolist())) == 4


def test_primaries_of_ordinary_video_are_kept(decoder, tmp_path):
    path = video(tmp_path / "a.mkv", pq_signal(203 * linear((0, 200, 0))), PQ, primaries=1)
    [decoded] = decoder.decode(path, [(0.0, None)], PLAN)
    np.testing.assert_allclose(decoded.frames[0, 8, 16], (0, 200, 0), atol=3)


@pytest.mark.parametrize(("size", "luma"), [((1280, 720), 0.7152), ((640, 480), 0.587)])
def test_undeclared_colours_are_those_of_bt709_if_large(decoder, tmp_path, size, luma):
    # (0, 200, 0) as YCbCr by the luma weight of green; those of red and blue are for the chroma.
    red, blue = (0.2126, 0.0722) if luma > 0.6 else (0.299, 0.114)
    value = luma * 200 / 255
    levels = (16 + 219 * value, 128 - 112 * value / (1 - blue), 128 - 112 * value / (1 - red))
    frame = av.VideoFrame(*size, "yuv420p")
    for plane, level in zip(frame.planes, levels, strict=True):
        plane.update(bytes([round(level)]) * plane.buffer_size)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"qp": "4", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    [decoded] = decoder.decode(tmp_path / "a.mp4", [(0.0, None)], PLAN)
    np.testing.assert_allclose(decoded.frames[0, 100, 100], (0, 200, 0), atol=3)


@pytest.mark.skipif(not ODD.is_dir(), reason="the shared media folder is not here")
def test_the_green_of_a_disc(decoder):
    [decoded] = decoder.decode(ODD / "pq_green.mp4", [(0.0, None)], PLAN)
    np.testing.assert_allclose(decoded.frames[0, 100, 100], (0, 200, 0), atol=12)
