"""Which stored failures are tried again."""

import shutil
from dataclasses import replace

import pytest
from PIL import Image

from trichord.media import Decoder, Limits, file_signature
from trichord.search.collection import whereabouts
from trichord.search.failures import is_outdated
from trichord.search.indexing import index
from trichord.search.table import FileVersion, KnownFile

SMALL = Limits(still_pixels=10_000)


def stored(path, decoder):
    """A file as it is stored after a decoder has looked at it."""
    probe, now = decoder.probe(path), path.stat()
    version = FileVersion(
        file=str(whereabouts(path)),
        signature=file_signature(path),
        size=now.st_size,
        mtime_ns=now.st_mtime_ns,
    )
    return KnownFile(version=version, statuses=(probe.status,), moments=0, reason=probe.reason)


@pytest.fixture
def picture(tmp_path):
    """A picture of 200 x 100 pixels."""
    path = tmp_path / "a.png"
    Image.new("RGB", (200, 100), "red").save(path)
    return path


def test_a_picture_that_was_too_big_is_tried_again_when_it_is_allowed(picture):
    with Decoder(workers=1, limits=SMALL) as decoder:
        known = stored(picture, decoder)
    assert known.statuses == ("too_big",)
    assert not is_outdated(known, SMALL)
    assert not is_outdated(known, replace(SMALL, still_pixels=19_999))
    assert is_outdated(known, replace(SMALL, still_pixels=20_000))
    assert is_outdated(known, Limits())


def test_a_video_that_was_too_big_is_not_tried_again_for_a_limit_of_stills(rendered):
    limits = Limits(pixels=1000)
    with Decoder(workers=1, limits=limits) as decoder:
        known = stored(rendered / "red.mp4", decoder)
    assert known.statuses == ("too_big",)
    assert not is_outdated(known, limits)
    assert is_outdated(known, Limits())


def test_a_timeout_is_tried_again_where_more_time_is_allowed(rendered):
    limits = Limits(wall_seconds=1e-6)
    with Decoder(workers=1, limits=limits) as decoder:
        known = stored(rendered / "red.mp4", decoder)
    assert known.statuses == ("timeout",)
    assert not is_outdated(known, limits)
    assert is_outdated(known, Limits())


def test_a_file_whose_package_is_installed_now_is_tried_again(picture, decoder):
    known = stored(picture, decoder)
    for package, cured in (("pillow_of_no_kind", False), ("PIL", True)):
        reason = f"This needs {package}, which is not installed: pip install 'trichord[images]'"
        failed = replace(known, statuses=("unsupported",), reason=reason)
        assert is_outdated(failed, Limits()) is cured
    assert not is_outdated(known, Limits())


def test_a_file_of_no_known_format_is_tried_again_when_its_format_is_known(picture, decoder):
    text = picture.with_name("b.png")
    text.write_text("no picture")
    failed = stored(text, decoder)
    assert failed.statuses == ("unsupported",)
    assert not is_outdated(failed, Limits())
    shutil.copy(picture, text)  # as if this version had learned the format of the file
    assert is_outdated(failed, Limits())


def test_an_update_reads_again_what_a_limit_refused_and_nothing_else(
    start, tiny_model, archive, picture
):
    shutil.copy(picture, archive / "large.png")
    collection = start(tiny_model)

    def update(limits):
        with Decoder(workers=1, limits=limits) as decoder:
            return {
                one.file.rpartition("/")[2]: (one.change, one.status)
                for one in index(collection, tiny_model, decoder, [archive])
            }

    assert update(SMALL)["large.png"] == ("new", "too_big")
    assert update(SMALL)["large.png"] == ("unchanged", "too_big")
    wide = update(Limits())
    assert wide.pop("large.png") == ("changed", "no_audio")
    assert {change for change, _ in wide.values()} == {"unchanged"}
    version = collection.table.version
    assert {change for change, _ in update(SMALL).values()} == {"unchanged"}
    assert collection.table.version == version
