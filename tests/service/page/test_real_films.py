"""The page over films that cameras made: they are found, shown and played as they are."""

from pathlib import Path

import av
import pytest

from .visiting import PLAYING, search, serving

REAL = Path(__file__).parents[4] / "shared" / "data" / "avclips"
NAMES = ("av000.mp4", "av002.mp4", "av008.mp4")

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="shared/data/avclips is not here")


@pytest.fixture(scope="module")
def address(tiny_trimodal, tmp_path_factory):
    """Of a service over three of them, in moments of two seconds."""
    from trichord.media import Decoder, Limits
    from trichord.search.engine import SearchEngine
    from trichord.search.indexing import begin, index
    from trichord.service.app import create

    model = tiny_trimodal.build().eval()
    collection = begin(tmp_path_factory.mktemp("real") / "archive", "run", model, 2.0, 1.0)
    with Decoder(workers=1, limits=Limits(wall_seconds=60.0)) as decoder:
        done = list(index(collection, model, decoder, [REAL / name for name in NAMES]))
        assert {one.status for one in done} == {"ok"}
        app = create(SearchEngine(collection, model, decoder), roots=[REAL])
        with serving(app) as address:
            yield address
        app.state.archive.close()


def seconds_of(path):
    with av.open(str(path)) as container:
        return container.duration / av.time_base


def test_real_films_are_found_and_play_with_picture_and_sound(visit):
    page = visit()
    search(page, "a dog")
    cards = page.locator(".card")
    names = {name.rpartition("/")[2] for name in page.locator(".card .name").all_inner_texts()}
    assert names == set(NAMES)
    cards.first.hover()
    page.wait_for_function(PLAYING)
    cards.first.locator(".open").click()
    video = "document.querySelector('#player video')"
    page.wait_for_function(f"() => {video}.readyState > 2")
    name = page.inner_text("#detail h2").rpartition("/")[2]
    assert page.evaluate(f"{video}.videoWidth") > 0
    assert page.evaluate(f"{video}.webkitAudioDecodedByteCount") > 0
    played = page.evaluate(f"{video}.duration")
    assert played == pytest.approx(seconds_of(REAL / name), abs=0.1)
