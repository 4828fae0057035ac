"""Take the page's pictures: the real service over a collection of a generated world, in Chromium.

python docs/screenshots.py RUN VIDEOS

RUN is a run that was trained on the world, VIDEOS a folder of its clips, such as
demo/runs/slava-a-and-v/seed-0 and demo/world/test_videos. The clips are joined to longer
recordings, so that there is something to find within a file.
"""

import io
import itertools
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from trichord.api.model import embedder_of
from trichord.media import Decoder
from trichord.search.engine import SearchEngine
from trichord.search.indexing import begin, index
from trichord.service.app import create
from trichord.service.server import server_of

IMAGES = Path(__file__).parent / "images"
CHROMIUM = "/usr/bin/chromium"
LARGEST = 250_000
"""Bytes of an image; a larger one is drawn with fewer colours."""
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
CLIPS_A_DAY = 6
RATE, FPS, SIDE = 16_000, 15, 256
SAID = "a red bell swings while it rings"
AWAY = "a ball"
DESK = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}


def join(clips: Sequence[Path], file: Path) -> None:
    """Write clips one after the other; a clip without a picture or sound adds none."""
    with av.open(str(file), "w") as output:
        picture = output.add_stream("libx264", rate=FPS, options={"crf": "20", "g": str(FPS)})
        picture.width, picture.height, picture.pix_fmt = SIDE, SIDE, "yuv420p"
        sound = output.add_stream("aac", rate=RATE, layout="mono")
        shown = heard = 0
        for clip in clips:
            with av.open(str(clip)) as source:
                for frame in source.decode(video=0):
                    there = frame.reformat(SIDE, SIDE, "yuv420p", interpolation="LANCZOS")
                    there.pts, there.time_base, shown = shown, Fraction(1, FPS), shown + 1
                    output.mux(picture.encode(there))
            resampler = av.AudioResampler("fltp", "mono", RATE)
            with av.open(str(clip)) as source:
                for frame in source.decode(audio=0):
                    for there in resampler.resample(frame):
                        there.pts, there.time_base = heard, Fraction(1, RATE)
                        heard += there.samples
                        output.mux(sound.encode(there))
        output.mux(picture.encode(None))
        output.mux(sound.encode(None))


def recordings(videos: Path, folder: Path) -> None:
    """A week of recordings, and some clips as they are."""
    whole, partial = [], []
    for clip in sorted(videos.glob("*.mp4")):
        with av.open(str(clip)) as source:
            both = source.streams.video and source.streams.audio
        (whole if both else partial).append(clip)
    (folder / "week").mkdir(parents=True)
    for number, day in enumerate(DAYS):
        clips = whole[number * CLIPS_A_DAY : (number + 1) * CLIPS_A_DAY]
        if len(clips) == CLIPS_A_DAY:
            join(clips, folder / "week" / f"{day}.mp4")
    for clip in partial[:8]:
        (folder / clip.name).write_bytes(clip.read_bytes())


@contextmanager
def service(run: str, videos: Path, folder: Path) -> Iterator[str]:
    """Index, and serve; gives the address."""
    recordings(videos, folder / "recordings")
    model = embedder_of(run)
    collection = begin(folder / "a week of recordings", run, model, seconds=4.0, hop=2.0)
    with Decoder(workers=1) as decoder:
        list(index(collection, model, decoder, [folder / "recordings"]))
        app = create(SearchEngine(collection, model, decoder), roots=[folder / "recordings"])
        listening = socket.create_server(("127.0.0.1", 0))
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def visit(browser: Browser, address: str, **options: object) -> Page:
    """A page in a window of its own."""
    settings = {"viewport": DESK, "color_scheme": "light", "reduced_motion": "reduce", **options}
    page = browser.new_context(**settings).new_page()
    page.goto(address)
    page.wait_for_function("() => document.querySelector('#collection-name').textContent")
    return page


def ask(page: Page, said: str = SAID) -> None:
    """Search, and wait for the pictures."""
    page.fill("#text", said)
    page.press("#text", "Enter")
    page.wait_for_selector("[data-view=results] .card .open")
    loaded = "() => [...document.images].every((one) => one.complete || one.loading === 'lazy')"
    page.wait_for_function(loaded)
    page.wait_for_timeout(1500)


def enter(page: Page) -> None:
    """Open the first moment of a recording in its file."""
    page.locator(".card", has=page.locator(".folder")).first.locator(".open").click()
    page.wait_for_selector(".course-svg")
    page.wait_for_selector(".file-facts")
    page.wait_for_function("() => document.querySelector('#player video')?.readyState >= 3")
    page.wait_for_timeout(1500)


def keep(page: Page, name: str) -> None:
    """Write what is seen, and close the window."""
    (IMAGES / f"page-{name}.png").write_bytes(small(Image.open(io.BytesIO(page.screenshot()))))
    page.context.close()


def small(image: Image.Image) -> bytes:
    """As PNG, with as many colours as fit."""
    true = image.convert("RGB")
    fewer = (_dithered(true, colours) for colours in (256, 160, 96, 48))
    for one in itertools.chain([true], fewer):
        content = io.BytesIO()
        one.save(content, "PNG", optimize=True)
        if content.tell() <= LARGEST:
            break
    return content.getvalue()


def _dithered(image: Image.Image, colours: int) -> Image.Image:
    palette = image.quantize(colours, kmeans=2)
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def photograph(browser: Browser, address: str) -> None:
    """All pictures."""
    page = visit(browser, address)
    page.wait_for_selector(".card.file")
    page.wait_for_timeout(1500)
    keep(page, "start")
    for scheme in ("light", "dark"):
        page = visit(browser, address, color_scheme=scheme)
        ask(page)
        keep(page, "results" if scheme == "light" else "dark")
    page = visit(browser, address)
    ask(page)
    page.click("#group")
    page.wait_for_selector(".shelf")
    page.wait_for_timeout(1500)
    keep(page, "grouped")
    page = visit(browser, address)
    ask(page, f'{SAID} -"{AWAY}"')
    enter(page)
    keep(page, "detail")
    phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "device_scale_factor": 1.5}
    page = visit(browser, address, **phone)
    ask(page)
    keep(page, "phone")
    page = visit(browser, f"{address}/?q=bell&path=nowhere")
    page.wait_for_selector("#notice:not([hidden])")
    keep(page, "empty")
    page = visit(browser, address)
    page.route("**/api/search", lambda route: route.abort("connectionrefused"))
    page.fill("#text", SAID)
    page.press("#text", "Enter")
    page.wait_for_selector("#notice:not([hidden])")
    keep(page, "error")


def main(run: str, videos: str) -> None:
    """Index, serve, and photograph."""
    with (
        tempfile.TemporaryDirectory() as folder,
        service(run, Path(videos), Path(folder)) as address,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        photograph(browser, address)
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python docs/screenshots.py RUN VIDEOS")
    main(*sys.argv[1:])
