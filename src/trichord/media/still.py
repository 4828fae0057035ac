"""Images: clips of one frame without audio, or animations."""

import math
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trichord.media.containers import PICTURES, PLUGINS
from trichord.media.decoded import Decoded, DecodeWork, split_spans
from trichord.media.failure import MediaError
from trichord.media.media_file import MediaFile, check_pixels
from trichord.media.picture import resize
from trichord.media.plan import DecodePlan, Limits, Span
from trichord.media.probe import Probe, VideoStream
from trichord.types.extras import NotInstalledError, require_package

EXIF_ORIENTATION = 0x0112
TURNS = {3: 180, 4: 180, 5: 270, 6: 270, 7: 90, 8: 90}
"""Counter-clockwise degrees by EXIF orientation; mirrored ones by their rotation."""
ANIMATED = ("webp", "png", "avif")
"""Images whose frames Pillow reads with their times. (GIF is a video to FFmpeg.)"""
PAGED = ("tiff", "heif")
SHORTEST_FRAME = 0.011
USUAL_FRAME = 0.1
"""Browsers show a frame of 10 ms or less for 100 ms: old programs write 0 for "as usual"."""
BAND = 256
"""Rows, after reduction, that are converted at once: two copies of 200 million pixels do not fit."""

Picture = Image.Image
Emit = Callable[[int, Decoded], None]


def inspect_image(source: MediaFile, limits: Limits, blank: Probe) -> Probe:
    """Complete the probe of an image file; it is decoded to check it."""
    image = _open(source, limits)
    width, height = image.size
    pages = getattr(image, "n_frames", 1)
    starts = _starts(image) if _moves(source, image) else [0.0]
    rotation = 0 if len(starts) > 1 else _upright(image, limits)[1]
    if rotation % 180:
        width, height = height, width
    steps = {round(after - before, 3) for before, after in pairwise(starts)}
    video = VideoStream(
        codec=source.container,
        width=width,
        height=height,
        rotation=rotation,
        frame_rate=(len(starts) - 1) / starts[-1] if len(starts) > 1 else None,
        variable=len(steps) > 1,
        pixel_aspect=1.0,
    )
    note = f"the first of {pages} pages" if source.container in PAGED and pages > 1 else ""
    return replace(blank, video=video, duration=starts[-1], reason=note)


def decode_image(
    source: MediaFile, spans: Sequence[Span], plan: DecodePlan, limits: Limits, emit: Emit
) -> DecodeWork:
    """Emit the spans of an image: one frame and length 0, or the frames of an animation."""
    image = _open(source, limits)
    if _moves(source, image):
        frames = _decode_animation(image, spans, plan, limits, emit)
    else:
        frames = 1
        still = _decode_still(image, plan, limits)
        for number in range(len(spans)):
            emit(number, still)
    return DecodeWork(frames=frames, bytes_read=source.file.bytes_read)


def _decode_still(image: Picture, plan: DecodePlan, limits: Limits) -> Decoded:
    if plan.frames is None:
        return Decoded(status="no_audio")
    upright, _ = _upright(image, limits)
    frame = resize(upright, upright.size, plan.frames, limits)
    preview = _preview(upright, plan, limits)
    return Decoded(status="no_audio", frames=frame[None], times=np.zeros(1), preview=preview)


def _preview(image: Image.Image, plan: DecodePlan, limits: Limits) -> NDArray[np.uint8] | None:
    if plan.preview is None:
        return None
    return resize(image, image.size, plan.preview_frames(*image.size), limits)


def _decode_animation(
    image: Picture, spans: Sequence[Span], plan: DecodePlan, limits: Limits, emit: Emit
) -> int:
    """Emit spans of an animation, decoded from its start; return the number of decoded frames."""
    starts = _starts(image)
    inside, outside = split_spans(spans, starts[-1])
    for number, refused in outside.items():
        emit(number, refused)
    targets = {n: plan.frames.times(*span) if plan.frames else () for n, span in inside.items()}
    # Of the frames that are shown at the targets, by their number.
    numbers = {
        time: min(max(int(np.searchsorted(starts, time, "right")) - 1, 0), len(starts) - 2)
        for times in targets.values()
        for time in times
    }
    wanted, frames = set(numbers.values()), dict[int, NDArray[np.uint8]]()
    previews: dict[int, NDArray[np.uint8] | None] = {}
    for number, frame in enumerate(_frames(image)):
        if number in wanted:
            assert plan.frames is not None
            frames[number] = resize(_on_white(frame), frame.size, plan.frames, limits)
            previews[number] = _preview(_on_white(frame), plan, limits)
    for number, (start, end) in inside.items():
        shown = [numbers[time] for time in targets[number]]
        emit(
            number,
            Decoded(
                status="no_audio",
                start=start,
                end=end,
                frames=np.stack([frames[one] for one in shown]) if shown else None,
                times=np.array([starts[one] for one in shown]),
                preview=previews[shown[len(shown) // 2]] if shown else None,
            ),
        )
    return 2 * len(starts) - 2


def _open(source: MediaFile, limits: Limits) -> Picture:
    """Open an image with the one reader for its format; `load` decodes it.

    Raises:
        MediaError: more pixels than allowed, broken, or of a format whose reader is not installed.
    """
    warnings.simplefilter("ignore")  # Pillow warns about sizes; our own limit decides
    Image.MAX_IMAGE_PIXELS = None
    _prepare_reader(source.container)
    with _failures():
        image = Image.open(cast("Any", source.file), formats=[PICTURES[source.container]])
        check_pixels(*image.size, limits, still=True)
        if _moves(source, image):
            # Frames of an animation are kept by the dozen, so they are not reduced.
            check_pixels(*image.size, limits)
    return image


def _prepare_reader(container: str) -> None:
    """Register the plugin of a format. One thread, because files are decoded in parallel.

    Raises:
        MediaError: It is not installed.
    """
    if container == "avif":
        from PIL import AvifImagePlugin

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    if container not in PLUGINS:
        return
    try:
        require_package(PLUGINS[container])
    except NotInstalledError as error:
        raise MediaError("unsupported", f"{error}".rstrip(".")) from None
    if container == "heif":
        import pillow_heif

        # Thumbnails and depth maps of phones are not used.
        pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, decode_threads=1)
    else:
        from pillow_jxl import JpegXLImagePlugin

        JpegXLImagePlugin.DECODE_THREADS = 0


@contextmanager
def _failures() -> Generator[None]:
    try:
        yield
    except (MediaError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise errors of any kind
        raise MediaError("corrupt", f"not a readable picture: {error}"[:200]) from None


def _moves(source: MediaFile, image: Picture) -> bool:
    return source.container in ANIMATED and getattr(image, "n_frames", 1) > 1


def _frames(image: Picture) -> Iterator[Picture]:
    """The frames of an animation; each is valid until the next one."""
    for number in range(getattr(image, "n_frames", 1)):
        with _failures():
            image.seek(number)
            image.load()
        yield image


def _starts(image: Picture) -> list[float]:
    """When each frame of an animation starts, in seconds, and the end of the last one."""
    starts = [0.0]
    for frame in _frames(image):
        seconds = float(frame.info.get("duration", 0)) / 1000
        starts.append(starts[-1] + (seconds if seconds >= SHORTEST_FRAME else USUAL_FRAME))
    return starts


def _upright(image: Picture, limits: Limits) -> tuple[Picture, int]:
    """Decode an image to upright RGB; also return by how many degrees it was rotated.

    More than `limits.pixels` pixels are reduced by a whole number.
    """
    with _failures():
        _load_reduced(image, limits)
        orientation = int(image.getexif().get(EXIF_ORIENTATION, 1))
        plain = _reduced(_to_eight_bits(image), _factor(image, limits))
        # After the reduction, because turning takes a copy.
        plain.getexif()[EXIF_ORIENTATION] = orientation
        return ImageOps.exif_transpose(plain), TURNS.get(orientation, 0)


def _factor(image: Picture, limits: Limits) -> int:
    """The whole number by which an image must be reduced to stay within `limits.pixels`."""
    return math.ceil(math.sqrt(image.width * image.height / limits.pixels))


def _load_reduced(image: Picture, limits: Limits) -> None:
    """Decode an image; a large JPEG or JPEG 2000 at a half, a quarter or an eighth of its size."""
    halvings = math.ceil(math.log2(_factor(image, limits)))
    if halvings and image.format in ("JPEG", "MPO"):
        image.draft(None, (image.width >> halvings, image.height >> halvings))
    elif halvings and image.format == "JPEG2000":
        # OpenJPEG rounds sides up, Pillow 13 to the nearest, and refuses if they differ.
        step = 1 << halvings
        wide, high = (-(-side // step) * step for side in image.size)
        cast("Any", image)._size = wide, high
        cast("Any", image).reduce = halvings
    image.load()


def _reduced(image: Picture, factor: int) -> Picture:
    """An image as RGB on white, each pixel the mean of a square of `factor` pixels."""
    if factor == 1:
        return _on_white(image)
    reduced = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, reduced.height, BAND):
        bottom = min(image.height, (top + BAND) * factor)
        band = _on_white(image.crop((0, top * factor, image.width, bottom)))
        reduced.paste(band.reduce(factor), (0, top))
    return reduced


def _on_white(image: Picture) -> Picture:
    """RGB; what is transparent shows white, as on a page."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    pixels = image.convert("RGBA")
    white = Image.new("RGBA", pixels.size, "white")
    return Image.alpha_composite(white, pixels).convert("RGB")


def _to_eight_bits(image: Picture) -> Picture:
    """A picture of more than 8 bits a channel as 8 bits; Pillow would clip the values at 255."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode not in ("I", "F"):
        return image
    # Scanners and renderers store 16 bits in 32, or 0 to 1. Anything else is scaled to its maximum.
    brightest = float(cast("Any", image.getextrema())[1])
    usual = (255, 65_535) if image.mode == "I" else (1,)
    white = next((most for most in usual if brightest <= most), brightest)
    values = np.asarray(image, np.float32) * np.float32(255 / white)
    return Image.fromarray(np.nan_to_num(values).clip(0, 255).astype(np.uint8))
