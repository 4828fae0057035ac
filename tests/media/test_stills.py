"""Images of every allowed format: by content, upright, on white, reduced if large, animations as clips."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trichord.media import DecodePlan, Decoder, FramePlan, Limits
from trichord.media.failure import MediaError
from trichord.media.still import _prepare_reader

PLAN = DecodePlan(frames=FramePlan(count=8, short_side=None))
WHOLE = [(0.0, None)]
ODD = Path(__file__).parents[3] / "shared" / "data" / "odd"
COLOURS = ("red", "lime", "blue")
ORIENTATION = 0x0112


@pytest.fixture(scope="module", autouse=True)
def plugins():
    pytest.importorskip("pillow_heif").register_heif_opener()
    pytest.importorskip("pillow_jxl")


def halves(width=80, height=60):
    """Red at the left, blue at the right."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    return image


def shown(decoder, path, limit=30):
    """The colours at the left and the right of the only frame, rounded to 0 or 255."""
    [decoded] = decoder.decode(path, WHOLE, PLAN)
    assert decoded.status == "no_audio", decoded.label
    [frame] = decoded.frames
    corners = [frame[3, 3].astype(int), frame[-4, -4].astype(int)]
    nearest = [np.where(corner > 127, 255, 0) for corner in corners]
    assert all(abs(a - b).max() < limit for a, b in zip(corners, nearest, strict=True))
    return [tuple(colour.tolist()) for colour in nearest]


RED_BLUE = [(255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("suffix", "container", "options"),
    [
        ("heic", "heif", {}),
        ("avif", "avif", {}),
        ("jxl", "jxl", {}),
        ("jp2", "jp2", {}),
        ("j2k", "jp2", {}),
        ("tif", "tiff", {"compression": "tiff_lzw"}),
        ("webp", "webp", {}),
        ("bmp", "bmp", {}),
    ],
)
def test_an_image_is_read_by_its_content(decoder, tmp_path, suffix, container, options):
    halves().save(tmp_path / f"a.{suffix}", **options)
    path = (tmp_path / f"a.{suffix}").rename(tmp_path / "named.otherwise")
    probe = decoder.probe(path)
    assert (probe.label, probe.container, probe.duration) == ("no_audio", container, 0.0)
    assert (probe.video.width, probe.video.height) == (80, 60)
    assert shown(decoder, path) == RED_BLUE


@pytest.mark.parametrize("suffix", ["jpg", "heic", "tif", "png", "webp", "jxl"])
def test_an_image_is_turned_upright_by_its_exif(decoder, tmp_path, suffix):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # stored lying on its left side
    path = tmp_path / f"a.{suffix}"
    halves().rotate(90, expand=True).save(path, exif=exif.tobytes())
    video = decoder.probe(path).video
    assert (video.width, video.height) == (80, 60)
    assert shown(decoder, path) == RED_BLUE


def test_what_is_transparent_shows_white(decoder, tmp_path):
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    clear.paste((255, 0, 0, 255), (20, 0, 40, 40))
    clear.save(tmp_path / "rgba.png")
    indexed = Image.new("P", (40, 40), 0)
    indexed.putpalette([0, 0, 0, 255, 0, 0])
    indexed.paste(1, (20, 0, 40, 40))
    indexed.save(tmp_path / "indexed.png", transparency=0)
    Image.new("LA", (40, 40), (0, 0)).save(tmp_path / "gray.png")
    clear.save(tmp_path / "rgba.webp", lossless=True)
    for name in ("rgba.png", "indexed.png", "rgba.webp"):
        assert shown(decoder, tmp_path / name) == [(255, 255, 255), (255, 0, 0)]
    assert shown(decoder, tmp_path / "gray.png") == [(255, 255, 255)] * 2


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "jp2", "heic"])
def test_a_large_image_is_reduced_and_the_probe_tells_its_size(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    halves(401, 301).save(path)
    with Decoder(1, Limits(pixels=10_000, still_pixels=130_000)) as decoder:
        video = decoder.probe(path).video
        assert (video.width, video.height) == (401, 301)
        [decoded] = decoder.decode(path, WHOLE, PLAN)
        height, width = decoded.frames.shape[1:3]
        assert height * width <= 10_000
        assert width / height == pytest.approx(4 / 3, rel=0.03)
        assert shown(decoder, path, 60) == RED_BLUE
    with Decoder(1, Limits(pixels=10_000, still_pixels=120_000)) as decoder:
        assert decoder.probe(path).label == "too_big: 401 x 301 pixels, the limit is 120000 pixels"


def test_a_reduced_image_is_the_mean_of_squares(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with Decoder(1, Limits(pixels=40 * 30)) as decoder:
        [decoded] = decoder.decode(tmp_path / "a.png", WHOLE, PLAN)
    means = pixels.reshape(30, 3, 40, 3, 3).mean((1, 3))
    np.testing.assert_allclose(decoded.frames[0], means, atol=0.6)


def test_16_bits_and_floats_are_scaled(decoder, tmp_path):
    ramp = np.linspace(0, 1, 50, dtype=np.float32)[None].repeat(40, 0)
    Image.fromarray(ramp).save(tmp_path / "float.tif")
    Image.fromarray((ramp * 65_535).astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray((ramp * 65_535).astype(np.int32)).save(tmp_path / "wide.tif")
    for path in sorted(tmp_path.iterdir()):
        [decoded] = decoder.decode(path, WHOLE, PLAN)
        np.testing.assert_allclose(decoded.frames[0, 0, :, 0], ramp[0] * 255, atol=1)


@pytest.mark.parametrize("suffix", ["webp", "png", "avif", "gif"])
def test_an_animation_is_a_clip(decoder, tmp_path, suffix):
    first, *others = (Image.new("RGB", (64, 48), colour) for colour in COLOURS)
    path = tmp_path / f"a.{suffix}"
    first.save(path, save_all=True, append_images=others, duration=[500, 1500, 1000])
    probe = decoder.probe(path)
    assert (probe.label, probe.duration) == ("no_audio", pytest.approx(3.0, abs=0.01))
    [whole, end] = decoder.decode(path, [(0.0, None), (2.2, 3.0)], PLAN)
    np.testing.assert_allclose(whole.times, [0.5, 0.5, 2.0], atol=0.01)
    assert (end.start, end.end, len(end.frames)) == (2.2, pytest.approx(3.0, abs=0.01), 1)
    for frame, channel in zip([*whole.frames, *end.frames], (1, 1, 2, 2), strict=True):
        assert [bool(value > 200) for value in frame[24, 32]] == [n == channel for n in range(3)]


def test_a_span_behind_an_animation_is_refused(decoder, tmp_path):
    first, second = (Image.new("RGB", (64, 48), colour) for colour in COLOURS[:2])
    first.save(tmp_path / "a.webp", save_all=True, append_images=[second], duration=500)
    [decoded] = decoder.decode(tmp_path / "a.webp", [(5.0, 6.0)], PLAN)
    assert decoded.label == "corrupt: span outside the file, which is 1.000 s long"


def test_of_several_pages_the_first_is_read_and_said(decoder, tmp_path):
    first, *others = (Image.new("RGB", (64, 48), colour) for colour in COLOURS)
    first.save(tmp_path / "a.tif", save_all=True, append_images=others)
    assert decoder.probe(tmp_path / "a.tif").label == "no_audio: the first of 3 pages"
    assert shown(decoder, tmp_path / "a.tif") == [(255, 0, 0)] * 2


@pytest.mark.parametrize("container", ["heif", "jxl"])
def test_a_missing_reader_is_named_with_its_extra(monkeypatch, container):
    monkeypatch.setattr("trichord.types.extras.find_spec", lambda name: None)
    with pytest.raises(MediaError, match=r"^unsupported: .*pip install 'trichord\[images\]'$"):
        _prepare_reader(container)


@pytest.mark.parametrize("suffix", ["heic", "avif", "jxl", "jp2", "tif"])
def test_a_broken_image_has_a_status(decoder, tmp_path, suffix):
    halves().save(tmp_path / f"a.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    path = tmp_path / "broken"
    path.write_bytes(content[: len(content) // 2])
    assert decoder.probe(path).status == "corrupt"


@pytest.mark.skipif(not ODD.is_dir(), reason="the shared media folder is not here")
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("IMG_0001.HEIC", (640, 480)),
        ("photo48mp.jpg", (8064, 6048)),
        ("logo_black_on_transparent.png", (640, 480)),
    ],
)
def test_photos_as_people_have_them(decoder, name, size):
    video = decoder.probe(ODD / name).video
    assert (video.width, video.height) == size
    [decoded] = decoder.decode(
        ODD / name, WHOLE, DecodePlan(frames=FramePlan(count=1, short_side=224))
    )
    assert decoded.status == "no_audio"
    assert 60 < decoded.frames.mean() < 200
