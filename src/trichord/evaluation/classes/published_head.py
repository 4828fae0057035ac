"""The classifier that a published checkpoint brings along: it answers, and learns nothing here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from trichord.checkpoint.tensor_files import DamagedError, read_tensors, write_tensors
from trichord.types import UserError

FILE = "head.safetensors"
"""Where a run keeps it."""
CLASSES = "classes"


def layers_of(dim: int, classes: int) -> nn.Sequential:
    """A layer norm and a linear layer, as CLIP4VLA classifies."""
    return nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedHead:
    """A layer norm and a linear layer on a clip's mean feature.

    Attributes:
        classes: Names, in the order of its scores.
        state: Of `layers_of`.
    """

    classes: tuple[str, ...]
    state: Mapping[str, Tensor]

    def words(self) -> str:
        """The method, to stand in a protocol."""
        return (
            "layer norm and linear layer of the published checkpoint, nothing learnt here (which clips "
            "IT LEARNT FROM, OR WAS CHOSEN BY, the checkpoint does not say: they may be among those "
            "tested)"
        )

    def write(self, run: Path) -> None:
        """Keep it in a run.

        Raises:
            UserError: The run cannot be written to.
        """
        write_tensors(run / FILE, self.state, {CLASSES: json.dumps(self.classes)})

    def scores(self, values: Float[ndarray, "clip dim"]) -> Float[ndarray, "clip class"]:
        """Logits of all classes."""
        classes, dim = self.state["1.weight"].shape
        layers = layers_of(dim, classes)
        layers.load_state_dict(dict(self.state))
        with torch.inference_mode():
            return layers(torch.from_numpy(values)).numpy().astype(np.float64)


def read_head(run: Path | None) -> PublishedHead:
    """The head that a run keeps.

    Raises:
        UserError: There is none, or it is damaged.
    """
    if run is None or not (run / FILE).is_file():
        raise UserError(
            f"--method published: {run or 'an experiment'} has no published head: name a run that "
            "'trichord import clip4vla' made of a checkpoint with one (cls_linear.*), or choose another "
            "--method."
        )
    try:
        state, notes = read_tensors(run / FILE)
    except DamagedError as error:
        raise UserError(f"{error}: import the checkpoint again.") from error
    return PublishedHead(classes=tuple(json.loads(notes[CLASSES])), state=state)
