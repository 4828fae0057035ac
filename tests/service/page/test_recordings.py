"""The page over real recordings, where a checkout has them beside it."""

from pathlib import Path

import pytest

import trichord
from trichord.media import Decoder, Limits
from trichord.search.engine import SearchEngine
from trichord.search.indexing import begin, index
from trichord.service.app import create

from .visiting import PLAYING, search, serving, settled

RECORDINGS = Path(__file__).parents[4] / "shared" / "data" / "avclips"
FEW = 6


@pytest.fixture(scope="module")
def recordings(browser, tmp_path_factory):
    """The address of a service over a few of them, indexed by towers that have learnt nothing."""
    files = sorted(RECORDINGS.glob("*.mp4"))[:FEW]
    if len(files) < FEW:
        pytest.skip("the shared media folder is not here")
    with trichord.load("world-clip-clap") as loaded:
        model = loaded.embedder
    collection = begin(tmp_path_factory.mktemp("recordings") / "archive", "run", model)
    with Decoder(workers=1, limits=Limits(wall_seconds=60.0)) as decoder:
        found = [one.status for one in index(collection, model, decoder, files, speech=False)]
        assert found == ["ok"] * FEW
        app = create(SearchEngine(collection, model, decoder), roots=[RECORDINGS])
        with serving(app) as address:
            yield address
        app.state.archive.close()


def test_a_recording_is_found_and_plays(recordings, visit):
    page = visit(at=recordings)
    search(page, "a dog barks")
    cards = page.locator(".card")
    assert cards.count() >= FEW
    cards.first.hover()
    began = page.wait_for_function(PLAYING).json_value()
    page.wait_for_function(f"() => document.querySelector('.preview').currentTime > {began} + 0.3")
    page.mouse.move(2, 2)
    cards.first.locator(".open").click()
    settled(page)
    video = "document.querySelector('#player video')"
    page.wait_for_function(f"() => {video}.currentTime > 0.3 && {video}.videoWidth > 0")
    assert page.evaluate(f"{video}.error") is None
    page.wait_for_selector(".course-svg")
