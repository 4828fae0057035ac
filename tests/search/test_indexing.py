import json
import os
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pytest

from trichord.search import indexing
from trichord.search.collection import Collection
from trichord.search.indexing import begin, index
from trichord.types import UserError


@pytest.fixture
def update(tiny_model, decoder):
    """Indexes places and gives what happened to each file, by its name."""

    def update(collection, *places):
        done = list(index(collection, tiny_model, decoder, places))
        return {one.file.rsplit("/", 1)[-1]: one for one in done}

    return update


def changes(done):
    return {name: one.change for name, one in done.items()}


def rows(collection):
    """Everything the table holds, vectors apart, and the vectors."""
    read = collection.table.read(list(collection.table.files()))
    marks = [
        (one.version, entry.moment, entry.status, entry.vision is None, entry.audio is None)
        for one in read
        for entry in one.entries
    ]
    gallery = collection.table.gallery()
    return marks, np.hstack([gallery.vision, gallery.audio])


def assert_equal(one, other):
    (marks, vectors), (others, other_vectors) = rows(one), rows(other)
    assert marks == others
    assert np.abs(vectors - other_vectors).max() < 1e-5
    for kind in ("text", "vision", "audio", "both"):
        a = one.description.calibration.of_kind(kind)
        b = other.description.calibration.of_kind(kind)
        assert a.sight.spread == pytest.approx(b.sight.spread, abs=1e-4)
        assert a.sound.location == pytest.approx(b.sound.location, abs=1e-4)
        assert a.agreement == pytest.approx(b.agreement, abs=1e-3)


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
        "half.wav": "removed",
        "it's a tone.wav": "unchanged",
        "mute.mp4": "unchanged",
        "red.mp4": "same",
        "renamed.png": "same",
        "still.png": "removed",
    }
    assert done["blue.mp4"].status == "no_audio"


@pytest.mark.parametrize("at_once", [16, 1])
def test_after_changes_the_collection_is_that_of_a_fresh_indexing(
    collection, archive, update, start, tiny_model, monkeypatch, at_once
):
    monkeypatch.setattr(indexing, "FILES_AT_ONCE", at_once)
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
    monkeypatch.setattr(indexing, "MOMENTS_A_COMMIT", 3)
    collection = start(tiny_model)
    for one in index(collection, tiny_model, decoder, [archive]):
        there = Collection.open(collection.path).table.files()[one.file]
        assert there.moments == one.moments


def test_the_scales_are_measured_again_when_files_change(collection, archive, update):
    before = collection.description.calibration
    (archive / "blue.mp4").unlink()
    update(collection, archive)
    assert collection.description.calibration != before
    assert collection.calibrated
    assert Collection.open(collection.path).calibrated


def test_places_and_lengths_are_checked_before_anything_is_written(
    start, tiny_model, archive, update, tmp_path
):
    collection = start(tiny_model)
    with pytest.raises(UserError, match="no such file or folder"):
        update(collection, archive, archive / "missing")
    assert collection.table.version == 0
    with pytest.raises(UserError, match=r"Moments of 0\.5 s"):
        begin(tmp_path / "other", str(tmp_path), tiny_model, 0.5)
    assert not (tmp_path / "other").exists()


def test_another_model_cannot_add_to_a_collection(collection, archive, untrained_model, decoder):
    before = rows(collection)[0]
    with pytest.raises(UserError, match="other weights"):
        list(index(collection, untrained_model, decoder, [archive]))
    assert rows(collection)[0] == before


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
    assert Collection.open(collection.path).description.sound_tokens == stored
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
    del content["sound_tokens"]
    file.write_text(json.dumps(content))
    collection = start(model)
    list(index(collection, model, decoder, [archive / "red.mp4"]))
    assert collection.table.gallery().audio.shape == (2, 24)


KILLED = """
    import os, random, sys, time
    from pathlib import Path

    from trichord.config import Clap, ClipText, ClipVision, TriModal
    from trichord.media import Decoder
    from trichord.search import indexing, table

    towers, archive, collection = map(Path, sys.argv[1:])
    indexing.MOMENTS_A_COMMIT, table.FRAGMENTS = 1, 3

    def run(stored):
        clip, clap = str(towers / "clip"), str(towers / "clap")
        model = TriModal(
            text=ClipText(name=clip), vision=ClipVision(name=clip), audio=Clap(name=clap)
        ).build().eval()
        there = indexing.begin(collection, "run", model, 2.0)
        with Decoder(workers=1) as decoder:
            for one in indexing.index(there, model, decoder, [archive]):
                if one.change == "new":
                    os.write(stored, b".")
                    time.sleep(0.05)  # or a busy machine has stored all before the kill

    def start():
        # A child that indexes, and a pipe with a byte for each file that it has stored.
        ours, stored = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(stored)
                code = 0
            except KeyboardInterrupt:
                code = 130
            finally:
                os._exit(code)
        os.close(stored)
        return child, ours

    chance, outcomes = random.Random(0), []
    for signal_, files in ((9, 0), (9, 0), (2, 1), (9, 1), (9, 0), (9, 1), (9, 2), (None, 0)):
        child, stored = start()
        for _ in range(files):
            os.read(stored, 1)
        if signal_:
            time.sleep(chance.uniform(0, 0.5 if files == 0 else 0.03))
            os.kill(child, signal_)
        outcomes.append(os.waitpid(child, 0)[1])
        os.close(stored)
    print(outcomes)
"""


def test_killed_at_any_point_and_started_again_it_ends_as_if_nothing_had_happened(
    tiny_towers, archive, tmp_path, update, start, tiny_model
):
    script = [sys.executable, "-c", dedent(KILLED), str(tiny_towers), str(archive)]
    killed = subprocess.run(
        [*script, str(tmp_path / "killed")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert killed.returncode == 0, killed.stderr
    outcomes = json.loads(killed.stdout)
    assert outcomes.count(9) >= 4  # died of SIGKILL
    assert outcomes[-1] == 0
    whole = start(tiny_model, "whole")
    update(whole, archive)
    assert_equal(Collection.open(tmp_path / "killed"), whole)
