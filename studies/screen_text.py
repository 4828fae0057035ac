"""How well, how fast and how precisely in time text on the screen is read.

    python studies/screen_text.py [DATA]

DATA, if given, holds `imagehear` (photographs) and `avclips` (videos of a few seconds), most without text.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import av
import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from record import record

from trichord.media import Decoder
from trichord.ocr.changes import REDUCED, difference
from trichord.ocr.engines import TEXT_READERS
from trichord.ocr.screen_text import ScreenTextOutcome, ScreenTextReader
from trichord.ocr.text_reader import TextReader, TextReaderOptions

WIDTH, HEIGHT = 1280, 720
LATIN = (
    "The last train leaves at 11:45",
    "Grüße aus Köln, Weißenburg & Łódź",
    "Chapter 7: A House by the Sea",
    "Directed by Agnès Renoir-Duval",
    "Breaking: prices up 3.2% in May",
    "¿Dónde está la biblioteca?",
)
CHINESE = (
    "春天的第一场雪",
    "下一站是人民广场",
    "第三章 海边的房子",
    "今天最高气温26度",
    "导演：王小明",
    "请勿在车厢内吸烟",
)
FONTS = {
    "DejaVu Sans": ("DejaVuSans.ttf", LATIN),
    "DejaVu Serif Bold": ("DejaVuSerif-Bold.ttf", LATIN),
    "STIX Italic": ("STIXGeneralItalic.ttf", LATIN),
    "Rubik": ("sans", LATIN),
    "WenQuanYi Micro Hei": ("uni", CHINESE),
}
"""Four fonts of Latin and one of Chinese: Matplotlib's, and those in OpenCV 5."""
LINES = 3
SECONDS, CARDS, RATE = 60, 8, 25


@dataclass(frozen=True)
class Condition:
    """How a frame looks; `blur` is the way of a motion in pixels, `quality` that of a JPEG."""

    size: int = 28
    ink: tuple[int, int, int] = (255, 255, 255)
    paper: tuple[int, int, int] | None = (24, 32, 48)
    blur: int = 0
    quality: int = 0


CONDITIONS = {
    "8 pixels": Condition(size=8),
    "10 pixels": Condition(size=10),
    "14 pixels": Condition(size=14),
    "28 pixels": Condition(),
    "64 pixels": Condition(size=64),
    "yellow on blue": Condition(ink=(255, 230, 0), paper=(20, 40, 160)),
    "grey on grey": Condition(ink=(128, 128, 128), paper=(112, 112, 112)),
    "white on texture": Condition(paper=None),
    "blurred by 5 pixels": Condition(size=36, blur=5),
    "blurred by 9 pixels": Condition(size=36, blur=9),
    "blurred by 15 pixels": Condition(size=36, blur=15),
    "JPEG of quality 5": Condition(quality=5),
}


def main(data: Path | None) -> None:
    reader = TEXT_READERS.find("rapidocr")(TextReaderOptions(threads=1))
    with tempfile.TemporaryDirectory() as folder:
        used = memory(Path(folder), reader)  # first: it is the peak of the whole process
        seen = {name: film(Path(folder), name, reader) for name in ("still", "moving")}
    result: dict[str, object] = {
        "protocol": f"{len(FONTS) * len(CONDITIONS)} frames of {WIDTH} x {HEIGHT} with {LINES} lines each: "
        f"{len(FONTS)} fonts in {len(CONDITIONS)} conditions; films of {SECONDS} s with {CARDS} title "
        "cards, H.264, 25 frames a second; one thread, one frame a second",
        "character errors": character_errors(reader),
        "differences": differences(),
        "films": seen,
        "memory": used,
    }
    if data is not None:
        result["real media"] = real_media(data, reader)
    record("screen_text", result)


# Frames


def character_errors(reader: TextReader) -> dict[str, object]:
    """Edits over characters: of all frames, and by condition, font and script."""
    counts: dict[tuple[str, str, str], list[int]] = {}
    spent = 0.0
    for number, (font, (file, texts)) in enumerate(FONTS.items()):
        for at, (name, condition) in enumerate(CONDITIONS.items()):
            rows = [texts[(at + number + step) % len(texts)] for step in (0, 3, 1)[:LINES]]
            frame = rendered(rows, file, condition, seed=100 * number + at)
            began = time.process_time()
            read = reader.read(frame)
            spent += time.process_time() - began
            truth, found = "\n".join(rows), "\n".join(one.text for one in read)
            script = "Chinese" if texts is CHINESE else "Latin"
            tally = counts.setdefault((name, font, script), [0, 0])
            tally[0] += edits(truth, found)
            tally[1] += len(truth)

    def rate(where: Callable[[tuple[str, str, str]], bool]) -> float:
        wrong, count = np.sum([one for key, one in counts.items() if where(key)], axis=0)
        return round(float(wrong / count), 4)

    return {
        "all": rate(lambda key: True),
        "by condition": {name: rate(lambda key, n=name: key[0] == n) for name in CONDITIONS},
        "by font": {font: rate(lambda key, f=font: key[1] == f) for font in FONTS},
        "by script": {s: rate(lambda key, s=s: key[2] == s) for s in ("Latin", "Chinese")},
        "processor seconds a frame": spent / len(counts),
    }


def rendered(rows: Sequence[str], font: str, condition: Condition, seed: int) -> np.ndarray:
    """A frame with lines of text, one below the other."""
    draw = np.random.default_rng(seed)
    frame = texture(draw) if condition.paper is None else blank(condition.paper)
    for number, row in enumerate(rows):
        at = (int(draw.integers(20, 60)), 120 + 200 * number)
        write(frame, row, at, font, condition.size, condition.ink)
    if condition.blur:
        kernel = np.full((1, condition.blur), 1 / condition.blur, np.float32)
        frame = cv2.filter2D(frame, -1, kernel)
    if condition.quality:
        file = BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=condition.quality)
        frame = np.asarray(Image.open(file))
    return frame


def blank(paper: tuple[int, int, int]) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), paper, np.uint8)


def texture(draw: np.random.Generator, strength: float = 160) -> np.ndarray:
    """Blotches of all sizes, as leaves and clouds have them."""
    total = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for step in (4, 12, 40, 120):
        small = draw.integers(0, 256, (HEIGHT // step + 2, WIDTH // step + 2, 3), np.uint8)
        image = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        total += np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float32) / 4
    return (total * strength / 255).astype(np.uint8)


def write(
    frame: np.ndarray,
    text: str,
    at: tuple[int, int],
    font: str,
    size: int,
    ink: tuple[int, int, int],
) -> None:
    """Write a line into a frame, at its left upper corner."""
    if not font.endswith(".ttf"):
        cv2.putText(frame, text, (at[0], at[1] + size), ink, cv2.FontFace(font), size)
        return
    image = Image.fromarray(frame)
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font
    ImageDraw.Draw(image).text(at, text, font=ImageFont.truetype(str(path), size), fill=ink)
    frame[:] = np.asarray(image)


def edits(truth: str, found: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(found) + 1))
    for number, letter in enumerate(truth, start=1):
        above, row = row, [number]
        for at, other in enumerate(found, start=1):
            row.append(min(above[at] + 1, row[-1] + 1, above[at - 1] + (letter != other)))
    return row[-1]


# Which frames are read


def differences() -> dict[str, dict[str, float]]:
    """The difference of blocks: of compression and grain at most, of other letters at least."""
    noise = {
        f"grain of {grain}, CRF {crf}": max(noise_of(grain, crf))
        for grain in (0, 3, 6)
        for crf in (20, 28, 34)
    }
    letters = {
        f"{what}, {size} pixels": min(change_of(before, after, size))
        for what, before, after in (
            ("a digit", "Scene 1", "Scene 2"),
            ("a letter", "No", "So"),
            ("a word", "", "Anna"),
        )
        for size in (12, 14, 18, 24)
    }
    rounded = lambda found: {name: round(one, 1) for name, one in found.items()}  # noqa: E731
    return {"noise": rounded(noise), "text": rounded(letters)}


def noise_of(grain: float, crf: int) -> list[float]:
    draw = np.random.default_rng(1)
    still = texture(draw).astype(np.float32)
    frames = [
        np.clip(still + draw.normal(0, grain, (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8)
        for _ in range(3 * RATE + 1)
    ]
    seen = [reduced(one) for one in encoded(frames, crf)[::RATE]]
    return [difference(seen[0], one) for one in seen[1:]]


def change_of(before: str, after: str, size: int) -> list[float]:
    found: list[float] = []
    for ink, paper in (((255, 255, 255), blank((24, 32, 48))), ((200, 200, 200), None)):
        for at in ((101, 203), (334, 467)):
            frames = []
            for text in (before, after):
                frame = texture(np.random.default_rng(1)) if paper is None else paper.copy()
                write(frame, text, at, "DejaVuSans.ttf", size, ink)
                frames += RATE * [frame]
            seen = encoded(frames, crf=28)
            found.append(difference(reduced(seen[RATE - 5]), reduced(seen[-5])))
    return found


def reduced(frame: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).reduce(REDUCED))


def encoded(frames: Sequence[np.ndarray], crf: int) -> list[np.ndarray]:
    """Frames after compression."""
    file = BytesIO()
    write_film(file, frames, RATE, crf)
    file.seek(0)
    with av.open(file) as container:
        return [one.to_ndarray(format="rgb24") for one in container.decode(video=0)]


def write_film(file: BytesIO | str, frames: Iterable[np.ndarray], rate: int, crf: int = 23) -> None:
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(frames):
            if not number:
                stream.height, stream.width = frame.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


# Films


@dataclass(frozen=True)
class Card:
    """A title card of a film."""

    start: float
    end: float
    text: str
    font: str
    size: int


def film(folder: Path, name: str, reader: TextReader) -> dict[str, object]:
    """Title cards that are found in a film, the errors of their times, and the cost."""
    path = folder / f"{name}.mp4"
    cards = title_cards(seed=5)
    write_film(str(path), footage(name, cards), RATE)
    spent, outcome = read_film(path, reader)
    errors, found = [], set[int]()
    for card in cards:
        near = [
            (edits(card.text, one.text) / len(card.text), number, one)
            for number, one in enumerate(outcome.texts)
            if one.start < card.end and card.start < one.end
        ]
        if near and min(near)[0] <= 0.2:
            _, number, one = min(near)
            found.add(number)
            errors.append((abs(one.start - card.start), abs(one.end - card.end)))
    starts, ends = np.array(errors).T
    return {
        "cards": len(cards),
        "found": len(errors),
        "spans that are no card": len(outcome.texts) - len(found),
        "error of starts, seconds": {"mean": starts.mean(), "largest": starts.max()},
        "error of ends, seconds": {"mean": ends.mean(), "largest": ends.max()},
        "share of frames skipped": 1 - outcome.changed / outcome.frames,
        "processor seconds a minute": {one: 60 * s / SECONDS for one, s in spent.items()},
    }


def title_cards(seed: int) -> list[Card]:
    draw = np.random.default_rng(seed)
    cards: list[Card] = []
    fonts = list(FONTS.values())
    for number in range(CARDS):
        start = 7.3 * number + draw.uniform(0.2, 2)
        font, texts = fonts[number % len(fonts)]
        text = texts[number % len(texts)]
        cards.append(Card(start, start + draw.uniform(2, 5), text, font, (24, 32, 48)[number % 3]))
    return cards


def footage(name: str, cards: Sequence[Card]) -> Iterator[np.ndarray]:
    """A picture that stands still, or moves by eight pixels a frame, under the cards."""
    picture = texture(np.random.default_rng(2), strength=110)
    for number in range(SECONDS * RATE):
        frame = np.roll(picture, 8 * number, axis=1) if name == "moving" else picture.copy()
        for card in cards:
            if card.start <= number / RATE < card.end:
                write(frame, card.text, (120, 500), card.font, card.size, (255, 255, 255))
        yield frame


def read_film(path: Path, reader: TextReader) -> tuple[dict[str, float], ScreenTextOutcome]:
    """Processor seconds by what they were spent on, and the text."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
    with Decoder(workers=1) as decoder:
        outcome = ScreenTextReader(decoder, reader).read(path)
    read = time.process_time() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    decoded = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"reading": read, "decoding": decoded, "both": read + decoded}, outcome


def memory(folder: Path, reader: TextReader) -> dict[str, object]:
    """Peak memory after a minute, and after an hour with a card a minute."""
    result: dict[str, object] = {}
    for name, minutes in (("a minute", 1), ("an hour", 60)):
        frames = (
            frame
            for minute in range(minutes)
            for text in (f"Minute {minute}", "")
            for frame in 60 * [small_card(text)]
        )
        write_film(str(folder / f"{name}.mp4"), frames, rate=2)
        _, outcome = read_film(folder / f"{name}.mp4", reader)
        result[name] = {
            "texts": len(outcome.texts),
            "share of frames skipped": 1 - outcome.changed / outcome.frames,
            "peak, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    return result


def small_card(text: str) -> np.ndarray:
    frame = np.full((360, 640, 3), (24, 32, 48), np.uint8)
    write(frame, text, (80, 150), "DejaVuSans.ttf", 32, (255, 255, 255))
    return frame


# Real media


def real_media(data: Path, reader: TextReader) -> dict[str, object]:
    """What is read in photographs and clips, most of which have no text; to be looked at."""
    result: dict[str, object] = {}
    with Decoder(workers=1) as decoder:
        texts = ScreenTextReader(decoder, reader)
        for name in ("imagehear", "avclips"):
            files = [p for p in sorted((data / name).rglob("*")) if p.suffix in (".jpg", ".mp4")]
            outcomes = {path.name: texts.read(path) for path in files}
            result[name] = {
                "files": len(files),
                "share of frames skipped": 1
                - sum(one.changed for one in outcomes.values())
                / sum(one.frames for one in outcomes.values()),
                "read": {
                    name: [line.text for line in one.texts]
                    for name, one in outcomes.items()
                    if one.texts
                },
                "files with uncertain lines": sum(bool(one.remarks) for one in outcomes.values()),
            }
    return result


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else None)
