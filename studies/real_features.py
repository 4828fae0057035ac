"""What three small pretrained trunks say of real recordings, read once and kept in a file.

EfficientNet-lite0 (ImageNet), EfficientAT's mn04 (AudioSet) and WordLlama, as `examples/real-towers` wraps
them: the vector before the classifier, averaged over frames or stretches of ten seconds. Needs the packages
of that example, and a folder with mn04's weights.
"""

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import ROOT

from trichord.media import Decoded, Decoder
from trichord.types import Clip, Modality, UserError

Vectors = dict[str, np.ndarray]


def example() -> Any:
    """The module of `examples/real-towers`."""
    folder = str(ROOT / "examples" / "real-towers")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        import real_towers
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed: pip install --editable examples/real-towers"
        ) from error
    return real_towers


def towers(weights: Path, place: Path) -> Any:
    """The three trunks with their heads by ConSE, in evaluation mode.

    Args:
        weights: A folder with `mn04_as_mAP_432.pt` and AudioSet's labels.
        place: Where they are put together under the names that the example wants.
    """
    module = example()
    folder = place / "mn04"
    folder.mkdir(parents=True, exist_ok=True)
    labels = next(
        one for one in (weights / module.LABELS, weights / "audioset_labels.csv") if one.is_file()
    )
    for file, name in ((weights / module.WEIGHTS, module.WEIGHTS), (labels, module.LABELS)):
        if not (folder / name).is_file():
            shutil.copyfile(file, folder / name)
    config = module.TriModal(
        text=module.WordLlama(),
        vision=module.EfficientNetLite0(),
        audio=module.Mn04(name=str(folder)),
    )
    torch.manual_seed(0)
    return config.build().eval()


@torch.inference_mode()
def of_vision(model: Any, frames: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of frames the mean 1,280 channels before the classifier, and the vector by ConSE."""
    deep = model.vision.trunk.extract_features(frames).mean((2, 3))
    logits = model.vision.trunk._fc(deep)
    return deep.mean(0).numpy(), model.vision.head(logits).mean(0).numpy()


@torch.inference_mode()
def of_audio(model: Any, steps: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of stretches the mean 384 channels before the classifier, and the vector by ConSE."""
    deep = model.audio.trunk.features(steps).mean((2, 3))
    logits = model.audio.trunk.classifier(deep[:, :, None, None])
    return deep.mean(0).numpy(), model.audio.head(logits).mean(0).numpy()


@torch.inference_mode()
def of_texts(model: Any, texts: Sequence[str]) -> Vectors:
    """The mean vector of each text's tokens."""
    return {text: model.text.trunk(model.text.prepare([text]))[0].numpy() for text in texts}


def band_statistics(steps: torch.Tensor) -> np.ndarray:
    """Mean and deviation of each of 128 log-mel bands over the time of a sound."""
    bands = steps[:, 0].movedim(1, 0).flatten(1)
    return torch.cat([bands.mean(1), bands.std(1)]).numpy()


def read(
    model: Any,
    clips: Iterable[Clip],
    decoder: Decoder,
    place: Path,
    modalities: Sequence[Modality] = ("vision", "audio"),
    *,
    keep: bool = False,
    networks: bool = True,
) -> dict[str, Vectors]:
    """Vectors of clips by kind and id, from the file `place` or read now and written there.

    Args:
        model: From `towers`.
        clips: With picture, sound or both.
        decoder: Reads them.
        place: An .npz file.
        modalities: What is read of each clip.
        keep: Keep the spectrograms too.
        networks: Ask the trunks; without them only the statistics of sounds are made.
    """
    if place.is_file():
        return _kept(place)
    found: dict[str, Vectors] = {}
    plan = model.plan_of(modalities)
    for clip in clips:
        [decoded] = decoder.decode(clip.path, ((clip.start, clip.end),), plan)
        row = _of_clip(model, decoded, networks)
        if not keep:
            row.pop("spectrogram", None)
        for kind, vector in row.items():
            found.setdefault(kind, {})[clip.id] = vector
    place.parent.mkdir(parents=True, exist_ok=True)
    np.savez(place, **{f"{kind}/{i}": v for kind, of in found.items() for i, v in of.items()})
    return found


def _of_clip(model: Any, decoded: Decoded, networks: bool) -> Vectors:
    """All vectors of a decoded clip, by kind."""
    row: Vectors = {}
    if decoded.frames is not None and len(decoded.frames):
        row["vision"], row["vision-conse"] = of_vision(model, model.vision_inputs(decoded))
    if decoded.audio:
        steps = model.audio_inputs(decoded)
        row["bands"], row["spectrogram"] = band_statistics(steps), steps.numpy()
        if networks:
            row["audio"], row["audio-conse"] = of_audio(model, steps)
    return row


def _kept(place: Path) -> dict[str, Vectors]:
    found: dict[str, Vectors] = {}
    with np.load(place) as held:
        for key in held.files:
            kind, _, clip_id = key.partition("/")
            found.setdefault(kind, {})[clip_id] = held[key]
    return found
