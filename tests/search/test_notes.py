import numpy as np
import pytest

from trichord.media import Decoded, DecodePlan, FramePlan
from trichord.search.entries import Entry
from trichord.search.notes import ManifestNotes, NoteTaker
from trichord.search.thumbnails import LONGEST
from trichord.types import Caption, Clip, Moment


def clip(path, start=0.0, end=None, captions=(), labels=()):
    return Clip(
        id=f"{path}{start}",
        path=str(path),
        start=start,
        end=end,
        captions=tuple(Caption(text=text, about="visual") for text in captions),
        labels=labels,
    )


def moment(path, start, end):
    return Moment(file=str(path), start=start, end=end)


def test_a_moment_is_told_of_by_the_clips_that_overlap_it(tmp_path):
    file = tmp_path / "a.mp4"
    told = ManifestNotes(
        [
            clip(file, 0.0, 4.0, ["a bell  rings\n", "a bell"], ("bell",)),
            clip(file, 4.0, 9.0, ["a dog", "a bell"], ("dog", "bell")),
            clip(tmp_path / "b.mp4", 0.0, 9.0, ["a cat"], ("cat",)),
            clip(file, 9.0, None, (), ("end",)),
        ]
    )
    assert told.of(moment(file, 0.0, 4.0)) == ("a bell rings\na bell", ("bell",))
    assert told.of(moment(file, 2.0, 6.0)) == ("a bell rings\na bell\na dog", ("bell", "dog"))
    assert told.of(moment(file, 50.0, 60.0)) == (None, ("end",))
    assert told.of(moment(tmp_path / "c.mp4", 0.0, 4.0)) == (None, ())
    assert str(file) in told
    assert str(tmp_path / "c.mp4") not in told


def test_a_picture_is_told_of_whatever_the_times(tmp_path):
    told = ManifestNotes([clip(tmp_path / "a.png", 0.0, 3.0, ["a bell"])])
    assert told.of(moment(tmp_path / "a.png", 0.0, 0.0)) == ("a bell", ())


def test_files_are_known_by_where_they_are_whatever_link_leads_there(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    told = ManifestNotes([clip(tmp_path / "link" / "a.mp4", captions=["a bell"])])
    assert told.of(moment(tmp_path / "real" / "a.mp4", 0.0, 1.0)) == ("a bell", ())


class Listener:
    """Finds the mean of a sound's samples spoken."""

    def share(self, samples):
        return float(samples.mean()) if len(samples) else 0.0


@pytest.fixture
def taker(monkeypatch):
    from trichord.search import notes

    monkeypatch.setattr(notes, "SpeechDetector", Listener)  # for the hook that checks types
    made = NoteTaker(ManifestNotes(), None)
    made.detector = Listener()
    return made


def test_speech_is_looked_for_in_sound_at_its_own_rate(taker):
    plan = DecodePlan(frames=None, rates=(48_000,))
    assert taker.extend(plan).rates == (48_000, 16_000)
    assert taker.extend(taker.extend(plan)).rates == (48_000, 16_000)
    assert taker.extend(DecodePlan(frames=None)).rates == ()
    assert NoteTaker(ManifestNotes(), None).extend(plan) is plan


def test_frames_come_with_a_preview_of_the_size_of_thumbnails(taker):
    plan = DecodePlan(frames=FramePlan(short_side=112), rates=(48_000,))
    extended = taker.extend(plan)
    assert extended.preview == LONGEST
    assert extended.frames == plan.frames


def test_the_share_of_speech_is_none_where_it_was_not_measured_and_0_in_silence(taker):
    sound = np.full((2, 16_000), 0.5, np.float32)
    entry = Entry(moment=Moment(file="a.mp4", start=0.0, end=1.0), status="ok")
    of = {
        "stereo": Decoded(status="ok", audio={16_000: sound}),
        "mono": Decoded(status="ok", audio={16_000: sound[0]}),
        "silent": Decoded(status="silent"),
        "broken": Decoded(status="corrupt"),
    }
    shares = {name: taker.take(entry, one).speech for name, one in of.items()}
    assert shares == {"stereo": 0.5, "mono": 0.5, "silent": 0.0, "broken": None}
    assert NoteTaker(ManifestNotes(), None).take(entry, of["mono"]).speech is None
