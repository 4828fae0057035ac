import io
import json
import os

import av
import numpy as np
import pytest
from footage import make_movie, noise
from PIL import Image

from trichord.media import DecodePlan
from trichord.search import updating
from trichord.search.collection import StoredCollection
from trichord.search.indexing import begin, index
from trichord.speech.voice import SpeechDetector
from trichord.types import Caption, Clip, UserError


@pytest.fixture
def update(tiny_model, decoder):
    """Indexes places and gives what happened to each file, by its name."""

    def update(collection, *places, **options):
        done = list(index(collection, tiny_model, decoder, places, **options))
        return {one.file.rsplit("/", 1)[-1]: one for one in done}

    return update


def changes(done):
    return {name: one.change for name, one in done.items()}


def test_every_file_gets_its_moments_and_its_status(start, tiny_model, archive, update):
    done = update(start(tiny_model), archive)
    assert {name: (one.change, one.status, one.moments) for name, one in done.items()} == {
        "red.mp4": ("new", "ok", 2),
        "blue.mp4": ("new", "ok", 2),
        "mute.mp4": ("new", "no_audio", 2),
        "half.wav": ("new", "no_video", 1),
        "it's a tone.wav": ("new", "no_video", 2),
        "still.png": ("new", "no_audio", 1),
        "broken.mp4": ("new", "corrupt", 0),
    }
    assert done["broken.mp4"].reason


def test_a_second_time_nothing_is_read_and_nothing_written(collection, archive, update):
    before, description = collection.table.version, collection.description
    assert set(changes(update(collection, archive)).values()) == {"unchanged"}
    assert (collection.table.version, collection.description) == (before, description)


def test_only_what_changed_is_read_again(collection, archive, update):
    (archive / "blue.mp4").write_bytes((archive / "mute.mp4").read_bytes() + b"\0" * 8)
    (archive / "still.png").rename(archive / "more" / "renamed.png")
    os.utime(archive / "red.mp4", (1, 1))
    (archive / "half.wav").unlink()
    done = update(collection, archive)
    assert changes(done) == {
        "blue.mp4": "changed",
        "broken.mp4": "unchanged",
        "half.wav": "missing",
        "it's a tone.wav": "unchanged",
        "mute.mp4": "unchanged",
        "red.mp4": "touched",
        "renamed.png": "moved",
    }
    assert done["blue.mp4"].status == "no_audio"


@pytest.mark.parametrize("at_once", [16, 1])
def test_after_changes_the_collection_is_that_of_a_fresh_indexing(
    collection, archive, update, start, tiny_model, monkeypatch, at_once, assert_equal
):
    monkeypatch.setattr(updating, "FILES_AT_ONCE", at_once)
    (archive / "blue.mp4").rename(archive / "z.mp4")
    (archive / "red.mp4").rename(archive / "blue.mp4")
    (archive / "z.mp4").rename(archive / "red.mp4")
    (archive / "tone2.wav").write_bytes((archive / "half.wav").read_bytes())
    (archive / "half.wav").unlink()
    update(collection, archive)
    fresh = start(tiny_model, "fresh")
    update(fresh, archive)
    assert_equal(collection, fresh)


def test_files_outside_the_given_places_stay(collection, archive, update):
    (archive / "red.mp4").unlink()
    assert changes(update(collection, archive / "more")) == {"it's a tone.wav": "unchanged"}
    assert str(archive / "red.mp4") in collection.table.files()


def test_single_files_can_be_indexed(start, tiny_model, archive, update):
    done = update(start(tiny_model), archive / "still.png", archive / "more")
    assert sorted(done) == ["it's a tone.wav", "still.png"]


def test_files_are_stored_whole_before_they_are_reported(
    start, tiny_model, archive, decoder, monkeypatch
):
    monkeypatch.setattr(updating, "MOMENTS_A_COMMIT", 3)
    collection = start(tiny_model)
    for one in index(collection, tiny_model, decoder, [archive]):
        there = StoredCollection.open(collection.path).table.files()[one.file]
        assert there.moments == one.moments


def test_the_scales_are_measured_again_when_files_change(collection, archive, update):
    before = collection.description.calibration
    (archive / "blue.mp4").unlink()
    update(collection, archive, prune=True)
    assert collection.description.calibration != before
    assert collection.calibrated
    assert StoredCollection.open(collection.path).calibrated


def test_places_and_lengths_are_checked_before_anything_is_written(
    start, tiny_model, archive, update, tmp_path
):
    collection = start(tiny_model)
    with pytest.raises(UserError, match="no such file or folder"):
        update(collection, archive, archive / "missing")
    assert collection.table.version == 0
    with pytest.raises(UserError, match=r"--seconds 0\.5: give a number from 1 to 3600"):
        begin(tmp_path / "other", str(tmp_path), tiny_model, 0.5)
    assert not (tmp_path / "other").exists()


def test_another_model_cannot_add_to_a_collection(
    collection, archive, untrained_model, decoder, contents
):
    before = contents(collection)[0]
    with pytest.raises(UserError, match="other weights"):
        list(index(collection, untrained_model, decoder, [archive]))
    assert contents(collection)[0] == before


def test_a_path_that_is_no_text_is_reported(start, tiny_model, archive, update):
    (archive / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"x")
    done = update(start(tiny_model), archive)
    assert (done["caf?.wav"].status, done["caf?.wav"].moments) == ("unsupported", 0)
    assert len(done) == 8


@pytest.mark.parametrize(
    ("token", "stored"),
    [(0.5, (0.5, 0.0, 1.0)), (0.2, (0.2, 0.0, 0.5, 1.0)), ("clip", (0.5, 0.0, 1.0)), ("none", ())],
)
def test_sound_is_stored_at_the_runs_own_sound_token_and_at_three(
    start, clip4vla, archive, decoder, token, stored
):
    model = clip4vla(token)
    collection = start(model)
    list(index(collection, model, decoder, [archive / "red.mp4"]))
    assert StoredCollection.open(collection.path).description.audio_types == stored
    plan, spans = model.plan, ((0.0, 2.0), (2.0, 4.0))
    decoded = decoder.decode(archive / "red.mp4", spans, plan)
    for choice in stored:
        gallery = collection.table.gallery(choice)
        expected = clip4vla(choice).embed_media(decoded)
        np.testing.assert_allclose(gallery.audio, expected.audio[:, 0], atol=1e-5)
        np.testing.assert_allclose(gallery.vision, expected.vision, atol=1e-5)
    own = model.embed_media(decoded).audio[:, 0]
    np.testing.assert_allclose(collection.table.gallery().audio, own, atol=1e-5)


def test_global_to_local_is_indexed_in_context_and_pair_fusions_are_not(
    start, clip4vla, archive, decoder
):
    spans = ((0.0, 2.0), (2.0, 4.0))
    for level in ("global_to_local", "tight", "local_to_local"):
        model = clip4vla(level=level)
        collection = start(model, level)
        list(index(collection, model, decoder, [archive / "red.mp4"]))
        vision, [audio] = model.read_media(decoder.decode(archive / "red.mp4", spans, model.plan))
        if level == "global_to_local":
            vision, audio = model.fusion.media(vision, audio)
        gallery = collection.table.gallery()
        np.testing.assert_allclose(gallery.vision, vision.pooled.detach(), atol=1e-5)
        np.testing.assert_allclose(gallery.audio, audio.pooled.detach(), atol=1e-5)


@pytest.mark.parametrize("level", ["global_to_local", "tight", "local_to_local"])
def test_moments_too_long_for_the_fusion_are_refused_before_anything_is_read(
    clip4vla, tmp_path, level
):
    model = clip4vla(level=level, frame_slots=4)
    with pytest.raises(UserError, match=r"--seconds: moments of up to 5 s .* 5 frames") as caught:
        begin(tmp_path / "long", "run", model, 4.0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "long").exists()
    assert begin(tmp_path / "short", "run", model, 3.0).description.seconds == 3.0


def test_a_collection_from_before_there_were_sound_tokens_goes_on_without(
    start, clip4vla, archive, decoder
):
    model = clip4vla()
    file = start(model).path / "collection.json"
    content = json.loads(file.read_text())
    del content["audio_types"]
    file.write_text(json.dumps(content))
    collection = start(model)
    list(index(collection, model, decoder, [archive / "red.mp4"]))
    assert collection.table.gallery().audio.shape == (2, 24)


def entries_of(collection, name):
    """The moments of the file with this name."""
    [file] = [file for file in collection.table.files() if file.endswith(name)]
    [found] = collection.table.read_files([file])
    return found


def told_of(file, *times):
    """A clip of a manifest for each start and end, whose caption and label say which it is."""
    return [
        Clip(
            id=f"{file.name}{start}",
            path=str(file),
            start=start,
            end=end,
            captions=(Caption(text=f"from {start:g} on", about="visual"),),
            labels=(f"tag{start:g}",),
        )
        for start, end in times
    ]


def said(collection, name):
    return [(one.caption, one.tags) for one in entries_of(collection, name).entries]


def test_files_have_their_duration_and_moments_a_small_picture(collection):
    durations = {
        name: entries_of(collection, name).version.duration
        for name in ("red.mp4", "a tone.wav", "still.png", "broken.mp4")
    }
    assert durations == {
        "red.mp4": pytest.approx(4.0, abs=0.1),
        "a tone.wav": 3.5,
        "still.png": 0.0,
        "broken.mp4": None,
    }
    for one in entries_of(collection, "red.mp4").entries:
        assert Image.open(io.BytesIO(one.thumbnail)).format == "WEBP"
    for one in entries_of(collection, "a tone.wav").entries:
        assert Image.open(io.BytesIO(one.thumbnail)).mode == "RGBA"  # a waveform


def test_how_much_is_spoken_is_measured_where_the_extra_is_installed(
    start, tiny_model, decoder, archive, collection
):
    pytest.importorskip("silero_vad")
    detector = SpeechDetector()
    plan = DecodePlan(frames=None, rates=(16_000,))
    heard = decoder.decode(archive / "red.mp4", ((0.0, 2.0), (2.0, 4.0)), plan)
    expected = [detector.share(one.audio[16_000]) for one in heard]
    shares = {
        name: [one.speech for one in entries_of(collection, name).entries]
        for name in ("red.mp4", "mute.mp4", "broken.mp4")
    }
    assert shares == {
        "red.mp4": pytest.approx(expected),
        "mute.mp4": [0.0, 0.0],
        "broken.mp4": [None],
    }
    without = start(tiny_model, "without")
    list(index(without, tiny_model, decoder, [archive / "red.mp4"], speech=False))
    assert [one.speech for one in entries_of(without, "red.mp4").entries] == [None, None]


def test_moments_are_told_of_by_a_manifest(start, tiny_model, decoder, archive):
    collection = start(tiny_model)
    told = told_of(archive / "red.mp4", (0.0, 1.0), (3.0, None))
    list(index(collection, tiny_model, decoder, [archive], metadata=told))
    assert said(collection, "red.mp4") == [("from 0 on", ("tag0",)), ("from 3 on", ("tag3",))]
    assert said(collection, "blue.mp4") == [(None, ()), (None, ())]


def test_a_manifest_speaks_of_unchanged_files_only_where_nothing_was_said(
    collection, tiny_model, decoder, archive
):
    collection.annotate(archive / "red.mp4", [(0.0, 2.0, "by hand", ())])
    told = [
        one
        for name in ("red.mp4", "blue.mp4")
        for one in told_of(archive / name, (0.0, 2.0), (2.0, 4.0))
    ]
    vectors = collection.table.gallery().vision
    list(index(collection, tiny_model, decoder, [archive], metadata=told))
    assert said(collection, "red.mp4") == [("by hand", ()), (None, ())]
    assert said(collection, "blue.mp4") == [("from 0 on", ("tag0",)), ("from 2 on", ("tag2",))]
    np.testing.assert_array_equal(collection.table.gallery().vision, vectors)
    before = collection.table.version
    list(index(collection, tiny_model, decoder, [archive], metadata=told))
    assert collection.table.version == before


def test_what_was_said_of_a_file_stays_while_its_bytes_do(collection, archive, update):
    for name in ("red.mp4", "blue.mp4", "half.wav"):
        collection.annotate(archive / name, [(0.0, 2.0, f"by hand: {name}", ("mine",))])
    os.utime(archive / "red.mp4", (1, 1))
    (archive / "blue.mp4").rename(archive / "moved.mp4")
    (archive / "half.wav").write_bytes((archive / "more" / "it's a tone.wav").read_bytes()[:60_000])
    update(collection, archive)
    assert said(collection, "red.mp4")[0] == ("by hand: red.mp4", ("mine",))
    assert said(collection, "moved.mp4")[0] == ("by hand: blue.mp4", ("mine",))
    assert said(collection, "half.wav")[0] == (None, ())
    assert entries_of(collection, "moved.mp4").version.duration == pytest.approx(4.0, abs=0.1)


def test_files_can_be_seen_by_their_keyframes(
    tiny_model, decoder, archive, tmp_path, update, monkeypatch
):
    asked = []
    measured = decoder.decode_measured

    def noted(request):
        asked.append(request.plan.frames.nearest)
        return measured(request)

    monkeypatch.setattr(decoder, "decode_measured", noted)
    place = tmp_path / "keyframes"
    collection = begin(place, "run", tiny_model, 10.0, frames="keyframe")
    done = update(collection, archive)
    assert done["red.mp4"].moments == 1
    assert set(asked) == {"keyframe"}
    assert StoredCollection.open(place).description.frames == "keyframe"
    with pytest.raises(
        UserError, match=r"moments of 10 s every 5 s, by keyframes, not of 10 s every 5 s:"
    ):
        begin(place, "run", tiny_model, 10.0)


def test_files_can_be_cut_at_their_shots(tiny_model, decoder, archive, tmp_path):
    film = day_and_night(archive / "film.mp4", [archive / "red.mp4", archive / "blue.mp4"])
    place = tmp_path / "shots"
    collection = begin(place, "run", tiny_model, 10.0, cut="shots")
    list(index(collection, tiny_model, decoder, [film]))
    spans = [
        (one.moment.start, one.moment.end) for one in entries_of(collection, "film.mp4").entries
    ]
    assert np.array(spans) == pytest.approx(np.array([(0.0, 4.0), (4.0, 8.0)]), abs=0.2)
    assert StoredCollection.open(place).description.cut == "shots"
    with pytest.raises(
        UserError, match=r"moments by shots, of 10 s every 5 s, not of 10 s every 5 s"
    ):
        begin(place, "run", tiny_model, 10.0)


def day_and_night(path, files):
    """One film of the pictures of several, every other one as its negative."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number, file in enumerate(files):
            with av.open(str(file)) as source:
                for frame in source.decode(video=0):
                    picture = frame.to_ndarray(format="rgb24") ^ (255 * (number % 2))
                    shown = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
                    container.mux(stream.encode(shown))
        container.mux(stream.encode(None))
    return path


def test_moments_begin_every_half_of_their_length_if_nothing_else_is_said(tiny_model, tmp_path):
    there = begin(tmp_path / "one", "run", tiny_model).description
    assert (there.seconds, there.hop, there.cut) == (10.0, 5.0, "window")
    assert begin(tmp_path / "two", "run", tiny_model, 8.0).description.hop == 4.0


def test_an_archive_keeps_which_audio_track_it_hears(tiny_model, decoder, tmp_path):
    root = tmp_path / "media"
    root.mkdir()
    first, second = noise(4.0), noise(4.0, seed=1)
    path = make_movie(
        root / "a.mkv", sound=first, second_sound=second, audio="flac", languages=("eng", "deu")
    )
    stored = {}
    for track in ("", "deu"):
        collection = begin(
            tmp_path / f"c{track}", "run", tiny_model, seconds=4.0, audio_track=track
        )
        assert [one.change for one in index(collection, tiny_model, decoder, [root])] == ["new"]
        [file] = collection.table.read_files([str(path)])
        stored[track] = [entry.audio for entry in file.entries]
        assert StoredCollection.open(collection.path).description.audio_track == track
    assert not np.allclose(stored[""][0], stored["deu"][0])
    with pytest.raises(UserError, match="of audio track deu, not of 4 s every 2 s: leave"):
        begin(tmp_path / "cdeu", "run", tiny_model, seconds=4.0)
