"""What tests of the page do with it, and what it serves."""

import socket
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote_plus

from trichord.speech.transcript import SpokenSegment, Word

CHROMIUM = Path("/usr/bin/chromium")
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


def spoken(start, end, text, language, speaker="", words=()):
    """A line; `words` are the starts of its words, if they are known."""
    ends = [*words[1:], end]
    timed = zip(text.split(), words, ends, strict=True) if words else ()
    return SpokenSegment(
        start=start,
        end=end,
        text=text,
        language=language,
        speaker=speaker,
        words=tuple(Word(text=one, start=first, end=last) for one, first, last in timed),
    )


TURN = "day/red to blue.mp4"
BELL = "day/blue to white.mp4"
LINES = {
    (TURN, "speech"): (
        spoken(0.2, 2.0, "Now turn left here.", "en", "Ann", (0.2, 0.6, 1.1, 1.5)),
        spoken(2.5, 4.5, "<b>Then</b> go straight on & wait.", "en", "Bob", (2.5, 2.9, 3.2, 3.7, 4.0, 4.1)),
        spoken(
            5.0, 7.6, "To turn around, then turn left again.", "en", "Ann",
            (5.0, 5.2, 5.4, 6.0, 6.3, 6.6, 7.0),
        ),
    ),
    (TURN, "screen"): (spoken(0.5, 3.0, "EXIT 12", ""), spoken(1.0, 6.0, "Main Street", "")),
    (BELL, "speech"): (spoken(1.0, 3.0, "Die Glocke läutet im Turm.", "de"),),
    ("still.png", "screen"): (spoken(0.0, 0.0, "CLOSED ON MONDAY", ""),),
}  # fmt: skip
"""What is said in the films, and shown: with the times of words, or of lines alone."""
TOKEN = "a-token-of-the-tests"
WIDE = {"width": 1280, "height": 800}
PATIENCE = 20_000  # ms
FOUND = "[data-view=results] .card .open"
"""A hit, and no file of the start."""
CHANGED = datetime(2026, 1, 10, 12, tzinfo=UTC)
"""When the first of the films was changed, by name; each next one 20 days later."""
PLAYING = """() => {
  const video = document.querySelector('.preview');
  return video && !video.paused && !video.seeking && video.readyState > 2 && video.currentTime;
}"""


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


def search(page, text):
    page.fill("#text", text)
    page.press("#text", "Enter")
    page.wait_for_selector(FOUND)
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
    from playwright.sync_api import TimeoutError as TooLateError

    try:
        page.wait_for_function(there, arg=",".join(expected))
    except TooLateError:
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
    page.wait_for_selector(FOUND)
    settled(page)


def query_of(page):
    """What stands in the address, readably."""
    return unquote_plus(page.url.partition("?")[2])
