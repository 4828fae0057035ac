"""The page without a search: files by folder, date and kind, and a file with its moments."""

from datetime import timedelta

import httpx
import pytest

from trichord.service.security import Access

from .visiting import CHANGED, FILMS, FOUND, query_of, serving, settled, shown, shows

NEWEST = [
    "still.png", "tone.wav", "short.mp4", "mute.mp4", "red to blue.mp4", "blue to white.mp4",
    list(FILMS)[3],
]  # fmt: skip


def names(page):
    return page.locator(".card.file .open").all_inner_texts()


def waits_for(page, expected):
    there = """wanted => [...document.querySelectorAll('.card.file .open')]
      .map((link) => link.textContent).join('|') === wanted"""
    page.wait_for_function(there, arg="|".join(expected))


def test_the_start_lists_the_files_the_newest_first(visit):
    page = visit()
    waits_for(page, NEWEST)
    headings = page.locator(".divider.month").all_inner_texts()
    assert headings == ["May 2026", "April 2026", "March 2026", "February 2026", "January 2026"]
    card = page.locator(".card.file", has_text="tone.wav")
    assert card.locator(".when").inner_text() == "0:04"
    assert "Apr 20, 2026" in card.inner_text()
    assert "moments" in card.inner_text()
    page.wait_for_function(
        "() => document.querySelector('.stage.audio .thumb')?.naturalWidth === 400"
    )


def test_files_by_kind_order_and_folder(visit):
    page = visit()
    page.click("#kinds >> text=Sounds")
    waits_for(page, ["tone.wav"])
    page.click("#kinds >> text=All")
    page.select_option("#sort", "name")
    waits_for(
        page,
        [
            list(FILMS)[3],
            "blue to white.mp4",
            "red to blue.mp4",
            "mute.mp4",
            "short.mp4",
            "tone.wav",
            "still.png",
        ],
    )
    page.click("#folders >> text=night")
    waits_for(page, ["mute.mp4", "short.mp4", "tone.wav"])
    assert query_of(page) == "path=night&sort=name"
    page.click("#folders >> text=All folders")
    page.wait_for_function("() => document.querySelectorAll('.card.file').length === 7")
    page.go_back()
    waits_for(page, ["mute.mp4", "short.mp4", "tone.wav"])


def test_files_by_date(visit):
    page = visit()
    waits_for(page, NEWEST)
    page.click("#filters-toggle")
    page.fill("[name=since]", (CHANGED + timedelta(days=50)).date().isoformat())
    page.press("[name=since]", "Enter")
    waits_for(page, NEWEST[:4])
    page.fill("[name=since]", "2030-01-01")
    page.press("[name=since]", "Enter")
    page.wait_for_selector("text=No file passes the filters")


def test_hits_in_missing_files_are_found_on_demand_and_marked(visit, films):
    here, away = films / "night" / "short.mp4", films.parent / "short.mp4"
    here.rename(away)
    try:
        page = visit("/?q=bell")
        page.wait_for_selector(FOUND)
        assert page.locator(".card", has_text="short.mp4").count() == 0
        page.click("#filters-toggle")
        page.select_option("[name=missing]", "yes")
        card = page.locator(".card", has_text="short.mp4").first
        card.wait_for()
        assert "The file is missing now" in card.inner_text()
        assert query_of(page) == "q=bell&missing=yes"
        assert page.locator(".missing").count() == page.locator(".card", has_text="short").count()
    finally:
        away.rename(here)


def test_more_files_than_fit_have_pages(visit, address):
    """The archive of the tests has one page: the files are told three times, a page of 24 at a time."""
    files = httpx.get(f"{address}/api/files").json()["files"] * 9
    page = visit("/?q=bell")
    page.wait_for_selector(FOUND)

    def told(route):
        offset = int(route.request.url.partition("offset=")[2].partition("&")[0])
        one = [{**file, "file": f"{at:024x}"} for at, file in enumerate(files)][
            offset : offset + 24
        ]
        route.fulfill(json={"files": one, "total": len(files), "folders": []})

    page.route("**/api/files?*", told)
    page.click("#home")
    page.wait_for_selector("#pager", state="visible")
    assert page.inner_text("#page-place") == "1 – 24 of 63"
    assert page.is_disabled("#page-before")
    page.click("#page-after")
    page.click("#page-after")
    page.wait_for_function(
        "() => document.querySelector('#page-place').textContent === '49 – 63 of 63'"
    )
    assert page.is_disabled("#page-after")
    assert query_of(page) == "from=48"
    assert page.locator(".card.file").count() == 15


def test_a_file_opens_with_its_moments_to_jump_by(visit, ids):
    page = visit("/?path=day")
    page.locator(".card .open").first.click()
    video = "document.querySelector('#player video')"
    page.wait_for_function(f"() => {video}.readyState > 1")
    page.evaluate(f"{video}.pause()")
    frames = page.locator("#sibling-list button")
    assert frames.count() == 7
    frames.nth(3).click()
    page.wait_for_function(f"() => Math.abs({video}.currentTime - 3) < 0.1")
    assert page.inner_text(".chosen .part-name") == "Moment 0:03 – 0:05"
    assert frames.nth(3).get_attribute("aria-current") == "true"
    assert page.locator(".course-svg .begins").count() == 7
    moment = frames.nth(3).get_attribute("data-id")
    page.get_by_role("button", name="More like this by audio", exact=True).click()
    shows(page, ids({"moment": moment, "by": "audio"}, where={"path": "day"}))


def test_an_open_file_has_an_address_and_neighbours(visit):
    page = visit()
    waits_for(page, NEWEST)
    page.locator(".card.file", has_text="mute.mp4").locator(".open").click()
    page.wait_for_selector("#detail[open]")
    page.reload()
    page.wait_for_selector("#detail[open]")
    assert page.inner_text("#detail-name") == "mute.mp4"
    waits_for(page, NEWEST)
    page.click("#next")
    page.wait_for_function(
        "() => document.querySelector('#detail-name').textContent === 'red to blue.mp4'"
    )
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert query_of(page) == ""


def test_the_open_hit_says_date_size_and_path(visit, app_of, films):
    page = visit("/?q=bell&path=day")
    page.locator(".card .open").first.click()
    facts = page.wait_for_selector(".file-facts").inner_text()
    assert "2026" in facts
    assert "kB" in facts
    assert str(films) not in page.content()
    with serving(app_of(show_paths=True)) as at:
        page = visit(
            "/?q=bell&path=night/short.mp4",
            at=at,
            permissions=["clipboard-read", "clipboard-write"],
        )
        page.locator(".card .open").first.click()
        page.click(".copy")
        page.wait_for_selector("text=Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == str(films / "night" / "short.mp4")
        page.context.close()


def test_without_full_paths_the_shown_one_is_copied(visit):
    page = visit("/?path=night/short.mp4", permissions=["clipboard-read", "clipboard-write"])
    page.locator(".card .open").first.click()
    page.click(".copy")
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "night/short.mp4"


def test_a_folder_is_opened_only_where_the_service_says_so(visit, app_of, films, monkeypatch):
    shown = []
    monkeypatch.setattr("trichord.service.archive.show", shown.append)
    page = visit("/?q=bell&path=night/short.mp4")
    page.locator(".card .open").first.click()
    page.wait_for_selector(".copy")
    assert page.locator("text=Open in folder").count() == 0
    with serving(app_of(access=Access(open_folders=True))) as at:
        page = visit("/?q=bell&path=night/short.mp4", at=at)
        page.locator(".card .open").first.click()
        page.click("text=Open in folder")
        page.wait_for_selector("text=Opened")
        page.context.close()
    assert shown == [films / "night" / "short.mp4"]


def test_an_empty_search_says_what_can_be_asked(visit):
    page = visit()
    waits_for(page, NEWEST)
    page.press("#text", "Enter")
    page.wait_for_selector("#suggestion:not(:empty)")
    assert "Type what is seen or heard" in page.inner_text("#suggestion")
    page.fill("#text", "a bell")
    page.press("#text", "Enter")
    page.wait_for_selector(FOUND)
    assert page.inner_text("#suggestion") == ""
    page.fill("#text", "")
    page.press("#text", "Enter")
    waits_for(page, NEWEST)
    assert page.inner_text("#suggestion") != ""


@pytest.fixture
def growing(films, model, tmp_path):
    """The address of a service over a picture, and a function by which another process adds a film."""
    from trichord.media import Decoder, Limits
    from trichord.search.collection import StoredCollection
    from trichord.search.engine import SearchEngine
    from trichord.search.indexing import begin, index
    from trichord.service.app import create

    collection = begin(tmp_path / "growing", "run", model, seconds=2.0, hop=1.0)
    with Decoder(workers=1, limits=Limits(wall_seconds=60.0)) as decoder:
        list(index(collection, model, decoder, [films / "still.png"], speech=False))

        def grow():
            other = StoredCollection.open(tmp_path / "growing")
            list(index(other, model, decoder, [films / "night" / "short.mp4"], speech=False))

        app = create(SearchEngine(collection, model, decoder), roots=[films])
        with serving(app) as at:
            yield at, grow
        app.state.archive.close()


def test_files_that_another_process_adds_appear(visit, growing):
    at, grow = growing
    page = visit(at=at)
    waits_for(page, ["still.png"])
    grow()
    waits_for(page, ["still.png", "short.mp4"])
    assert page.inner_text("#collection-size").startswith("2 moments in 2 files")
    assert page.inner_text("#indexing") == (
        "The archive is being indexed\n2 files so far, 1 of them new"
    )


def test_a_job_shows_how_far_it_is_and_how_it_ended(visit):
    job = {
        "job": "ab", "state": "running", "files": 40, "done": 10, "changes": {"new": 10},
        "statuses": {"ok": 9, "corrupt": 1}, "failed": 1, "latest": "day/<b>.mp4", "seconds": 5.0,
        "error": None,
    }  # fmt: skip
    states = iter([job, {**job, "state": "done", "done": 40}])
    now = [next(states)]
    page = visit("/?q=bell")
    page.route(
        "**/api/status",
        lambda route: route.fulfill(json={"version": 1, "files": 7, "moments": 27, "job": now[0]}),
    )
    page.reload()
    page.wait_for_selector("#indexing progress")
    said = page.inner_text("#indexing")
    assert "10 of 40 files · 2.0 files a second · about 15 s left; 1 file could not be read" in said
    assert "Last: day/<b>.mp4" in said
    assert page.get_attribute("#indexing progress", "value") == "10"
    now[0] = next(states)
    page.wait_for_selector("#indexing >> text=40 files indexed; 1 file could not be read")
    assert page.inner_text("#indexing-voice") == "40 files indexed; 1 file could not be read"
    page.click("#indexing >> text=Close")
    assert page.is_hidden("#indexing")


def test_hits_by_kind_and_in_order_of_date(visit, ids):
    page = visit("/?q=bell")
    page.wait_for_selector(FOUND)
    best = shown(page)
    page.click("#kinds >> text=Videos")
    shows(page, ids({"text": "bell"}, where={"kind": "video"}))
    page.click("#kinds >> text=All")
    shows(page, best)
    page.select_option("#sort", "newest")
    settled(page)
    page.wait_for_function(
        "() => document.querySelector('.card .open').textContent === 'still.png'"
    )
    assert sorted(shown(page)) == sorted(best)
    ranks = page.locator(".card .rank").all_inner_texts()
    assert ranks != sorted(ranks, key=int)  # each keeps its rank
    page.select_option("#sort", "best")
    shows(page, best)
