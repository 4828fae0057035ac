"""Shared fixtures: shapes are checked in every test, and tiny towers stand in for pretrained ones."""

import gc
import os
import re
import zlib
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never ask a model hub
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny models lose more to waiting threads than they win

import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]
# Only modules that name shapes: pyright checks plain types, and checking those at every call as well
# takes a tenth of the time of all tests.
SOURCES = [ROOT / "src", ROOT / "packages/trichord-world/src"]
SHAPED = [
    ".".join(file.relative_to(source).with_suffix("").parts)
    for source in SOURCES
    for file in sorted(source.rglob("*.py"))
    if re.search(
        r"^\s*from (jaxtyping|trichord\.types\.(arrays|tensors)) import", file.read_text(), re.M
    )
]
install_import_hook(SHAPED, "beartype.beartype")

# Imports and torch's exporter make objects by the million, hardly any of them garbage: with the usual
# threshold of 700 the collector takes a quarter of the time that collecting the tests takes.
gc.set_threshold(50_000, 20, 20)

TEXTS = ("a red ball bounces on the beach", "a low bell rings slowly", "someone says good morning")


@pytest.fixture(scope="session")
def tiny_towers(tmp_path_factory):
    """A folder with tiny random models `clip` and `clap` in the transformers format."""
    from trichord_world.small import SmallClap, SmallClip, build_clap, build_clip

    root = tmp_path_factory.mktemp("towers")
    clip = SmallClip(side=32, patch=16, width=32, inner=64, layers=2, text_inner=64, dim=24)
    build_clip(clip, TEXTS, root / "clip", seed=1).save_pretrained(root / "clip")
    clap = SmallClap(rate=16_000, seconds=2, width=16, text_width=32, dim=24, heads=(1, 2))
    build_clap(clap, TEXTS, root / "clap", seed=2).save_pretrained(root / "clap")
    return root


@pytest.fixture(scope="session")
def traced_encoders():
    """Traces encoders for their graphs, those of the same code and weights once."""
    from text_graphs import traced_once

    return traced_once()


@pytest.fixture(scope="module")
def encoders_traced_once(traced_encoders):
    """Each graph of the module is written, but an encoder that was traced before is not traced again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trichord.exporting.graphs._traced", traced_encoders)
        yield


@pytest.fixture(scope="session")
def tiny_trimodal(tiny_towers):
    """The configuration of a model with the tiny towers."""
    from trichord.config import Clap, ClipText, ClipVision, TriModal

    clip, clap = str(tiny_towers / "clip"), str(tiny_towers / "clap")
    return TriModal(text=ClipText(name=clip), vision=ClipVision(name=clip), audio=Clap(name=clap))


@pytest.fixture(scope="session")
def tiny_clip4vla(tiny_trimodal):
    """The configuration of a model with CLIP4VLA's audio tower: segments of 0.256 s, four at most."""
    from dataclasses import replace

    from trichord.config import ClipAudio, LogMel

    sound = ClipAudio(name=tiny_trimodal.text.name, log_mel=LogMel(mels=32), frames=32, longest=4)
    return replace(tiny_trimodal, audio=sound)


@pytest.fixture
def tiny_model(tiny_trimodal):
    """A fresh model with the tiny towers, in evaluation mode."""
    return tiny_trimodal.build().eval()


@pytest.fixture
def untrained_model(tiny_trimodal, tiny_towers):
    """The untrained pair: sound has its own text tower and its own space."""
    from dataclasses import replace

    from trichord.config import ClapText

    pair = replace(tiny_trimodal, sound_text=ClapText(name=str(tiny_towers / "clap")))
    return pair.build().eval()


@pytest.fixture
def made_up():
    """A decoder that draws what each file holds from its name, and notes which files it was asked for.

    A quarter of a second to a second of sound, three frames; files called `silent-…` have no sound,
    `dark-…` no frames.
    """
    import numpy as np

    from trichord.media import Decoded, Decoder

    class MadeUp(Decoder):
        def __init__(self):
            super().__init__(workers=1)
            self.asked = []

        def decode_all(self, requests):
            for request in requests:
                name = Path(request.path).stem
                self.asked.append((name, request.plan))
                yield [self.hold(name, request.plan) for _ in request.spans]

        def hold(self, name, plan):
            random = np.random.default_rng(zlib.crc32(name.encode()))
            frames = random.integers(0, 255, (3, 32, 40, 3), dtype=np.uint8)
            sound = random.normal(0, 0.1, (2, random.integers(4_000, 16_000)))
            sound = (sound if plan.stereo else sound.mean(0)).astype(np.float32)
            heard = {} if name.startswith("silent") else dict.fromkeys(plan.rates, sound)
            seen = plan.frames is not None and not name.startswith("dark")
            return Decoded(status="ok", frames=frames if seen else None, audio=heard)

    with MadeUp() as decoder:
        yield decoder


@pytest.fixture(scope="session")
def s3_server():
    """Address of an S3 server on this machine."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(s3_server, monkeypatch, tmp_path):
    """A place in a bucket, as `Storage` takes it."""
    from boto3.session import Session

    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "XDG_CACHE_HOME": str(tmp_path / "caches"),
    }.items():
        monkeypatch.setenv(name, value)
    name = f"b{abs(hash(str(tmp_path))):x}"
    Session().client("s3", region_name="us-east-1").create_bucket(Bucket=name)
    return f"s3://{name}/an/archive"


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    """Where a collection or cached features may lie."""
    if request.param == "folder":
        return str(tmp_path / "place")
    return request.getfixturevalue("bucket")
