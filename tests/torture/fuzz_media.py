"""usage: fuzz_media.py TARGET RUNS SEEDS    feeds bytes to what parses bytes; ends with 0 if nothing broke.

Run by test_media.py in a process of its own: `atheris.Fuzz` does not return. SEEDS is a folder of files to
begin with; those that reach further are added to it. What broke is written beside it.
"""

import io
import math
import sys
from contextlib import closing, suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trichord.media"]):
    from trichord.media import STATUSES, DecodePlan, Decoder, FramePlan, Limits, file_signature
    from trichord.media.containers import HEAD, MAGIC, canvas_of, container_of, missing_bytes
    from trichord.media.decode_pass import DecodePass
    from trichord.media.failure import MediaError
    from trichord.media.inspection import inspect
    from trichord.media.ipc import IpcError, receive
    from trichord.media.media_file import duration_of, open_source
    from trichord.media.picture import apply_display_matrix, display_matrix, rotation_of
    from trichord.media.still import load_still

KNOWN = {name for _, _, name in MAGIC} | {"mov", "avif", "bmp", "mpegts", "aac", "mp3", "flac"}
LIMITS = Limits(pixels=1_000_000)
PLAN = DecodePlan(frames=FramePlan(rule="uniform", count=2, short_side=32), rates=(16_000,))


SEEDS = Path(sys.argv[3])
HELD = SEEDS.with_name("held")
"""The file that holds the bytes of the moment."""


def sniff(content):
    name = container_of(content[:HEAD])
    assert name is None or name in KNOWN
    if name is not None:
        assert min(canvas_of(content[:HEAD], name)) >= 0
        HELD.write_bytes(content)
        with HELD.open("rb") as file:
            assert missing_bytes(file, name) >= 0


def signature(content):
    HELD.write_bytes(content)
    assert len(file_signature(HELD)) == 32


def wire(content):
    # Often enough a whole message: a length that fits, so that the header is read.
    for stream in (content, len(content).to_bytes(4, "big") + content + bytes(64)):
        try:
            _, arrays = receive(io.BytesIO(stream), 4096)
        except IpcError:
            continue
        assert sum(array.nbytes for array in arrays.values()) <= 4096


def still(content):
    HELD.write_bytes(content)
    with suppress(MediaError), closing(open_source(HELD, LIMITS)) as source:
        if source.av is None:
            image, degrees = load_still(source, LIMITS)
            assert image.mode == "RGB"
            assert degrees % 90 == 0
            assert math.prod(image.size) <= LIMITS.pixels


class Turned:
    """A frame whose side data says how it is turned."""

    class Entry(bytes):
        class type:  # noqa: N801 - as PyAV has it
            name = "DISPLAYMATRIX"

    def __init__(self, content):
        self.side_data = [self.Entry(content)]


def picture(content):
    from PIL import Image

    matrix = display_matrix(Turned(content))
    assert rotation_of(matrix) in (0, 90, 180, 270)
    assert sorted(apply_display_matrix(Image.new("RGB", (3, 2)), matrix).size) == [2, 3]


def probe(content):
    """What the child does with a file, in this process: here its branches can be seen."""
    HELD.write_bytes(content)
    with suppress(MediaError, MemoryError), closing(open_source(HELD, LIMITS)) as source:
        assert inspect("held", source, LIMITS).status in STATUSES
    with suppress(MediaError, MemoryError), closing(open_source(HELD, LIMITS)) as source:
        if source.av is not None and source.tracks():
            span = (0.0, min(2.0, duration_of(source, LIMITS)))
            told = {}
            DecodePass(source, {0: span}, PLAN, LIMITS, told.__setitem__).run()
            assert told[0].status in STATUSES


DECODERS = []


def child(content):
    """Through the child, as every file goes."""
    if not DECODERS:
        DECODERS.append(Decoder(1, LIMITS))
    HELD.write_bytes(content)
    found = DECODERS[0].probe(HELD)
    assert found.status in STATUSES
    assert "crashed" not in found.reason
    (decoded,) = DECODERS[0].decode(HELD, [(0.0, None)], PLAN)
    assert decoded.status in STATUSES
    assert "crashed" not in decoded.reason


TARGETS = {one.__name__: one for one in (sniff, signature, wire, still, picture, probe, child)}


def main():
    target, runs = sys.argv[1:3]
    options = [
        f"-atheris_runs={runs}",
        "-seed=7",
        "-max_len=8192",
        "-rss_limit_mb=4096",
        "-timeout=60",
        f"-artifact_prefix={SEEDS.parent}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(SEEDS)], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
