"""Images: clips of one frame without audio."""

import warnings
from typing import Any, cast

import numpy as np
from PIL import Image, ImageOps

from trichord.media.containers import PICTURES
from trichord.media.decoded import Decoded
from trichord.media.failure import MediaError
from trichord.media.media_file import MediaFile, check_pixels
from trichord.media.picture import resize
from trichord.media.plan import DecodePlan, Limits
from trichord.media.probe import VideoStream

EXIF_ORIENTATION = 0x0112
TURNS = {3: 180, 4: 180, 5: 270, 6: 270, 7: 90, 8: 90}
"""Counter-clockwise degrees by EXIF orientation; mirrored ones by their rotation."""


def load_still(source: MediaFile, limits: Limits) -> tuple[Image.Image, int]:
    """The upright RGB image of a file, and by how many degrees it was rotated.

    Raises:
        MediaError: more pixels than allowed (known before decoding), or broken.
    """
    warnings.simplefilter("ignore")  # Pillow warns about sizes; our own limit decides
    Image.MAX_IMAGE_PIXELS = None
    try:
        # Only Pillow's reader for the detected format opens the
        # file. `open` reads the size, and `load` decodes.
        image = Image.open(cast("Any", source.file), formats=[PICTURES[source.container]])
        check_pixels(*image.size, limits)
        image.load()
        orientation = int(image.getexif().get(EXIF_ORIENTATION, 1))
        upright = ImageOps.exif_transpose(image)
    except (MediaError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise errors of any kind
        raise MediaError("corrupt", f"not a readable picture: {error}"[:200]) from None
    if upright.mode.startswith("I;16"):
        # Pillow would clip 16-bit values at 255 instead of scaling them.
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return upright.convert("RGB"), TURNS.get(orientation, 0)


def probe_still(source: MediaFile, limits: Limits) -> VideoStream:
    """Describe an image file; it is decoded to check it."""
    image, rotation = load_still(source, limits)
    return VideoStream(
        codec=source.container,
        width=image.width,
        height=image.height,
        rotation=rotation,
        frame_rate=None,
        variable=False,
        pixel_aspect=1.0,
    )


def decode_still(source: MediaFile, plan: DecodePlan, limits: Limits) -> Decoded:
    """The image as a span of one frame and length 0."""
    if plan.frames is None:
        return Decoded(status="no_audio")
    image, _ = load_still(source, limits)
    frame = resize(image, image.size, plan.frames, limits)
    return Decoded(status="no_audio", frames=frame[None], times=np.zeros(1))
