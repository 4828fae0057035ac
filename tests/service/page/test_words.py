"""What is said and shown, on the page: transcripts, found words, what counts, and subtitles."""

import json
import re

import httpx
import pytest

from trichord.service.catalogue import file_id

from .visiting import FILMS, FOUND, PLAYING, TURN, query_of, search, settled, shown

VIDEO = "document.querySelector('#player video')"
QUOTED = '/?q="turn left"'
CURRENT = """() => {
  const lines = [...document.querySelectorAll('.cue[aria-current]')];
  const written = (line, name) => line.querySelector(name)?.textContent ?? null;
  return lines.map((line) => [written(line, '.text'), written(line, '.now')]);
}"""


@pytest.fixture
def opened(visit, worded):
    """Opens the hit in which the film begins to speak, and stops it."""

    def opened(**options):
        page = visit(QUOTED, at=worded, **options)
        page.locator(".card", has_text="Now turn left").locator(".open").click()
        page.wait_for_selector(".cue")
        page.wait_for_function(f"() => {VIDEO}.readyState > 0")
        page.evaluate(f"{VIDEO}.pause()")
        return page

    return opened


def go(page, seconds):
    """Let the player go to a time."""
    page.evaluate(f"seconds => {{ {VIDEO}.currentTime = seconds; }}", seconds)
    page.wait_for_function(f"() => !{VIDEO}.seeking")


def at(page):
    return page.evaluate(f"{VIDEO}.currentTime")


def test_a_transcript_shows_who_says_what_with_the_found_words_marked(opened):
    page = opened()
    assert page.inner_text("#transcript-title") == "Transcript"
    lines = page.locator(".cue .said").all_inner_texts()
    assert lines == [
        "Ann: Now turn left here.",
        "Bob: <b>Then</b> go straight on & wait.",
        "Ann: To turn around, then turn left again.",
    ]
    assert page.locator(".cue .at").all_inner_texts() == ["0:00", "0:03", "0:05"]
    # Not the first "turn" of the last line: the phrase is found further on.
    assert page.locator(".cue .text").nth(2).inner_html() == (
        'To turn around, then <mark data-start="6.3">turn</mark> <mark data-start="6.6">left</mark> again.'
    )
    assert page.locator(".cue").nth(1).locator("mark").count() == 0


def test_the_line_and_the_word_are_highlighted_as_they_are_said(opened):
    page = opened()
    for seconds, line, word in (
        (0.7, "Now turn left here.", "turn"),
        (1.6, "Now turn left here.", "here."),
        (6.1, "To turn around, then turn left again.", "then"),
    ):
        go(page, seconds)
        assert page.evaluate(CURRENT) == [[line, word]]
    go(page, 2.2)
    assert page.evaluate(CURRENT) == []


def test_lines_without_the_times_of_words_and_lines_that_overlap_are_highlighted(opened):
    page = opened()
    page.get_by_role("button", name="On the screen").click()
    assert page.inner_text("#transcript-title") == "On the screen"
    assert page.locator("#transcript a:visible").count() == 0  # subtitles are of what is said
    go(page, 2.0)
    assert page.evaluate(CURRENT) == [["EXIT 12", None], ["Main Street", None]]
    go(page, 4.0)
    assert page.evaluate(CURRENT) == [["Main Street", None]]


def test_a_click_on_a_line_or_a_word_and_the_keyboard_jump(opened):
    page = opened()
    page.locator(".cue").nth(1).locator(".at").click()
    assert at(page) == pytest.approx(2.5, abs=0.01)
    # A word that is no element yet: the middle of "around,".
    place = page.evaluate("""() => {
      const text = document.querySelectorAll('.cue .text')[2];
      const range = new Range();
      range.setStart(text.firstChild, 10);
      range.setEnd(text.firstChild, 12);
      const { x, y, width, height } = range.getBoundingClientRect();
      return [x + width / 2, y + height / 2];
    }""")
    page.mouse.click(*place)
    assert at(page) == pytest.approx(5.4, abs=0.01)
    page.locator(".cue mark").nth(1).click()
    assert at(page) == pytest.approx(1.1, abs=0.01)
    page.locator(".cue .at").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert at(page) == pytest.approx(2.5, abs=0.01)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert at(page) == pytest.approx(3.2, abs=0.01)
    page.keyboard.press("ArrowLeft")
    assert at(page) == pytest.approx(2.9, abs=0.01)
    assert "open=" in page.url  # the arrows did not go to another hit
    stops = page.locator(".cue .at[tabindex='0']")  # not a thousand stops of the Tab key
    assert stops.all_inner_texts() == ["0:03"]
    page.locator("#close").focus()
    go(page, 6)
    assert stops.all_inner_texts() == ["0:05"]


def test_found_words_are_on_the_timeline_and_jump(opened):
    page = opened()
    page.wait_for_selector(".word-mark")
    marks = page.locator(".word-mark")
    assert [one.get_attribute("title") for one in marks.all()] == [
        "0:00.6 turn", "0:01.1 left", "0:06.3 turn", "0:06.6 left",
    ]  # fmt: skip
    assert marks.nth(2).get_attribute("aria-label") == "turn, at 0:06.3"
    box, svg = marks.nth(2).bounding_box(), page.locator(".course-svg").bounding_box()
    middle = (box["x"] + box["width"] / 2 - svg["x"]) / svg["width"]
    assert middle == pytest.approx(6.3 / 8.0, abs=0.02)
    marks.nth(2).click()
    assert at(page) == pytest.approx(6.3, abs=0.01)
    assert page.evaluate(CURRENT) == [["To turn around, then turn left again.", "turn"]]


def test_a_line_that_has_no_words_of_the_search_is_shown_as_found(visit, worded):
    """As lines that are found by their meaning."""

    def alter(route):
        response = route.fetch()
        answer = response.json()
        for hit in answer["hits"]:
            hit["texts"] = [text | {"words": []} for text in hit["texts"]]
        route.fulfill(response=response, json=answer)

    def forget(route):
        response = route.fetch()
        route.fulfill(response=response, json=response.json() | {"texts": []})

    page = visit("/docs", at=worded)
    page.route("**/api/search", alter)
    page.route("**/api/timeline", forget)
    page.goto(worded + QUOTED)
    page.locator(".card", has_text="Now turn left").locator(".open").click()
    page.wait_for_selector(".word-mark")
    page.wait_for_selector(".cue")
    assert page.locator("mark").count() == 0
    assert page.locator(".word-mark").first.get_attribute("title") == "0:00.2 Now turn left here."
    found = page.locator(".cue.found .text").all_inner_texts()
    assert found == ["Now turn left here.", "To turn around, then turn left again."]


def test_words_next_to_each_other_share_a_mark_where_fingers_touch(opened):
    phone = {"width": 390, "height": 844}
    page = opened(viewport=phone, has_touch=True, is_mobile=True)
    page.wait_for_selector(".word-mark")
    titles = [one.get_attribute("title") for one in page.locator(".word-mark").all()]
    assert titles == ["0:00.6 turn, left", "0:06.3 turn, left"]
    boxes = [one.bounding_box() for one in page.locator(".word-mark").all()]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


def test_a_card_says_what_was_found_and_plays_from_there(visit, worded):
    page = visit(QUOTED, at=worded)
    page.wait_for_selector(FOUND)
    card = page.locator(".card", has_text="To turn around, then turn left again.")
    assert card.locator(".found-line mark").all_inner_texts() == ["turn", "left"]
    card.hover()
    assert 6.25 <= page.wait_for_function(PLAYING).json_value() < 7.7
    card.locator(".open").click()
    page.wait_for_function(f"() => {VIDEO}.currentTime > 6.25")
    assert page.get_attribute("#facts a[target=_blank]", "href").endswith("#t=6.3")


def test_a_picture_shows_its_text_without_times(visit, worded):
    page = visit("/?q=%22closed%20on%20monday%22", at=worded)
    page.locator(".card .open").first.click()
    page.wait_for_selector(".cue")
    assert page.inner_text("#transcript-title") == "On the screen"
    assert page.locator(".cue mark").all_inner_texts() == ["CLOSED", "ON", "MONDAY"]
    assert page.locator(".cue .at").count() == 0
    assert page.locator("#transcript a:visible").count() == 0


def test_a_file_has_its_transcript_without_a_search(visit, worded, films):
    page = visit(f"/?file={file_id(str(films / TURN))}", at=worded)
    page.wait_for_selector(".cue")
    assert page.locator(".cue").count() == 3
    assert page.locator("mark, .word-mark").count() == 0


def long_transcript(page, count=10_000, length=0.1):
    """Let the service say a lot, fast: ten words a line."""
    words = [f"word{n}" for n in range(10)]

    def fulfil(route):
        speech = [
            {
                "start": length * i, "end": length * (i + 1), "text": " ".join(words),
                "language": "en", "speaker": "",
                "words": [{"word": w, "start": length * (i + n / 10)} for n, w in enumerate(words)],
            }
            for i in range(count)
        ]  # fmt: skip
        route.fulfill(json={"speech": speech, "screen": []})

    page.route("**/texts", fulfil)


def test_a_long_transcript_is_shown_in_parts_and_scrolls_only_while_it_plays(visit, worded):
    page = visit(QUOTED, at=worded)
    long_transcript(page)
    page.locator(".card", has_text="Now turn left").locator(".open").click()
    page.wait_for_selector(".cue")
    page.evaluate(f"{VIDEO}.pause()")
    assert page.locator(".cue").count() == 10_000
    # Words are elements once they were said, and lines are laid out where they are seen.
    assert page.locator(".word").count() < 1000
    rendered = """() => [...document.querySelectorAll('.cue')].filter((line) =>
      line.querySelector('.said').checkVisibility({ contentVisibilityAuto: true })).length"""
    assert 0 < page.evaluate(rendered) < 200
    top = "document.querySelector('.lines').scrollTop"
    before = page.evaluate(top)
    go(page, 4)
    assert page.evaluate(top) == before  # paused: only the highlight moves
    page.evaluate(f"{VIDEO}.play()")
    page.wait_for_function(f"before => {top} > before + 300", arg=before)
    page.hover(".lines")
    page.mouse.wheel(0, -5000)
    page.wait_for_function(f"() => {top} === 0")
    page.evaluate(f"{VIDEO}.currentTime = 6")
    page.wait_for_timeout(300)
    assert page.evaluate(top) == 0  # scrolled away: it stays
    page.evaluate(f"{VIDEO}.pause()")
    page.click(".back")
    page.wait_for_function(f"() => {top} > 300")
    assert page.is_hidden(".back")


@pytest.fixture
def asked(visit, worded):
    """A page that searches, and the bodies of its requests so far."""
    bodies = []
    page = visit(at=worded)
    page.on(
        "request",
        lambda one: one.url.endswith("/api/search") and bodies.append(json.loads(one.post_data)),
    )
    search(page, "turn left")
    return page, bodies


def switch(page, name):
    page.locator("#counted").get_by_role("button", name=name, exact=True).click()
    settled(page)


def test_what_counts_is_chosen_and_kept_in_the_address(asked):
    page, bodies = asked
    names = ("visual_weight", "audio_weight", "speech_weight", "screen_weight")
    assert [bodies[-1][name] for name in names] == [None, None, None, None]
    switch(page, "Speech")
    assert [bodies[-1][name] for name in names] == [None, None, 0, None]
    assert query_of(page) == "q=turn left&without=speech"
    assert page.locator(".found-line").count() == 0
    switch(page, "Speech")
    switch(page, "Sound")
    assert [bodies[-1][name] for name in names] == [1, 0, None, None]
    assert page.is_hidden("#balance-dial")  # there is nothing to balance
    switch(page, "Text on screen")
    switch(page, "Picture")
    assert [bodies[-1][name] for name in names] == [0, 0, None, 0]
    page.wait_for_function("() => document.querySelectorAll('.card').length === 2")
    assert page.locator(".found-line").count() == 2  # words alone
    last = page.locator("#counted").get_by_role("button", name="Speech", exact=True)
    assert last.is_disabled()  # something must count
    page.reload()
    page.wait_for_selector(FOUND)
    pressed = page.locator("#counted button[aria-pressed=true]").all_inner_texts()
    assert pressed == ["Speech"]
    page.go_back()
    page.wait_for_function("() => document.querySelectorAll('.card').length > 2")


def test_a_side_that_the_model_lacks_is_not_offered(visit, worded):
    def alter(route):
        response = route.fetch()
        found = response.json() | {"comparable": [["text", "vision"]], "texts": ["speech"]}
        route.fulfill(response=response, json=found)

    page = visit("/docs", at=worded)
    page.route("**/api/collection", alter)
    bodies = []
    page.on(
        "request",
        lambda one: one.url.endswith("/api/search") and bodies.append(json.loads(one.post_data)),
    )
    page.goto(f"{worded}/?q=turn+left")
    page.wait_for_selector(FOUND)
    visible = page.locator("#counted button:visible")
    assert visible.all_inner_texts() == ["Picture", "Speech"]
    switch(page, "Picture")
    assert (bodies[-1]["visual_weight"], bodies[-1]["audio_weight"]) == (0, 0)
    assert visible.nth(1).is_disabled()
    switch(page, "Picture")
    assert query_of(page) == "q=turn left"


def test_moments_are_filtered_by_the_language_that_is_spoken(visit, worded):
    page = visit("/?q=bell", at=worded)
    page.wait_for_selector(FOUND)
    page.click("#filters-toggle")
    assert page.locator("#language option").all_inner_texts() == ["any", "German", "English"]
    page.select_option("#language", "de")
    page.wait_for_function("() => document.querySelectorAll('.card').length < 5")
    assert set(page.locator(".card .open").all_inner_texts()) == {"blue to white.mp4"}
    assert query_of(page) == "q=bell&language=de"
    page.fill("#text", "")
    page.press("#text", "Enter")
    page.wait_for_selector(".card.file")
    assert page.locator(".card.file .open").all_inner_texts() == ["blue to white.mp4"]


def saved(page, name):
    with page.expect_download() as download:
        page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name)).click()
    return download.value.suggested_filename, download.value.path().read_text("utf-8")


def test_what_is_said_in_the_hits_is_saved_one_after_another(visit, worded):
    page = visit(QUOTED, at=worded)
    page.wait_for_selector(FOUND)
    # The hits are 6.3 s to 7.6 s and 0.6 s to 2.0 s: from the words on.
    name, text = saved(page, "Save what is said in these hits as VTT subtitles")
    assert name == "turn-left.vtt"
    assert text == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.300\nTo turn around, then turn left again.\n\n"
        "00:00:01.300 --> 00:00:02.700\nNow turn left here.\n"
    )
    name, text = saved(page, "Save what is said in these hits as SRT subtitles")
    assert name == "turn-left.srt"
    assert text == (
        "1\n00:00:00,000 --> 00:00:01,300\nTo turn around, then turn left again.\n\n"
        "2\n00:00:01,300 --> 00:00:02,700\nNow turn left here.\n"
    )


def test_subtitles_of_hits_are_those_of_the_command_line(visit, worded):
    """Several files, hits without a word, and marks that VTT escapes."""
    from trichord.search.hit_lists import to_cues
    from trichord.speech.transcript import SpokenSegment, srt_of, vtt_of
    from trichord.types import FoundText, Hit, Moment

    page = visit("/?q=bell", at=worded)
    page.wait_for_selector(FOUND)
    answer = httpx.post(
        f"{worded}/api/search",
        json={"parts": [{"text": "bell", "weight": 1}], "k": 24, "caption_weight": 0},
    ).json()["hits"]
    assert [one["id"] for one in answer] == shown(page)
    hits = [
        Hit(
            moment=Moment(file=one["file"], start=one["start"], end=one["end"]),
            score=one["score"], visual=one["visual"], audio=one["audio"],
            texts=tuple(
                FoundText(**{**text, "words": tuple((w["word"], w["start"]) for w in text["words"])})
                for text in one["texts"]
            ),
        )
        for one in answer
    ]  # fmt: skip

    def lines_of(file):
        speech = httpx.get(f"{worded}/api/files/{file}/texts").json()["speech"]
        return [
            SpokenSegment(start=one["start"], end=one["end"], text=one["text"]) for one in speech
        ]

    cues = to_cues(hits, lines_of)
    assert len(cues) > 3
    assert any("&" in text for _, _, text in cues)
    assert saved(page, "as VTT")[1] == vtt_of(cues)
    assert saved(page, "as SRT")[1] == srt_of(cues)


def test_hits_in_which_nothing_is_said_are_no_subtitles(visit, worded):
    page = visit("/?q=bell&path=night", at=worded)
    page.wait_for_selector(FOUND)
    page.get_by_role("button", name="as VTT").click()
    page.wait_for_selector("#refused:not([hidden])")
    assert page.inner_text("#refused").startswith("Nothing is said in these hits")


def test_what_is_said_in_a_file_is_saved(opened, worded):
    page = opened()
    name, text = saved(page, "Save what is said as VTT subtitles")
    assert name == "red to blue.vtt"
    assert text.startswith("WEBVTT\n\n00:00:00.200 --> 00:00:02.000\nNow turn left here.\n")
    assert "&lt;b&gt;Then&lt;/b&gt; go straight on &amp; wait." in text
    name, text = saved(page, "Save what is said as SRT subtitles")
    assert name == "red to blue.srt"
    assert text.startswith("1\n00:00:00,200 --> 00:00:02,000\nNow turn left here.\n")


def test_a_transcript_that_cannot_be_read_says_so_and_is_asked_for_again(visit, worded):
    page = visit(QUOTED, at=worded, refused=["503"])
    broken = [True]

    def fail(route):
        route.fulfill(status=503, json={"error": "Too many wait."}) if broken else route.continue_()

    page.route("**/texts", fail)
    page.locator(".card .open").first.click()
    page.wait_for_selector("#transcript [role=alert]")
    assert "Too many wait." in page.inner_text("#transcript")
    broken.clear()
    page.click("#transcript >> text=Try again")
    page.wait_for_selector(".cue")


def test_the_help_says_what_quotes_do(visit, worded, address):
    for place, there in ((worded, True), (address, False)):
        page = visit(at=place)
        page.wait_for_selector(".card.file")
        assert page.is_visible("#hint-words") == there
        page.press("#text", "Enter")
        assert ('"turn left"' in page.inner_text("#suggestion")) == there


def test_an_archive_without_words_shows_none_of_it(visit):
    page = visit("/?q=bell")
    texts = []
    page.on("request", lambda one: texts.append(one.url) if "/texts" in one.url else None)
    page.wait_for_selector(FOUND)
    assert page.is_hidden("#counted")
    assert page.locator("#exports button:visible").all_inner_texts() == ["CSV", "JSON"]
    page.click("#filters-toggle")
    assert page.is_hidden("#language-field")
    page.locator(".card .open").first.click()
    page.wait_for_selector(".course-svg, .whole")
    page.wait_for_timeout(300)
    assert page.is_hidden("#transcript")
    assert texts == []


def test_a_file_without_words_shows_no_transcript(visit, worded, films):
    page = visit(f"/?file={file_id(str(films / list(FILMS)[4]))}", at=worded)
    with page.expect_response(re.compile(r"/texts$")):
        page.reload()
    page.wait_for_selector(".course-svg")
    assert page.is_hidden("#transcript")
