from itertools import pairwise

import av
import numpy as np
import pytest

from trichord.media import Decoded
from trichord.search import shots
from trichord.search.cutting import Cut, cut_files
from trichord.search.shots import RATE, cuts, cuts_in, histogram, looks

SHOTS = [("red", 2.0), ("blue", 1.5), ("green", 3.0), ("red", 2.5)]
COLOURS = {"red": (200, 30, 30), "blue": (30, 40, 200), "green": (20, 160, 60)}


def scene(colour, step):
    """A coloured ground with a bright bar that moves across it all the time."""
    picture = np.full((48, 64, 3), COLOURS[colour], np.uint8)
    left = 4 * step % 52
    picture[10:38, left : left + 12] = (240, 240, 200)
    return picture


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Four shots, each with something that moves."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        step = 0
        for colour, seconds in SHOTS:
            for _ in range(round(20 * seconds)):
                frame = av.VideoFrame.from_ndarray(scene(colour, step), format="rgb24")
                container.mux(stream.encode(frame))
                step += 1
        container.mux(stream.encode(None))
    return path


def colours_of(changes):
    """Histograms of forty frames whose shots change at these."""
    frames = [scene("red", step) for step in range(40)]
    for colour, (first, last) in zip(["blue", "green"], pairwise(changes), strict=False):
        frames[first:last] = [scene(colour, step) for step in range(first, last)]
    return np.array([histogram(frame) for frame in frames])


def test_cuts_lie_between_the_frames_that_differ():
    times = [(i + 0.5) / RATE for i in range(40)]
    assert cuts(times, colours_of([8, 20, 33])) == [8 / RATE, 20 / RATE, 33 / RATE]


def test_movement_within_a_shot_is_no_cut():
    times = [i / RATE for i in range(40)]
    assert cuts(times, colours_of([40, 40, 40])) == []


def test_what_changes_all_the_time_is_no_cut():
    colours = np.eye(30)  # each frame another colour
    assert cuts([i / RATE for i in range(30)], colours) == []


def test_a_flash_is_one_cut_at_most():
    colours = colours_of([40, 40, 40])
    colours[20] = histogram(np.full((48, 64, 3), 255, np.uint8))
    assert len(cuts([i / RATE for i in range(40)], colours)) <= 1


def test_nothing_is_cut_without_frames():
    assert cuts_in([Decoded(status="corrupt"), Decoded(status="corrupt")]) == []
    assert cuts([0.0], np.ones((1, 8))) == []


def test_shots_of_a_file_are_found_whatever_the_portions(film, decoder, monkeypatch):
    found = []
    for portion, at_once in ((60.0, 4), (2.0, 2)):
        monkeypatch.setattr(shots, "SPAN", portion)
        monkeypatch.setattr(shots, "SPANS_AT_ONCE", at_once)
        answers = decoder.decode_all(looks(str(film), 9.0))
        found.append(cuts_in(one for several in answers for one in several))
    assert found[0] == found[1]
    assert found[0] == pytest.approx([2.0, 3.5, 6.5], abs=0.5 / RATE)


def test_files_are_cut_at_their_shots_and_sounds_by_windows(film, rendered, decoder):
    files = [str(rendered / name) for name in ("broken.mp4", "tone.wav", "still.png", "missing")]
    found = list(cut_files(decoder, [files[0], str(film), *files[1:]], Cut(2.6, 1.3, "shots")))
    assert [one.file for one in found] == [files[0], str(film), *files[1:]]
    broken, cut, tone, still, missing = found
    assert (broken.status, list(broken.spans)) == ("corrupt", [])
    expected = [(0.0, 2.0), (2.0, 3.5), (3.5, 6.1), (4.8, 6.5), (6.5, 9.0)]
    assert np.array(cut.spans) == pytest.approx(np.array(expected), abs=0.5 / RATE)
    assert tone.spans == [(0.0, 2.6), (1.3, 3.5)]
    assert still.spans == [(0.0, 0.0)]
    assert (missing.status, list(missing.spans)) == ("corrupt", [])
