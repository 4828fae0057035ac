"""Checks of the rules that every encoder must follow."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trichord.encoders.encoder import AudioEncoder, Encoder, TextEncoder, VisionEncoder
from trichord.types.tensors import Padded

NEAR = 1e-5
"""Tolerance for elements of unit vectors that should be equal."""
SEED = 0
CLASSES = {"text": TextEncoder, "vision": VisionEncoder, "audio": AudioEncoder}
TEXTS = (
    "a dog barks",
    "a red ball bounces on the beach while somebody plays the guitar slowly",
    "glass",
)

Build = Callable[[], Encoder]
Seeded = Callable[[int], Encoder]


class FlawError(Exception):
    """A violated rule."""


@dataclass(frozen=True, slots=True)
class EncoderUnderTest:
    """An encoder under test.

    Attributes:
        build: Builds one with new weights from a seed.
        encoder: Built from `SEED`, in evaluation mode.
    """

    build: Seeded
    encoder: Encoder

    @classmethod
    def of(cls, build: Build) -> "EncoderUnderTest":
        """Build it from a config's `build`."""

        def seeded(seed: int) -> Encoder:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                return build().eval()

        return cls(seeded, seeded(SEED))


def require(condition: object, message: str) -> None:
    """Raise an error if a condition is false.

    Raises:
        FlawError: With the message.
    """
    if not condition:
        raise FlawError(message)


def example_rows(encoder: Encoder) -> list[Tensor]:
    """Trunk inputs of some clips, (step, ...) each, of different lengths if possible."""
    if isinstance(encoder, TextEncoder):
        return list(encoder.prepare(list(TEXTS))[:, None])
    random = np.random.default_rng(SEED)
    if isinstance(encoder, VisionEncoder):
        width, height = encoder.frames.target_size(299, 224)
        frames = random.integers(0, 256, (5, height, width, 3), np.uint8)
        return [encoder.prepare(frames[:count]) for count in (5, 1, 2)]
    assert isinstance(encoder, AudioEncoder)
    channels = (2,) if encoder.stereo else ()
    seconds = (3.0, 0.3, 25.0)
    waves = [random.normal(0, 0.1, (*channels, round(one * encoder.rate))) for one in seconds]
    return [encoder.prepare(wave.astype(np.float32)) for wave in waves]


def vectors_of(encoder: Encoder, rows: Sequence[Tensor]) -> Float[Tensor, "row dim"]:
    """Unit vectors of clips, encoded in one batch."""
    with torch.inference_mode():
        return encoder(encoder.trunk_features(Padded.stack(list(rows)))).pooled


def check_shapes(subject: EncoderUnderTest) -> None:
    """Inputs, features and vectors have the declared sizes."""
    encoder = subject.encoder
    expected = CLASSES[encoder.modality]
    require(isinstance(encoder, expected), f"it does not extend {expected.__name__}")
    example = encoder.example()
    require(len(example) == 2, f"example() gives {len(example)} steps instead of 2")
    for row in example_rows(encoder):
        require(len(row) > 0, "prepare() gives no step of a clip that has one")
        alike = row.shape[2:] == example.shape[2:] or isinstance(encoder, TextEncoder)
        require(
            alike, f"steps of {tuple(row.shape[1:])} beside steps of {tuple(example.shape[1:])}"
        )
    with torch.inference_mode():
        read = encoder.run_trunk(example)
        require(len(read) == 2, f"the trunk gives {len(read)} rows of 2 steps")
        wide = f"the trunk's features are {read.shape[-1]} wide, width says {encoder.width}"
        require(read.shape[-1] == encoder.width, wide)
        features = encoder.head(read).shape[-1]
        require(
            features == encoder.dim, f"the head gives {features} numbers, dim says {encoder.dim}"
        )
    vectors = vectors_of(encoder, example_rows(encoder))
    require(torch.isfinite(vectors).all(), "a vector has numbers that are not finite")


def check_determinism(subject: EncoderUnderTest) -> None:
    """Repeated calls give the same inputs and vectors."""
    encoder = subject.encoder
    one, other = example_rows(encoder), example_rows(encoder)
    same = all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    require(same, "prepare() gives other inputs the second time")
    again = torch.equal(vectors_of(encoder, one), vectors_of(encoder, one))
    require(again, "the trunk gives other features the second time, in evaluation mode")


def check_batches(subject: EncoderUnderTest) -> None:
    """A vector does not depend on the other clips in the batch, nor on their order."""
    encoder, rows = subject.encoder, example_rows(subject.encoder)
    together = vectors_of(encoder, rows)
    alone = torch.cat([vectors_of(encoder, [row]) for row in rows])
    _require_near(together, alone, "beside other clips a vector differs by")
    reversed_order = vectors_of(encoder, rows[::-1]).flip(0)
    _require_near(together, reversed_order, "in another order a vector differs by")


def check_padding(subject: EncoderUnderTest) -> None:
    """Padding changes nothing: neither masked steps nor a text's columns beyond its length."""
    encoder, rows = subject.encoder, example_rows(subject.encoder)
    if not isinstance(encoder, TextEncoder):
        padded = Padded.stack(rows)
        noisy = padded.values.clone()
        noisy[~padded.mask] = 7
        with torch.inference_mode():
            features = encoder(encoder.trunk_features(Padded(noisy, padded.mask))).pooled
        _require_near(features, vectors_of(encoder, rows), "masked steps change a vector by")
        return
    ids = torch.cat(rows)
    lengths = encoder.lengths(ids).tolist()
    for text, row, length in zip(TEXTS, ids, lengths, strict=True):
        require(0 < length <= len(row), f"lengths() says {length} of {len(row)} columns")
        short, alone = row[None, None, :length], encoder.prepare([text])[:, None]
        full = vectors_of(encoder, [row[None]])
        _require_near(vectors_of(encoder, [*short]), full, "without its padding a text differs by")
        _require_near(vectors_of(encoder, [*alone]), full, "beside longer texts a text differs by")
    require(len(encoder.prepare([""])) == 1, "prepare() gives no row of an empty text")


def check_freezing(subject: EncoderUnderTest) -> None:
    """A frozen trunk does not change while the head trains; an unfrozen one gets gradients."""
    encoder = subject.build(SEED)
    before = copy.deepcopy(encoder.trunk.state_dict())
    rows = example_rows(encoder)
    encoder.train()
    _step(encoder, rows)
    same = all(torch.equal(v, before[name]) for name, v in encoder.trunk.state_dict().items())
    require(same, "the frozen trunk changes while the head trains")
    frozen = all(one.grad is None for one in encoder.trunk.parameters())
    require(frozen, "the frozen trunk gets gradients: its parameters are made anew, or detached")
    if not list(encoder.trunk.parameters()):
        return
    encoder.unfreeze()
    _step(encoder, rows)
    trains = any(one.grad is not None for one in encoder.trunk.parameters())
    require(trains, "the unfrozen trunk gets no gradient: its forward detaches, or is without them")


def check_saving(subject: EncoderUnderTest) -> None:
    """Saved and loaded weights give the same vectors, independent of the seed."""
    changed, fresh = subject.build(SEED), subject.build(SEED + 1)
    changed.own_trunk()
    fresh.own_trunk()
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.mul_(1.01)
    fresh.load_state_dict(changed.state_dict())
    rows = example_rows(changed)
    difference = "after saving and loading a vector differs by"
    _require_near(vectors_of(fresh, rows), vectors_of(changed, rows), difference)


def check_fingerprint(subject: EncoderUnderTest) -> None:
    """Each build has the same fingerprint; other weights have another."""
    one, other = subject.build(SEED), subject.build(SEED)
    require(one.fingerprint == other.fingerprint, "it has another fingerprint in each build")
    for parameter in list(other.trunk.parameters())[:1]:
        other.own_trunk()
        with torch.no_grad():
            parameter.add_(1)
        require(one.fingerprint != other.fingerprint, "other weights have the same fingerprint")


def _step(encoder: Encoder, rows: Sequence[Tensor]) -> None:
    steps = encoder(encoder.trunk_features(Padded.stack(list(rows)))).steps
    if steps.requires_grad:  # not if the trunk is frozen and the head has no parameters
        steps.sum().backward()


def _require_near(one: Tensor, other: Tensor, message: str) -> None:
    difference = float((one - other).abs().max())
    require(difference <= NEAR, f"{message} {difference:.2g}, more than {NEAR:g}")


CHECKS: dict[str, Callable[[EncoderUnderTest], None]] = {
    "shapes": check_shapes,
    "determinism": check_determinism,
    "batches": check_batches,
    "padding": check_padding,
    "freezing": check_freezing,
    "saving": check_saving,
    "fingerprint": check_fingerprint,
}
"""Checks by name, in the order of the report."""


def flaws_of(subject: EncoderUnderTest) -> Iterator[tuple[str, str | None]]:
    """Each check's name, and what is wrong; None if it passes."""
    for name, check in CHECKS.items():
        try:
            check(subject)
        except FlawError as flaw:
            yield name, str(flaw)
        except Exception as error:  # a plug-in may raise anything
            yield name, f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            yield name, None
