"""Searching on the page."""

import re

from .visiting import FOUND, drop, query_of, search, settled, shown, shows


def test_words_show_what_the_service_finds(visit, ids):
    page = visit()
    page.wait_for_selector("#collection-name:not(:empty)")
    assert page.inner_text("#collection-name") == "a small archive"
    assert page.inner_text("#collection-size").startswith("27 moments in 7 files")
    search(page, "a low bell rings slowly")
    assert shown(page) == ids({"text": "a low bell rings slowly"})
    assert query_of(page) == "q=a low bell rings slowly"
    assert page.title().startswith("a low bell rings slowly")
    first = page.locator(".card .open").first.get_attribute("aria-label")
    assert re.fullmatch(r"1: .+, .+\. Score −?\d+\.\d\d: .+", first)


def test_a_minus_becomes_a_part_that_can_be_turned_weighed_and_removed(visit, ids):
    page = visit()
    search(page, 'a bell -"the red ball" −beach')
    assert page.input_value("#text") == "a bell"
    names = page.locator(".chip-name")
    assert names.all_inner_texts() == ["the red ball", "beach"]
    bell, ball, beach = ({"text": text} for text in ("a bell", "the red ball", "beach"))
    shows(page, ids(bell, {**ball, "weight": -1}, {**beach, "weight": -1}))
    page.click(".chip:nth-child(1) .sign")
    shows(page, ids(bell, {**ball, "weight": 1}, {**beach, "weight": -1}))
    page.select_option(".chip:nth-child(2) select", "4")
    shows(page, ids(bell, ball, {**beach, "weight": -4}))
    page.click(".chip:nth-child(2) .remove")
    page.click(".chip:nth-child(1) .remove")
    shows(page, ids(bell))
    assert names.count() == 0


def test_a_dropped_film_finds_itself(visit, films):
    page = visit()
    drop(page, films / "night" / "short.mp4", "video/mp4")
    assert page.inner_text(".chip-name") == "short.mp4"
    assert page.locator(".card .open").first.inner_text() == "short.mp4"
    page.select_option(".chip select >> nth=0", "image")
    settled(page)
    assert "p=video~1~image~" in query_of(page)


def test_a_chosen_picture_joins_the_words_that_are_typed(visit, films):
    page = visit()
    page.fill("#text", "a red ball")
    page.set_input_files("#file", films / "still.png")
    page.wait_for_selector(FOUND)
    assert "q=a red ball" in query_of(page)
    assert "p=image~1~~" in query_of(page)
    assert page.wait_for_selector(".chip img").get_attribute("src").startswith("blob:")


def test_a_file_that_is_no_media_is_refused_and_can_be_put_away(visit, tmp_path):
    page = visit(refused=["415"])
    (tmp_path / "notes.mp4").write_text("no film")
    page.set_input_files("#file", tmp_path / "notes.mp4")
    page.wait_for_selector("#refused:not([hidden])")
    assert page.inner_text("#refused") == (
        "notes.mp4: The file is not a video, sound or picture that can be read: send another format, "
        "such as MP4, WAV or JPEG."
    )
    assert page.locator(".chip >> text=Send again").count() == 0  # it would be refused again
    page.click(".chip .remove")
    assert page.is_hidden("#refused")
    assert page.locator(".chip").count() == 0


def test_a_recorded_sound_is_searched_for(visit):
    page = visit()
    page.click("#record")
    page.wait_for_function("() => document.querySelector('#recorded').textContent === '0:02'")
    page.click("#record")
    page.wait_for_selector(FOUND)
    assert page.inner_text(".chip-name") == "recording.webm"
    assert "p=audio~1~~" in query_of(page)


def test_an_upload_that_the_service_has_let_go_of_is_sent_again(visit, films):
    page = visit(refused=["404"])
    drop(page, films / "day" / "red to blue.mp4", "video/mp4")
    before = query_of(page)
    gone = re.search(r"video~([0-9a-f]{32})", before)[1]

    def forget(route):
        known = gone not in route.request.post_data
        said = '{"error": "The uploaded file does not exist any more: send it again."}'
        route.continue_() if known else route.fulfill(status=404, body=said)

    page.route("**/api/search", forget)
    page.click("#group")
    page.wait_for_selector(".shelf")
    assert gone not in query_of(page)
    assert re.search(r"p=video~1~video~[0-9a-f]{32}~red to blue.mp4", query_of(page))


def test_the_dials_change_the_order(visit, ids):
    page = visit()
    search(page, "a red ball bounces")
    words = {"text": "a red ball bounces"}
    assert ids(words, visual_weight=1, audio_weight=0) != ids(
        words, visual_weight=0, audio_weight=1
    )
    page.press("#balance", "Home")
    shows(page, ids(words, visual_weight=1, audio_weight=0))
    assert page.get_attribute("#balance", "aria-valuetext") == "visual only"
    page.press("#balance", "End")
    shows(page, ids(words, visual_weight=0, audio_weight=1))
    page.press("#token", "End")
    shows(page, ids(words, visual_weight=0, audio_weight=1, audio_type=1))
    assert query_of(page) == "q=a red ball bounces&balance=1&token_at=1"
    page.click("#balance-reset")
    shows(page, ids(words, audio_type=1))


def test_more_like_this_by_a_side(visit, ids):
    page = visit()
    search(page, "a low bell")
    card = page.locator(".card", has=page.locator(".like >> nth=2")).first
    one = card.get_attribute("data-id")
    card.get_by_role("button", name="More like this by audio", exact=True).click()
    shows(page, ids({"moment": one, "by": "audio"}))
    assert page.input_value("#text") == ""
    assert f"p=moment~1~audio~{one}~" in query_of(page)
    page.fill("#text", "a bell")
    page.press("#text", "Enter")
    shows(page, ids({"text": "a bell"}, {"moment": one, "by": "audio"}))


def test_what_a_moment_lacks_cannot_be_asked_for(visit):
    page = visit("/?q=bell")
    mute = page.locator(".card", has_text="mute.mp4").first
    mute.wait_for()
    assert mute.locator(".like").all_inner_texts() == ["visual"]
    assert mute.locator(".number").all_inner_texts()[1] == "none"


def test_filters_narrow_and_can_be_cleared(visit, ids):
    page = visit()
    search(page, "a bell")
    page.click("#filters-toggle")
    page.fill("[name=path]", "night")
    page.press("[name=path]", "Enter")
    page.select_option("[name=has_audio]", "yes")
    shows(page, ids({"text": "a bell"}, where={"path": "night", "has_audio": True}))
    assert set(page.locator(".card .open").all_inner_texts()) == {"tone.wav", "short.mp4"}
    assert page.inner_text("#filter-count") == "2"
    page.fill("[name=min_duration]", "100000")
    page.press("[name=min_duration]", "Enter")
    page.wait_for_selector("text=No moment passes the filters")
    page.click("#notice >> text=Clear filters")
    shows(page, ids({"text": "a bell"}))
    assert page.is_hidden("#notice")


def test_moments_are_grouped_by_file_the_best_first(visit, ids):
    page = visit("/?q=a+bell&group=1")
    page.wait_for_selector(".shelf")
    best = page.eval_on_selector_all(
        ".shelf", "shelves => shelves.map((one) => one.querySelector('.card').dataset.id)"
    )
    assert best == ids({"text": "a bell"}, group=True)
    assert len(best) == 7


def test_going_back_restores_the_search(visit):
    page = visit()
    search(page, "a bell")
    bell = shown(page)
    search(page, "good morning")
    morning = shown(page)
    page.click("#group")
    page.wait_for_selector(".shelf")
    page.go_back()
    shows(page, morning)
    page.go_back()
    shows(page, bell)
    assert page.input_value("#text") == "a bell"
    page.go_forward()
    shows(page, morning)
    page.reload(wait_until="commit")
    shows(page, morning)
    page.go_back()
    page.go_back()
    page.wait_for_selector("#welcome", state="visible")
    page.wait_for_selector(".card.file")
    assert page.locator(".card:not(.file)").count() == 0
