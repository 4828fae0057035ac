"""Pictures and films with text, in fonts of OpenCV 5: `sans` for Latin, `uni` also for Chinese."""

import av
import numpy as np

DARK, WHITE = (24, 32, 48), (255, 255, 255)


def page(height=360, width=640, colour=DARK):
    return np.full((height, width, 3), colour, np.uint8)


def written(picture, text, at=(60, 150), size=32, ink=WHITE, font="uni"):
    """A copy of a picture with a line of text, which begins at (x, y) of its lower left corner."""
    import cv2

    result = picture.copy()
    cv2.putText(result, text, at, ink, cv2.FontFace(font), size)
    return result


def grained(picture, strength, seed):
    """A copy of a picture with grain, as sensors have it."""
    grain = np.random.default_rng(seed).normal(0, strength, (*picture.shape[:2], 1))
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def write_film(path, pictures, rate=10):
    """A film of pictures, each shown for 1 / rate seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
