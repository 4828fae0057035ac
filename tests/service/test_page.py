"""The page in a real browser, over the real service and a small real collection."""

import re
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote_plus

import av
import httpx
import numpy as np
import pytest
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM}")

RATE = 16_000
FPS = 5
SCENE = 2.0
RED, BLUE, GREEN, WHITE = (200, 30, 30), (30, 40, 200), (20, 160, 60), (235, 235, 230)
FILMS = {
    "day/red to blue.mp4": [(RED, 220), (BLUE, 1500), (GREEN, 600), (WHITE, 3000)],
    "day/blue to white.mp4": [(BLUE, 3000), (WHITE, 220), (RED, 1500), (GREEN, 900)],
    "night/mute.mp4": [(GREEN, None), (WHITE, None), (BLUE, None)],
    "<img src=x onerror=window.owned=1>.mp4": [(WHITE, 400), (GREEN, 2000)],
    "night/short.mp4": [(RED, 700)],
}
OWNED = '<script>window.owned = 2</script> a "bell" & <b>more</b>'
TOKEN = "a-token-of-the-tests"
WIDE = {"width": 1280, "height": 800}
PATIENCE = 20_000  # ms


def make_film(path, scenes):
    """Scenes of a colour and a tone, two seconds each, a square moving through them."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FPS, options={"g": "5"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        heard = scenes[0][1] is not None
        sound = container.add_stream("aac", rate=RATE, layout="mono") if heard else None
        for number in range(round(len(scenes) * SCENE * FPS)):
            frame = np.full((48, 64, 3), scenes[int(number / FPS / SCENE)][0], np.uint8)
            frame[12:36, (left := 4 + 2 * number % 36) : left + 20] = 128
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode(None))
        if sound is not None:
            write_sound(container, sound, np.concatenate([tone(pitch) for _, pitch in scenes]))


def tone(pitch, seconds=SCENE):
    wave = np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)
    return (0.4 * wave).astype(np.float32)


def write_sound(container, stream, wave):
    for start in range(0, len(wave), 1024):
        piece = wave[None, start : start + 1024]
        if stream.codec_context.format.name == "s16":
            piece = (piece * 32767).astype(np.int16)
        name = stream.codec_context.format.name
        frame = av.AudioFrame.from_ndarray(piece, format=name, layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A folder with films, a sound and a picture."""
    folder = tmp_path_factory.mktemp("films")
    for name, scenes in FILMS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        make_film(folder / name, scenes)
    with av.open(str(folder / "night" / "tone.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        write_sound(container, stream, tone(3000, 4.0))
    Image.new("RGB", (64, 48), (250, 200, 0)).save(folder / "still.png")
    return folder


@pytest.fixture(scope="module")
def app_of(films, tiny_clip4vla, tmp_path_factory):
    """Makes applications that serve a collection of the films; moments of 2 s each second."""
    from trichord.media import Decoder, Limits
    from trichord.search.engine import SearchEngine
    from trichord.search.indexing import begin, index
    from trichord.service.app import create

    model = replace(tiny_clip4vla, audio=replace(tiny_clip4vla.audio, token=0.5)).build().eval()
    place = tmp_path_factory.mktemp("page") / "a small archive"
    collection = begin(place, "run", model, seconds=2.0, hop=1.0)
    made = []
    with Decoder(workers=1, limits=Limits(wall_seconds=60.0)) as decoder:
        list(index(collection, model, decoder, [films], speech=False))
        collection.annotate(films / list(FILMS)[3], [(0.0, 2.0, OWNED, ("<i>tag</i>", "night"))])
        engine = SearchEngine(collection, model, decoder)

        def app_of(**options):
            made.append(create(engine, roots=[films], **options))
            return made[-1]

        yield app_of
        for app in made:
            app.state.archive.close()


@contextmanager
def serving(app, port=0):
    """Serve an application in a thread; gives its address."""
    from trichord.service.server import server_of

    listening = socket.create_server(("127.0.0.1", port))
    server = server_of(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def address(app_of):
    """Of the service."""
    with serving(app_of()) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    """Chromium with a microphone that beeps."""
    beeping = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", *beeping]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Opens pages; afterwards none must have complained, or asked anybody but the service.

    `refused`: parts of complaints that a test calls forth.
    """
    contexts, complaints, elsewhere = [], [], []

    def visit(path="/", at=address, refused=(), **options):
        context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)

        def complain(text):
            if not any(part in text for part in refused):
                complaints.append(text)

        def note(request):
            if not request.url.startswith((at, "blob:" + at)):
                elsewhere.append(request.url)

        page.on("console", lambda said: said.type in ("error", "warning") and complain(said.text))
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("request", note)
        page.goto(at + path)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert elsewhere == []
    assert complaints == []


@pytest.fixture
def ids(address):
    """Asks the service without the page: the ids that it finds, best first."""

    def ids(*parts, **asked):
        asked = {"parts": [{"weight": 1, **part} for part in parts], "k": 24, **asked}
        answer = httpx.post(f"{address}/api/search", json=asked)
        assert answer.status_code == 200, answer.text
        return [hit["id"] for hit in answer.json()["hits"]]

    return ids


def search(page, text):
    page.fill("#text", text)
    page.press("#text", "Enter")
    page.wait_for_selector(".card .open")
    settled(page)


def settled(page):
    page.wait_for_function("() => !document.body.classList.contains('is-busy')")


def shown(page):
    """Ids of the cards, in their order."""
    return page.eval_on_selector_all(".card", "cards => cards.map((card) => card.dataset.id)")


def shows(page, expected):
    """Wait until these cards are there in this order."""
    there = """wanted => [...document.querySelectorAll('.card')]
      .map((card) => card.dataset.id).join() === wanted"""
    try:
        page.wait_for_function(there, arg=",".join(expected))
    except sync_api.TimeoutError:
        assert shown(page) == expected


def drop(page, path, kind):
    """Let a file fall onto the page."""
    given = [path.name, kind, list(path.read_bytes())]
    carried = page.evaluate_handle(
        """([name, type, bytes]) => {
          const carried = new DataTransfer();
          carried.items.add(new File([new Uint8Array(bytes)], name, { type }));
          return carried;
        }""",
        given,
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": carried})
    page.wait_for_selector("#drop", state="visible")
    page.dispatch_event("#drop", "drop", {"dataTransfer": carried})
    page.wait_for_selector(".card .open")
    settled(page)


def query_of(page):
    """What stands in the address, readably."""
    return unquote_plus(page.url.partition("?")[2])


# ---- searching


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
    page.wait_for_selector(".card .open")
    assert "q=a red ball" in query_of(page)
    assert "p=image~1~~" in query_of(page)
    assert page.wait_for_selector(".chip img").get_attribute("src").startswith("blob:")


def test_a_file_that_is_no_media_is_refused_and_can_be_put_away(visit, tmp_path):
    page = visit(refused=["415"])
    (tmp_path / "notes.mp4").write_text("no film")
    page.set_input_files("#file", tmp_path / "notes.mp4")
    page.wait_for_selector("#refused:not([hidden])")
    assert page.inner_text("#refused").startswith("notes.mp4: The file is no video")
    page.click(".chip .remove")
    assert page.is_hidden("#refused")
    assert page.locator(".chip").count() == 0


def test_a_recorded_sound_is_searched_for(visit):
    page = visit()
    page.click("#record")
    page.wait_for_function("() => document.querySelector('#recorded').textContent === '0:02'")
    page.click("#record")
    page.wait_for_selector(".card .open")
    assert page.inner_text(".chip-name") == "recording.webm"
    assert "p=audio~1~~" in query_of(page)


def test_an_upload_that_the_service_has_let_go_of_is_sent_again(visit, films):
    page = visit(refused=["404"])
    drop(page, films / "day" / "red to blue.mp4", "video/mp4")
    before = query_of(page)
    gone = re.search(r"video~([0-9a-f]{32})", before)[1]

    def forget(route):
        known = gone not in route.request.post_data
        said = '{"error": "The uploaded file is not there any more: send it again."}'
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
    assert ids(words, sight=1, sound=0) != ids(words, sight=0, sound=1)
    page.press("#balance", "Home")
    shows(page, ids(words, sight=1, sound=0))
    assert page.get_attribute("#balance", "aria-valuetext") == "sight alone"
    page.press("#balance", "End")
    shows(page, ids(words, sight=0, sound=1))
    page.press("#token", "End")
    shows(page, ids(words, sight=0, sound=1, sound_token=1))
    assert query_of(page) == "q=a red ball bounces&balance=1&token_at=1"
    page.click("#balance-reset")
    shows(page, ids(words, sound_token=1))


def test_more_like_this_by_a_side(visit, ids):
    page = visit()
    search(page, "a low bell")
    card = page.locator(".card", has=page.locator(".like:enabled >> nth=2")).first
    one = card.get_attribute("data-id")
    card.get_by_role("button", name="More like this by sound", exact=True).click()
    shows(page, ids({"moment": one, "by": "sound"}))
    assert page.input_value("#text") == ""
    assert f"p=moment~1~sound~{one}~" in query_of(page)
    page.fill("#text", "a bell")
    page.press("#text", "Enter")
    shows(page, ids({"text": "a bell"}, {"moment": one, "by": "sound"}))


def test_what_a_moment_lacks_cannot_be_asked_for(visit):
    page = visit("/?q=bell")
    mute = page.locator(".card", has_text="mute.mp4").first
    mute.wait_for()
    assert [button.is_enabled() for button in mute.locator(".like").all()] == [True, False, False]
    assert mute.locator(".number").all_inner_texts()[1] == "none"


def test_filters_narrow_and_can_be_cleared(visit, ids):
    page = visit()
    search(page, "a bell")
    page.click("#filters-toggle")
    page.fill("[name=path]", "night")
    page.press("[name=path]", "Enter")
    page.select_option("[name=has_sound]", "yes")
    shows(page, ids({"text": "a bell"}, where={"path": "night", "has_sound": True}))
    assert set(page.locator(".card .open").all_inner_texts()) == {"tone.wav", "short.mp4"}
    assert page.inner_text("#filter-count") == "2"
    page.fill("[name=shortest]", "100000")
    page.press("[name=shortest]", "Enter")
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
    assert page.locator(".card").count() == 0


# ---- playing


PLAYING = """() => {
  const video = document.querySelector('.preview');
  return video && !video.paused && !video.seeking && video.readyState > 2 && video.currentTime;
}"""


def test_a_moment_plays_from_its_start_and_with_sound_on_request(visit):
    page = visit("/?q=bell&path=day")
    card = page.locator(".card", has=page.locator(".when", has_text=re.compile(r"^0:05"))).first
    card.wait_for()
    card.hover()
    at = page.wait_for_function(PLAYING).json_value()
    assert 5.0 <= at < 7.0
    assert page.evaluate("document.querySelector('.preview').muted") is True
    card.get_by_role("button", name="Play with sound").click()
    assert page.evaluate("document.querySelector('.preview').muted") is False
    assert page.get_attribute("#sound", "aria-pressed") == "true"
    page.mouse.move(2, 2)
    page.wait_for_selector(".preview", state="detached")


def test_a_moment_in_its_file_with_its_curves_to_jump_by(visit):
    page = visit("/?q=bell&path=day")
    card = page.locator(".card", has=page.locator(".when", has_text=re.compile(r"^0:03"))).first
    card.locator(".open").click()
    video = "document.querySelector('#player video')"
    page.wait_for_function(f"() => {video}.currentTime >= 3 && {video}.currentTime < 5")
    page.wait_for_selector(".course-svg")
    assert page.locator(".course-svg .line").count() == 2
    page.evaluate(f"{video}.pause()")
    curve = page.locator(".course-svg")
    box = curve.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 20)
    assert page.evaluate(f"{video}.currentTime") == pytest.approx(6.0, abs=0.1)
    curve.press("ArrowLeft")
    assert page.evaluate(f"{video}.currentTime") == pytest.approx(5.0, abs=0.1)
    assert re.match(r"0:05: sight −?\d", curve.get_attribute("aria-valuetext"))
    assert "open=" in page.url
    page.go_back()
    page.wait_for_selector("#detail", state="hidden")
    page.go_forward()
    page.wait_for_selector("#detail", state="visible")
    page.click("#next")
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert "open=" not in page.url


def test_the_detail_says_what_each_part_gave(visit):
    page = visit("/?q=bell&p=text~-1~~~ball")
    page.locator(".card .open").first.click()
    assert page.locator(".part-name").all_inner_texts() == ["bell", "−ball"]
    total = float(page.inner_text(".total").replace("−", "-"))
    given = page.locator(".part .number").all_inner_texts()
    parts = [float(one.replace("−", "-")) for one in given if one != "none"]
    assert sum(parts) == pytest.approx(total, abs=0.03)


# ---- when something is wrong


def test_a_server_that_is_gone_is_told_and_asked_again(visit, app_of):
    refused = ["ERR_CONNECTION_REFUSED", "Failed to load resource", "ERR_"]
    with serving(app_of()) as at:
        page = visit("/?q=a+bell", at=at, refused=refused)
        page.wait_for_selector(".card .open")
    page.fill("#text", "a red ball")
    page.press("#text", "Enter")
    page.wait_for_selector("text=The server does not answer.")
    assert page.locator(".card").count() == 0
    with serving(app_of(), port=int(at.rpartition(":")[2])):
        page.wait_for_selector(".card .open")  # without a hand being moved
        assert page.is_hidden("#notice")


def test_a_token_is_asked_for_and_taken(visit, app_of):
    from trichord.service.security import Access

    with serving(app_of(access=Access(token=TOKEN))) as at:
        page = visit("/?q=a+bell", at=at, refused=["401"])
        page.wait_for_selector("text=This archive asks for its token")
        page.fill("#token-field", "not-the-right-token")
        page.press("#token-field", "Enter")
        page.wait_for_selector(".wrong:not(:empty)")
        page.fill("#token-field", TOKEN)
        page.press("#token-field", "Enter")
        page.wait_for_selector(".card .open")
        page.wait_for_function("() => document.querySelector('.thumb')?.naturalWidth > 0")
        assert TOKEN not in page.url
        page.context.close()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_said(visit, ids, status):
    page = visit(refused=[str(status)])
    answers = iter([status])

    def refuse(route):
        if next(answers, None) is None:
            route.continue_()
        else:
            head = {"Retry-After": "1"}
            said = '{"error": "Come <b>back</b> later."}'
            route.fulfill(status=status, headers=head, body=said)

    page.route("**/api/search", refuse)
    page.fill("#text", "a bell")
    page.press("#text", "Enter")
    page.wait_for_selector("text=Come <b>back</b> later.")
    assert page.inner_text(".countdown") == "Trying again in 1 s"
    page.wait_for_selector(".card .open")
    assert shown(page) == ids({"text": "a bell"})


def test_a_mistaken_search_is_explained(visit):
    page = visit("/?p=moment~1~both~00ff00ff~gone", refused=["404"])
    page.wait_for_selector("#notice.trouble")
    assert page.inner_text("#notice h2") == "This search cannot be done"
    assert page.locator("#notice button").count() == 0


def test_scripts_in_names_captions_tags_and_addresses_stay_text(visit):
    page = visit("/?q=bell&p=text~1~~~%3Cimg%20src=x%20onerror=window.owned=3%3E")
    name = list(FILMS)[3]
    card = page.locator(".card", has_text=OWNED)
    card.wait_for()
    assert card.locator(".open").inner_text() == name
    assert card.locator(".tags li").first.inner_text() == "<i>tag</i>"
    card.locator(".open").click()
    page.wait_for_selector(".course-svg")
    assert page.inner_text("#detail-name") == name
    assert page.locator("img[src=x], .caption script, .caption b").count() == 0
    assert page.evaluate("window.owned") is None


def test_the_policy_lets_no_script_run_that_stands_in_the_page(visit, address):
    policy = httpx.get(address).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    markup = httpx.get(address).text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", markup)
    assert not re.search(r"https?://", markup)


# ---- for everybody


def test_everything_by_the_keyboard(visit):
    page = visit()
    page.wait_for_function("() => document.querySelector('#collection-name').textContent")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.keyboard.type("a bell")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card .open")
    focused = "document.activeElement.closest('.card')?.dataset.id"
    cards = shown(page)
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == cards[0]
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == cards[1]
    page.keyboard.press("ArrowDown")
    below = cards.index(page.evaluate(focused))
    assert below > 2
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == cards[1]
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail", state="visible")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("id => location.search.includes(id)", arg=cards[2])
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    page.wait_for_function(f"id => {focused} === id", arg=cards[2])
    page.keyboard.press("?")
    page.wait_for_selector("#keys", state="visible")
    page.keyboard.press("Escape")
    page.wait_for_selector("#keys", state="hidden")


def test_the_space_bar_plays_with_sound(visit):
    page = visit("/?q=bell&path=day")
    page.wait_for_selector(".card .open")
    page.focus("#text")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    page.wait_for_function(PLAYING)
    assert page.evaluate("document.querySelector('.preview').muted") is False
    page.keyboard.press(" ")
    page.wait_for_selector(".preview", state="detached")


STATES = {
    "start": "/",
    "results": "/?q=bell&p=text~-1~~~a+rather+long+part+of+the+search+that+goes+on+and+on",
    "grouped": "/?q=bell&group=1",
    "detail": "/?q=bell&path=day",
    "filters": "/?q=bell&path=day",
    "trouble": "/?p=moment~1~both~00ff00ff~gone",
}


def arrive(page, state):
    """Wait until a state is there."""
    if state == "start":
        page.wait_for_function("() => document.querySelector('#collection-name').textContent")
        return
    page.wait_for_selector("#notice.trouble" if state == "trouble" else ".card .open")
    if state == "detail":
        page.locator(".card .open").first.click()
        page.wait_for_selector(".course-svg")
    if state == "filters":
        page.click("#filters-toggle")


@pytest.mark.parametrize("state", STATES)
def test_a_phone_has_nothing_beyond_its_width(visit, state):
    phone = {"width": 360, "height": 740}
    page = visit(STATES[state], refused=["404"], viewport=phone, has_touch=True, is_mobile=True)
    arrive(page, state)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    beyond = """() => {
      const scrolls = (one) => ['auto', 'scroll', 'hidden'].includes(getComputedStyle(one).overflowX);
      const clipped = (one) => one && (scrolls(one) || clipped(one.parentElement));
      return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility()
        && one.getBoundingClientRect().right > 361
        && !clipped(one.parentElement)).map((one) => one.outerHTML.slice(0, 80));
    }"""
    assert page.evaluate(beyond) == []


CONTROLS = {
    "button",
    "link",
    "textbox",
    "searchbox",
    "slider",
    "combobox",
    "checkbox",
    "spinbutton",
}


@pytest.mark.parametrize("state", STATES)
def test_every_control_has_a_name(visit, state):
    page = visit(STATES[state], refused=["404"])
    arrive(page, state)
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    nodes = [node for node in tree["nodes"] if node.get("role", {}).get("value") in CONTROLS]
    assert len(nodes) > 5
    nameless = [
        node for node in nodes if not node.get("name", {}).get("value") and not node["ignored"]
    ]
    assert nameless == []


CONTRASTS = """() => {
  const read = (colour) => {
    const pen = new OffscreenCanvas(1, 1).getContext('2d');
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const part = colour.slice(0, 3).map((c) => linear(c / 255));
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const ground = (one) => {
    if (!one) return [255, 255, 255, 1];
    const own = read(getComputedStyle(one).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(one.parentElement));
  };
  const said = [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility()
    && !one.closest(':disabled, option, script, noscript, .skip, .unseen')
    && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return said.map((one) => {
    const below = ground(one);
    const [a, b] = [over(read(getComputedStyle(one).color), below), below].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return [ratio, one.className + ': ' + one.textContent.trim().slice(0, 30)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", ["results", "filters", "detail", "trouble"])
def test_text_stands_out_from_its_ground(visit, scheme, state):
    page = visit(STATES[state], refused=["404"], color_scheme=scheme)
    arrive(page, state)
    measured = page.evaluate(CONTRASTS)
    assert len(measured) > 10
    assert [said for said in measured if said[0] < 4.5] == []


def test_the_keyboards_place_is_seen(visit):
    page = visit("/?q=bell")
    page.wait_for_selector(".card .open")
    page.evaluate("document.activeElement.blur()")
    unseen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        ringed = page.evaluate("""() => {
          const at = document.activeElement;
          const around = [at, at.closest('.card'), at.closest('.box')].filter(Boolean);
          const rings = around.map((one) => getComputedStyle(one));
          return rings.some((one) => one.outlineStyle !== 'none'
            || one.boxShadow.includes('0px 0px 0px 1px')) || at.outerHTML.slice(0, 80);
        }""")
        unseen += [] if ringed is True else [ringed]
    assert unseen == []


def test_colours_can_be_chosen_and_are_remembered(visit):
    page = visit(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.click("#theme")  # light
    assert page.evaluate(ground) == light
    page.click("#theme")  # dark
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    assert page.get_attribute("#theme", "aria-label") == "Colours: dark"
