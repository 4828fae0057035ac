"""One file of each format: what is read of it stands in the docs, and is what was written."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from footage import counted_picture, noise, number_in
from format_files import FILES

from trichord.media.channels import mix

SCRIPT = Path(__file__).parents[2] / "docs" / "generate_formats.py"
UNREAD = {"icon.ico", "old.pcx", "texture.dds", "bare.h264", "frames.ivf", "broadcast.y4m",
          "voice.g722", "creative.voc"}  # fmt: skip


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("generate_formats", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def read(script, tmp_path_factory):
    return script.read_all(tmp_path_factory.mktemp("formats"))


def of_kind(*kinds):
    return [name for name, file in FILES.items() if file.kind in kinds and name not in UNREAD]


def test_the_page_of_formats_is_what_is_read(script, read):
    assert script.page(read) == script.PAGE.read_text(encoding="utf-8"), script.REMEDY


def test_there_is_a_file_of_each_of_130_formats():
    assert len(of_kind("movie", "sound", "picture", "animation")) >= 130


def test_movies_show_their_pictures_and_sound_as_loud_as_they_were_made(read):
    for name in of_kind("movie"):
        clip = read[name].clip
        # At 1 and 3 s of 25 pictures a second, or of one or 120.
        numbers = {"slides.mp4": (1, 3), "fast.mp4": (120, 104)}.get(name, (25, 75))
        for frame, number in zip(clip.frames, numbers, strict=True):
            height, width = frame.shape[:2]
            rows = frame[height // 4 : -height // 4].astype(float)
            shown = rows[:, : width // 4].mean(), rows[:, -width // 4 :].mean()
            written = counted_picture(number, 4, 1)[0, [0, -1], 0].astype(float)
            # Sixteens of the number at the left, units at the right: a picture is 14 levels of gray, and
            # some codecs shift times by a picture or two.
            np.testing.assert_array_less(abs(shown - written), (14, 45), err_msg=name)
        if clip.status == "ok":
            loudness = clip.audio[16_000].std() / noise(4.0).std()
            assert 0.15 < loudness < 1.2, name


def test_sounds_are_as_loud_as_they_were_made(read):
    for name in of_kind("sound"):
        clip, content = read[name].clip, FILES[name].content
        assert clip.status == "no_video", name
        layout = next((kind for kind in ("5.1", "7.1", "stereo") if kind in content), "mono")
        count = {"mono": 1, "stereo": 2, "5.1": 6, "7.1": 8}[layout]
        rate = round(1000 * float(content.split(", ")[1].split()[0]))
        expected = mix(noise(3.0, rate, count), 1, layout).std()
        # Codecs and sampling at 16 kHz take away high tones.
        assert 0.4 < clip.audio[16_000].std() / expected < 1.1, name


def test_pictures_are_red_at_the_left_and_blue_at_the_right(read):
    for name in of_kind("picture"):
        [frame] = read[name].clip.frames[:1]
        left, right = frame[30, 10].astype(int), frame[30, 70].astype(int)
        if np.ptp(left) < 40:  # gray, or black and white: red is lighter than blue
            assert left.mean() > right.mean() + 30, name
        else:
            assert left[0] > left[2] + 150, name
            assert right[2] > right[0] + 100, name


def test_animations_move(read):
    for name in of_kind("animation"):
        # At a quarter and three quarters of ten pictures.
        numbers = [number_in(frame) for frame in read[name].clip.frames]
        np.testing.assert_allclose(numbers, [2, 7], atol=1, err_msg=name)


def test_what_is_not_read_says_why(read):
    for name in (*sorted(UNREAD), *(n for n, file in FILES.items() if file.kind == "other")):
        assert read[name].clip.status in ("unsupported", "corrupt"), name
        assert read[name].clip.reason, name
