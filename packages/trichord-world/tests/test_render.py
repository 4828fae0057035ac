import subprocess
import sys
from dataclasses import replace

import av
import numpy as np
import pytest

from trichord.types import UserError
from trichord_world.difficulty import DEFAULT, Difficulty
from trichord_world.drawing import picture
from trichord_world.format import FRAMES_PER_SECOND, RATE, stroke_times
from trichord_world.law import Scene
from trichord_world.render import render, render_all
from trichord_world.sound import sound

SCENE = Scene(
    id="test_0", thing="drum", colour="red", size="medium", motion="bounce", speed="medium",
    background="room", heard="drum", pitch="middle", tempo="medium", phrase=None, voice=None,
    silent=False, dark=False, sight_seed=5, sound_seed=6,
)  # fmt: skip


@pytest.fixture
def decoded(tmp_path):
    """Render a scene and read its file back: stream kinds, frames, the frames' times, samples."""

    def through_a_file(scene, difficulty=DEFAULT):
        path = tmp_path / "clip.mp4"
        render(scene, difficulty, path)
        with av.open(path) as file:
            kinds = sorted(stream.type for stream in file.streams)
            frames, wave = [], []
            for frame in file.decode():
                if isinstance(frame, av.VideoFrame):
                    frames.append((frame.time, frame.to_ndarray(format="rgb24")))
                else:
                    wave.append((frame.time, frame.to_ndarray()[0]))
        return kinds, frames, wave

    return through_a_file


def test_a_file_holds_four_seconds_of_picture_and_of_sound(decoded):
    kinds, frames, wave = decoded(SCENE)
    assert kinds == ["audio", "video"]
    assert [time for time, _ in frames] == pytest.approx(np.arange(48) / FRAMES_PER_SECOND)
    assert {pixels.shape for _, pixels in frames} == {(128, 128, 3)}
    assert wave[0][0] == 0
    assert sum(block.size for _, block in wave) == 4 * RATE


def test_codecs_are_h264_and_aac(tmp_path):
    render(SCENE, DEFAULT, tmp_path / "clip.mp4")
    with av.open(tmp_path / "clip.mp4") as file:
        assert {stream.codec_context.name for stream in file.streams} == {"h264", "aac"}
        assert "creation_time" not in file.metadata


def test_decoded_sound_is_not_shifted_by_a_sample(decoded):
    _, _, wave = decoded(SCENE)
    heard = np.concatenate([block for _, block in wave])
    meant = sound(SCENE)
    likeness = np.fft.irfft(np.fft.rfft(heard) * np.conj(np.fft.rfft(meant)), meant.size)
    assert likeness.argmax() == 0


def test_strokes_are_heard_when_they_are_seen(decoded):
    _, frames, wave = decoded(SCENE, Difficulty(picture_noise=0.0))
    heard = np.concatenate([block for _, block in wave])
    loud = np.flatnonzero(np.abs(heard) > 0.3 * np.abs(heard).max()) / RATE
    onsets = loud[np.concatenate([[True], np.diff(loud) > 0.3])]
    assert onsets == pytest.approx(stroke_times("medium"), abs=0.020)
    red = [(pixels[..., 0].astype(int) - pixels[..., 1]) > 100 for _, pixels in frames]
    lowest = np.array([np.flatnonzero(mask.any(axis=1)).max() for mask in red])
    struck = np.round(onsets * FRAMES_PER_SECOND).astype(int)
    assert np.all(lowest[struck] > lowest[struck - 2])
    assert np.all(lowest[struck] >= lowest.max() - 2)


def test_decoded_picture_resembles_the_drawn_one(decoded):
    _, frames, _ = decoded(SCENE)
    drawn = picture(SCENE, Difficulty(picture_noise=0.0)).astype(float)
    shown = np.stack([pixels for _, pixels in frames])
    assert np.abs(drawn - shown).mean() < 10


@pytest.mark.parametrize(
    ("factors", "kinds"),
    [
        ({"silent": True, "sound_seed": 2}, ["video"]),
        ({"silent": True, "sound_seed": 3}, ["audio", "video"]),
        ({"dark": True}, ["audio"]),
    ],
)
def test_silent_and_dark_scenes_lack_streams(decoded, factors, kinds):
    assert decoded(replace(SCENE, **factors))[0] == kinds


def test_a_silent_stream_is_digital_silence(decoded):
    _, _, wave = decoded(replace(SCENE, silent=True, sound_seed=3))
    assert sum(block.size for _, block in wave) == 4 * RATE
    assert not any(block.any() for _, block in wave)


def test_workers_write_the_same_bytes_as_this_process(tmp_path):
    said = replace(SCENE, phrase="turn left", voice="en-us+f2")
    scenes = [SCENE, said, replace(SCENE, dark=True), replace(SCENE, sight_seed=8)]
    alone = [tmp_path / "alone" / f"{k}.mp4" for k in range(4)]
    together = [tmp_path / "together" / f"{k}.mp4" for k in range(4)]
    assert list(render_all(scenes, DEFAULT, alone, 1)) == alone
    assert sorted(render_all(scenes, DEFAULT, together, 2)) == together
    for one, other in zip(alone, together, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert len({path.read_bytes() for path in alone}) == 4


def test_files_that_stand_are_left_alone(tmp_path):
    there, missing = tmp_path / "0.mp4", tmp_path / "1.mp4"
    there.write_bytes(b"whole")
    assert list(render_all([SCENE, SCENE], DEFAULT, [there, missing], 1)) == [there, missing]
    assert there.read_bytes() == b"whole"
    assert missing.stat().st_size > 10_000
    assert sorted(tmp_path.iterdir()) == [there, missing]


def test_each_scene_needs_its_path(tmp_path):
    with pytest.raises(ValueError):
        list(render_all([SCENE, SCENE], DEFAULT, [tmp_path / "0.mp4"], 1))


def test_a_path_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        render(SCENE, DEFAULT, tmp_path / "file" / "clip.mp4")


def test_rendering_needs_no_torch():
    program = "import sys, trichord_world.render; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
