"""What `natural_start.py` trains: EfficientNet-lite0 on spectrograms, as a classifier of sounds."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from record import ROOT
from torch import Tensor, nn

from trichord.config import LogMel
from trichord.corpora import esc50
from trichord.encoders.segments import SegmentEncoder
from trichord.media import Decoder
from trichord.media.plan import DecodePlan, DecodeRequest

sys.path.insert(0, str(ROOT / "examples" / "efficientnet-sound"))
from efficientnet_sound import EfficientNetSound

BATCH, WARM_UP, DECAY, CLIP_NORM = 16, 10, 0.05, 1.0
SECONDS = 5.04
"""Of a segment: a recording is one picture."""


def sound_config(side: int, *, scratch: bool, dim: int = 128) -> EfficientNetSound:
    """The encoder on square segments of `side` bands and time steps."""
    return EfficientNetSound(
        scratch=scratch,
        dim=dim,
        log_mel=LogMel(mels=side, window=2048, hop=round(SECONDS * 16_000 / side)),
        frames=side,
        longest=1,  # a recording has a few samples more
        padding="as_paper",
        channels="mono",
    )


def drawn(config: EfficientNetSound, seed: int) -> SegmentEncoder:
    """The encoder, whose random weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return config.build().eval()


@dataclass(frozen=True)
class Sounds:
    """ESC-10 as an encoder reads it.

    Attributes:
        pictures: (clip, step, 1, time, mel).
        classes: A number a clip.
        folds: The official one of each clip, 1 to 5.
        ids: Of the clips.
    """

    pictures: Tensor
    classes: np.ndarray
    folds: np.ndarray
    ids: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path, side: int, cache: Path) -> "Sounds":
        """Decode the recordings, or take the spectrograms that are kept in `cache`."""
        clips = esc50.clips(folder).clips
        names = sorted({clip.labels[0] for clip in clips})
        kept = cache / f"pictures-{side}.npy"
        if not kept.exists():
            encoder = drawn(sound_config(side, scratch=True), 0)
            plan = DecodePlan(frames=None, rates=(encoder.rate,))
            asked = [
                DecodeRequest(path=clip.path, spans=((0.0, None),), plan=plan) for clip in clips
            ]
            with Decoder() as decoder:
                heard = [decoded.audio[encoder.rate] for [decoded] in decoder.decode_all(asked)]
            np.save(kept, torch.stack([encoder.prepare(wave) for wave in heard]).numpy())
        return cls(
            torch.from_numpy(np.load(kept)),
            np.array([names.index(clip.labels[0]) for clip in clips]),
            np.array([esc50.fold(clip) for clip in clips]),
            tuple(clip.id for clip in clips),
        )

    def some(self, folds: tuple[int, ...], size: int, seed: int) -> np.ndarray:
        """Rows of `size` clips of these folds, as many of each class; all if there are fewer."""
        random = np.random.default_rng((seed, *folds))
        rows = np.flatnonzero(np.isin(self.folds, folds))
        each = size // len(np.unique(self.classes))
        return np.concatenate(
            [
                random.permutation(rows[self.classes[rows] == c])[:each]
                for c in np.unique(self.classes)
            ]
        )


class Classifier(nn.Module):
    """A trunk, the mean over segments, and a linear layer that begins at zero; all of it trains."""

    def __init__(self, encoder: SegmentEncoder, classes: int) -> None:
        super().__init__()
        encoder.unfreeze()
        self.trunk = encoder.trunk.to(memory_format=torch.channels_last)  # a third quicker on a CPU
        self.last = nn.Linear(encoder.width, classes)
        nn.init.zeros_(self.last.weight)

    def forward(self, pictures: Tensor) -> Tensor:
        """(clip, step, 1, time, mel) to (clip, class)."""
        steps = self.trunk(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        return self.last(steps.mean(dim=1))


def fine_tuned(
    encoder: SegmentEncoder,
    sounds: Sounds,
    rows: np.ndarray,
    rate: float,
    seed: int,
    steps: Sequence[int],
) -> Iterator[Classifier]:
    """The classifier after each of these numbers of steps on these clips."""
    torch.manual_seed(seed)  # of dropout and of dropped blocks
    model = Classifier(encoder, 1 + int(sounds.classes.max()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=DECAY)
    truth = torch.from_numpy(sounds.classes)
    for step, batch in enumerate(islice(batches(rows, seed), max(steps)), start=1):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, step / WARM_UP)
        model.train()
        loss = F.cross_entropy(model(sounds.pictures[batch]), truth[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        if step in steps:
            yield model.eval()


def batches(rows: np.ndarray, seed: int) -> Iterator[Tensor]:
    """Mini-batches without end: all clips in one order, then in another."""
    random = np.random.default_rng(seed)
    while True:
        yield from torch.from_numpy(random.permutation(rows)).split(BATCH)


@torch.inference_mode()
def scores(model: Callable[[Tensor], Tensor], sounds: Sounds, rows: np.ndarray) -> Tensor:
    """What a classifier, or another function of pictures, gives of these clips, a row each."""
    return torch.cat([model(part) for part in sounds.pictures[torch.from_numpy(rows)].split(64)])


def frozen_features(encoder: SegmentEncoder, sounds: Sounds) -> np.ndarray:
    """The mean over segments of the frozen trunk's features, of all clips."""

    def read(pictures: Tensor) -> Tensor:
        return encoder.trunk(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2]).mean(dim=1)

    return scores(read, sounds, np.arange(len(sounds.ids))).numpy()


def ridge(
    values: np.ndarray, classes: np.ndarray, penalty: float
) -> Callable[[np.ndarray], np.ndarray]:
    """A ridge classifier: least squares of +1 and -1 for each class on standardised features.

    Args:
        values: (clip, width).
        classes: A number a clip.
        penalty: Of the squared weights.

    Returns:
        From (clip, width) to the class of the largest score.
    """
    mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-6
    known = (values - mean) / deviation
    targets = 2.0 * np.eye(1 + classes.max())[classes] - 1
    offset = targets.mean(axis=0)
    # With fewer clips than features the system of clips is the small one.
    dual = np.linalg.solve(known @ known.T + penalty * np.eye(len(known)), targets - offset)
    weights = known.T @ dual
    return lambda asked: np.argmax((asked - mean) / deviation @ weights + offset, axis=1)
