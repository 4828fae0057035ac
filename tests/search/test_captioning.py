"""Captions of moments: what is written, what is checked, and what a collection keeps of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from trichord.config import CaptionGenerator
from trichord.models.decoding import Decoding, GeneratedCaption
from trichord.search import captioning
from trichord.search.captioning import (
    CaptionWriter,
    caption_collection,
    cut_for_captions,
    uncaptioned_files,
)
from trichord.search.collection import StoredCollection
from trichord.search.cutting import Cut, CutFile
from trichord.search.indexing import index
from trichord.types import UserError

SHORT = Decoding(beams=3, longest=5)


@pytest.fixture(scope="module")
def writes(tiny_trimodal):
    """Builds a model that writes captions, untrained: it says something else of every clip."""

    def build(*reads):
        generator = CaptionGenerator(
            reads=reads, from_text=False, heads=2, layers=1, text_slots=77, frame_slots=64
        )
        text = replace(tiny_trimodal.text, tokens=True)
        torch.manual_seed(5)
        model = replace(tiny_trimodal, text=text, captioner=generator).build().eval()
        for value in model.captioner.parameters():
            torch.nn.init.normal_(value, std=0.5)
        return model

    return build


@pytest.fixture(scope="module")
def writing(writes):
    return writes("vision", "audio")


def written(model, decoder, folder, decoding=SHORT, check=None, cut=Cut(2.0, 2.0)):  # noqa: B008
    names = sorted(str(path) for path in folder.rglob("*.*"))
    writer = CaptionWriter(model, decoder, decoding, check)
    return list(writer.write(cut_for_captions(decoder, names, cut))), writer


def by_file(found):
    return {(one.moment.file.rsplit("/", 1)[-1], one.moment.start): one for one in found}


def test_every_moment_has_a_caption_and_what_cannot_be_read_its_status(writing, decoder, rendered):
    found, writer = written(writing, decoder, rendered)
    named = by_file(found)
    spoken = {key: one.caption is not None for key, one in named.items()}
    assert spoken == {
        ("blue.mp4", 0.0): True, ("blue.mp4", 2.0): True, ("broken.mp4", 0.0): False,
        ("half.wav", 0.0): True, ("half.wav", 2.0): False, ("mute.mp4", 0.0): True,
        ("mute.mp4", 2.0): True, ("red.mp4", 0.0): True, ("red.mp4", 2.0): True,
        ("still.png", 0.0): True, ("tone.wav", 0.0): True, ("tone.wav", 2.0): True,
    }  # fmt: skip
    assert named["broken.mp4", 0.0].status == "corrupt"
    assert named["broken.mp4", 0.0].reason
    silence = named["half.wav", 2.0]  # neither a picture nor anything to be heard
    assert silence.reason == "no picture and no sound to write a caption of"
    assert silence.candidates == ()
    red = named["red.mp4", 0.0]
    assert red.caption == red.candidates[0]
    assert red.caption.match is None
    assert len({one.text for one in red.candidates}) == len(red.candidates) > 1
    assert writer.ranks() == []


def test_a_run_that_reads_pictures_says_nothing_of_a_sound(writes, decoder, rendered):
    named = by_file(written(writes("vision"), decoder, rendered)[0])
    tone = named["tone.wav", 0.0]
    assert (tone.caption, tone.status) == (None, "no_video")
    assert tone.reason == "no picture to write a caption of"
    assert named["red.mp4", 0.0].caption is not None


def test_a_file_may_be_one_moment(writing, decoder, rendered):
    found, _ = written(writing, decoder, rendered, cut=None)
    ends = {file: one.moment.end for (file, _), one in by_file(found).items()}
    assert len(found) == len(ends) == 7
    assert (ends["red.mp4"], ends["still.png"]) == (pytest.approx(4.0), 0.0)


def test_a_check_keeps_the_candidate_that_is_most_like_the_moment(writing, decoder, rendered):
    several = Decoding(beams=16, longest=4)  # enough for another than the likeliest to be best
    plain, _ = written(writing, decoder, rendered, several)
    found, writer = written(writing, decoder, rendered, several, check=(3.0, 1.0))
    told = [one for one in found if one.caption]
    assert len(writer.ranks()) == len(told)
    assert set(writer.ranks()) <= set(range(1, len(told) + 1))
    changed = 0
    for one, before in zip(found, plain, strict=True):
        assert [c.text for c in one.candidates] == [c.text for c in before.candidates]
        if one.caption is None:
            continue
        matches = [c.match for c in one.candidates]
        assert one.caption.match == max(matches)
        changed += one.caption.text != before.caption.text
    assert changed
    # The score anew, by the model's public parts.
    red = by_file(found)["red.mp4", 0.0]
    [decoded] = decoder.decode(red.moment.file, ((0.0, 2.0),), writing.plan)
    vectors = writing.embed_media([decoded])
    [text] = writing.embed_text([red.caption.text])
    expected = (3 * vectors.vision[0] @ text + vectors.audio[0, 0] @ text) / 4
    assert red.caption.match == pytest.approx(float(expected), abs=1e-5)


def test_a_check_needs_no_common_space(writes, tiny_towers, decoder, rendered):
    from trichord.config import ClapText

    model = writes("vision", "audio")
    model.sound_text = ClapText(name=str(tiny_towers / "clap")).build().eval()
    found, _ = written(model, decoder, rendered, check=(1.0, 1.0))
    red = by_file(found)["red.mp4", 0.0]
    [decoded] = decoder.decode(red.moment.file, ((0.0, 2.0),), model.plan)
    vectors = model.embed_media([decoded])
    seen, heard = (model.embed_text([red.caption.text], side)[0] for side in ("vision", "audio"))
    expected = (vectors.vision[0] @ seen + vectors.audio[0, 0] @ heard) / 2
    assert red.caption.match == pytest.approx(float(expected), abs=1e-5)


def test_a_run_that_writes_nothing_and_captions_beyond_its_room_are_refused(
    tiny_model, writing, decoder
):
    with pytest.raises(UserError, match="writes no captions"):
        CaptionWriter(tiny_model, decoder, SHORT)
    with pytest.raises(UserError, match=r"--longest 1000: the run has room for \d+ tokens"):
        CaptionWriter(writing, decoder, Decoding(longest=1000))


def test_moments_with_more_frames_than_there_is_room_for_are_refused(writes, decoder, rendered):
    model = writes("vision", "audio")
    model.captioner.layout = replace(model.captioner.layout, frames=1)
    with pytest.raises(UserError, match=r"--seconds: .* too long"):
        written(model, decoder, rendered)


# Collections


@pytest.fixture
def held(start, tiny_model, decoder, archive):
    """A collection, whose vectors are another model's than the one that writes."""
    collection = start(tiny_model)
    list(index(collection, tiny_model, decoder, [archive]))
    return StoredCollection.open(collection.path)


def write_into(held, model, decoder, *places, replacing=False):
    files = uncaptioned_files(held, places, replacing=replacing)
    writer = CaptionWriter(model, decoder, SHORT)
    return list(caption_collection(held, writer, files, replacing=replacing))


def said(held):
    return {file.rsplit("/", 1)[-1]: notes for file, notes in held.table.notes().items()}


def test_captions_go_to_the_moments_that_have_none_and_nothing_else_changes(
    held, writing, decoder, archive
):
    held.annotate(archive / "red.mp4", [(0.0, 2.0, "told by people", ["tag"])])
    held.annotate(archive / "blue.mp4", [(2.0, 4.0, None, ["other"])])
    fingerprint, before = held.description.fingerprint, held.table.gallery()
    found = write_into(held, writing, decoder)
    told = {(one.moment.file, one.moment.start): one.caption.text for one in found if one.caption}
    notes = said(held)
    assert notes["red.mp4"][0] == (0.0, 2.0, "told by people", ["tag"])
    assert notes["red.mp4"][1][2] == told[str(archive / "red.mp4"), 2.0]
    assert notes["blue.mp4"][1] == (2.0, 4.0, told[str(archive / "blue.mp4"), 2.0], ["other"])
    assert "broken.mp4" not in notes
    after = held.table.gallery()
    np.testing.assert_array_equal(after.vision, before.vision)
    np.testing.assert_array_equal(after.audio, before.audio)
    assert StoredCollection.open(held.path).description.fingerprint == fingerprint


def test_captions_are_found_by_their_words(held, writing, decoder, archive, monkeypatch):
    def write(model, vision, audio, decoding):
        words = ["a xylophone", "a pelican"]
        return [
            [
                GeneratedCaption(
                    tokens=(), log_likelihood=-1.0, score=-1.0, cut=False, text=words[seen]
                )
            ]
            for seen in vision.present.int().tolist()
        ]

    monkeypatch.setattr(captioning, "write", write)
    write_into(held, writing, decoder)
    found = {
        (file.rsplit("/", 1)[-1], at) for file, at, _ in held.table.match_captions("xylophone", 9)
    }
    sounds = {
        ("half.wav", 0.0),
        ("half.wav", 2.0),
        ("it's a tone.wav", 0.0),
        ("it's a tone.wav", 2.0),
    }
    assert found == sounds & {(name, at) for name, notes in said(held).items() for at, *_ in notes}
    assert len(held.table.match_captions("Pelican", 20)) == 7


def test_scales_of_scores_that_were_valid_stay_so(held, writing, decoder):
    assert held.calibrated
    scales, version = held.description.calibration, held.table.version
    write_into(held, writing, decoder)
    again = StoredCollection.open(held.path)
    assert again.calibrated
    assert again.description.calibration == scales
    assert again.table.version > version


def test_scales_that_were_not_valid_are_not_called_so(held, writing, decoder, archive):
    held.table.remove([str(archive / "red.mp4")])
    write_into(held, writing, decoder)
    assert not StoredCollection.open(held.path).calibrated


def test_nothing_is_written_twice_unless_it_is_to_be_replaced(held, writing, decoder, archive):
    first = write_into(held, writing, decoder)
    once = said(held)
    assert uncaptioned_files(held) == [CutFile(str(archive / "half.wav"), [(2.0, 4.0)])] * (
        "half.wav" in once
    )
    held.annotate(archive / "red.mp4", [(0.0, 2.0, "told by people", [])])
    write_into(held, writing, decoder)
    assert said(held)["red.mp4"][0][2] == "told by people"
    again = write_into(held, writing, decoder, archive / "red.mp4", replacing=True)
    assert len(again) == 2
    assert said(held) == once
    assert len(first) > len(again)


def test_an_interrupted_command_goes_on_where_it_stopped(
    held, writing, decoder, archive, monkeypatch
):
    monkeypatch.setattr(captioning, "MOMENTS_A_COMMIT", 3)
    monkeypatch.setattr(captioning, "COMMITS_A_COMPACTION", 2)
    coming = caption_collection(
        held, CaptionWriter(writing, decoder, SHORT), uncaptioned_files(held)
    )
    for _ in range(4):
        next(coming)
    coming.close()
    part = held.table.captioned()
    assert 3 <= part <= 6
    left = [(one.file, span) for one in uncaptioned_files(held) for span in one.spans]
    rest = write_into(held, writing, decoder)
    assert [(one.moment.file, (one.moment.start, one.moment.end)) for one in rest] == left
    whole = said(held)
    replaced = write_into(held, writing, decoder, replacing=True)
    assert len(replaced) > len(rest)
    assert said(held) == whole


def test_what_is_said_meanwhile_stays(held, writing, decoder, archive):
    coming = caption_collection(
        held, CaptionWriter(writing, decoder, SHORT), uncaptioned_files(held)
    )
    other = StoredCollection.open(held.path)
    other.annotate(archive / "red.mp4", [(0.0, 2.0, "said meanwhile", ["new"])])
    other.remove([archive / "blue.mp4"])
    list(coming)
    notes = said(StoredCollection.open(held.path))
    assert notes["red.mp4"][0] == (0.0, 2.0, "said meanwhile", ["new"])
    assert "blue.mp4" not in notes


def test_some_files_of_a_collection_may_be_named(held, writing, decoder, archive):
    write_into(held, writing, decoder, archive / "more")
    assert list(said(held)) == ["it's a tone.wav"]
    with pytest.raises(UserError, match="has no such file"):
        uncaptioned_files(held, [archive / "nothing.mp4"])
