from pathlib import Path

import pytest

from trichord.service.catalogue import Catalogue, ClientFile, file_id
from trichord.service.errors import RefusedError, redact_paths


@pytest.fixture
def gallery(collection):
    return collection.table.gallery()


def test_ids_say_nothing_and_lead_back(gallery):
    catalogue = Catalogue(gallery)
    names = [catalogue.client_file(moment.file).moment(moment.start) for moment in gallery.moments]
    for moment, name in zip(gallery.moments, names, strict=True):
        assert len(name) == 40
        assert set(name) <= set("0123456789abcdef")
        assert catalogue.moment(name) == moment
        assert catalogue.file(file_id(moment.file)) == moment.file
    assert len(set(names)) == len(gallery)


def test_ids_last():
    """2.5 s as a big-endian double, behind the file's id."""
    client_file = ClientFile(file_id("/a/b.mp4"), "b.mp4", "video", "2026-01-01T00:00:00Z")
    assert client_file.moment(2.5) == file_id("/a/b.mp4") + "4004000000000000"


@pytest.mark.parametrize("name", ["", "0" * 40, "f" * 40, "x" * 40, "0" * 41, "../../etc/passwd"])
def test_other_ids_are_not_found(gallery, name):
    with pytest.raises(RefusedError) as refused:
        Catalogue(gallery).moment(name)
    assert refused.value.status_code == 404


def test_a_start_that_is_no_number_is_not_found(gallery):
    name = file_id(gallery.files[0])
    for start in ("7ff8000000000000", "7ff0000000000000", "c004000000000000"):
        with pytest.raises(RefusedError):
            Catalogue(gallery).moment(name + start)


def test_names_are_shown_from_the_root_or_from_what_files_have_in_common(gallery, root):
    tone = str(root / "more" / "tone.wav")
    assert Catalogue(gallery, [root]).display_path(tone) == "more/tone.wav"
    assert Catalogue(gallery, [root, root / "more"]).display_path(tone) == "tone.wav"
    assert Catalogue(gallery, [Path("/elsewhere")]).display_path(tone) == "more/tone.wav"
    assert Catalogue(gallery).display_path(tone) == "more/tone.wav"
    assert Catalogue(gallery).display_path("/elsewhere/deep/x.mp4") == "x.mp4"


def test_a_kind_is_what_can_be_done_with_a_file(gallery, root):
    catalogue = Catalogue(gallery)
    kinds = {file: catalogue.kind(file) for file in gallery.files}
    assert kinds == {
        str(root / "red.mp4"): "video",
        str(root / "still.png"): "image",
        str(root / "more" / "tone.wav"): "audio",
    }


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("/srv/archive/x: bad (see /srv/archive)", "(a path): bad (see (a path))"),
        ("/tmp/up/1 has no sound", "The upload has no sound"),
        ("cannot read s3://bucket/key: try", "cannot read (a path): try"),
        ("--audio-type and/or 1/2: 5 km/h", "audio type and/or 1/2: 5 km/h"),
        ("first line\n/second", "first line"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_paths_are_withheld(sentence, said):
    assert redact_paths(sentence, {"/tmp/up/1": "The upload"}) == said


def test_only_whole_paths_are_replaced_and_once():
    secrets = {"demo/he": "The archive", "/srv": "(a root)", "he": "(a file)"}
    said = redact_paths("demo/he: he, the heap demo/hello, /srvx and /srv. See demo/he.", secrets)
    assert said == "The archive: he, the heap demo/hello, (a path) and (a root). See The archive."
