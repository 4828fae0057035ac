"""Models by name: pretrained encoders that belong together, or a folder of weights."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from trichord.config import (
    CLAP,
    CLIP,
    EMBEDDING_GEMMA2,
    ENCODERS,
    PE_AV,
    SIGLIP2,
    Clap,
    ClapText,
    ClipAudio,
    EmbeddingGemmaAudio,
    EmbeddingGemmaText,
    EmbeddingGemmaVision,
    EncoderConfig,
    PeAvAudio,
    PeAvText,
    PeAvVision,
    SentenceTransformersAudio,
    SentenceTransformersText,
    SentenceTransformersVision,
    SiglipText,
    SiglipVision,
    TriModal,
)
from trichord.encoders.foreign import describe, format_of
from trichord.encoders.module_list import (
    MODULES,
    WITHOUT_WEIGHTS,
    Module,
    modalities,
    read_modules,
)
from trichord.types import Modality, UserError
from trichord.types.extras import require_package
from trichord.types.plugins import Group

FITTING = (
    "give a CLIP, SigLIP, CLAP, PE-AV or EmbeddingGemma 2 in the format of transformers, or bring the "
    "vectors of another model (kind 'features')"
)
HUB = "hub:"
"""Before the name of weights at a hub, which would be read as a relative path."""


@dataclass(frozen=True, kw_only=True)
class NamedModel:
    """Pretrained encoders that belong together.

    Attributes:
        kind: Its name.
        about: What it is good for, in a line.
        model: As published: searched without any training.
        aligned: With all encoders in one space, whose new heads an experiment trains.
        millions: Parameters of all encoders, in millions.
        licence: Of the weights.
        languages: That texts may be in.
    """

    group: ClassVar[str] = "models"
    kind: str
    about: str
    model: TriModal
    aligned: TriModal
    millions: int
    licence: str
    languages: str

    def weights(self) -> list[str]:
        """Folders or hub names of the weights, each once."""
        return list(self.model.weights)


SENTENCE_TRANSFORMERS = (
    SentenceTransformersText,
    SentenceTransformersVision,
    SentenceTransformersAudio,
)
_SIGLIP2_CLAP = TriModal(text=SiglipText(), vision=SiglipVision(), audio=Clap(dim=768))
_PE_AV = TriModal(text=PeAvText(toward="vision"), vision=PeAvVision(), audio=PeAvAudio())
_GEMMA = TriModal(
    text=EmbeddingGemmaText(), vision=EmbeddingGemmaVision(), audio=EmbeddingGemmaAudio()
)
MODELS: Group[NamedModel] = Group(
    "models",
    "model",
    {
        one.kind: one
        for one in (
            NamedModel(
                kind="clip-clap",
                about="CLIP and CLAP as published: each modality searched by its own text tower.",
                model=TriModal(sound_text=ClapText()),
                aligned=TriModal(),
                millions=305,
                licence=f"MIT ({CLIP}), Apache-2.0 ({CLAP})",
                languages="English",
            ),
            NamedModel(
                kind="siglip2-clap",
                about="SigLIP 2 and CLAP as published: better pictures, texts in many languages.",
                model=replace(_SIGLIP2_CLAP, audio=Clap(), sound_text=ClapText()),
                aligned=_SIGLIP2_CLAP,
                millions=529,
                licence=f"Apache-2.0 ({SIGLIP2}, {CLAP})",
                languages="over 100 for pictures, English for sound",
            ),
            NamedModel(
                kind="pe-av",
                about="PE-AV: sound, picture and text in one space; pictures need the package timm.",
                model=replace(_PE_AV, sound_text=PeAvText(toward="audio"), one_space=True),
                aligned=_PE_AV,
                millions=1030,
                licence=f"Apache-2.0 ({PE_AV})",
                languages="English",
            ),
            NamedModel(
                kind="embeddinggemma2",
                about="EmbeddingGemma 2: one tower for text, picture and sound; vectors can be cut.",
                model=_GEMMA,
                aligned=_GEMMA,
                millions=740,
                licence=f"Apache-2.0 by its card ({EMBEDDING_GEMMA2})",
                languages="many",
            ),
            NamedModel(
                kind="clip-clip4vla",
                about="CLIP with CLIP4VLA's audio tower, which starts from CLIP's and has to be trained.",
                model=TriModal(audio=ClipAudio()),
                aligned=TriModal(audio=ClipAudio()),
                millions=239,
                licence=f"MIT ({CLIP})",
                languages="English",
            ),
        )
    },
)
"""Named models; those of other packages by the entry point `trichord.models`."""


def is_weights(given: str) -> bool:
    """Whether something names weights: a folder of a model's files that is no run, or a hub's model."""
    if given.startswith(HUB):
        return True
    place = Path(given)
    try:
        is_model = any((place / file).is_file() for file in ("config.json", MODULES))
        return is_model and not (place / "experiment.json").is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def load_named_model(given: str) -> NamedModel:
    """A model by its name, by a folder of weights, or by `hub:USER/NAME`.

    Raises:
        UserError: There is none; it is something else; or the weights are of one modality alone, or of an
            unknown family.
    """
    if is_weights(given):
        return _of_weights(given)
    if given not in MODELS.kinds() and (what := describe(Path(given))):
        raise UserError(f"'{given}' is {what}.")
    return MODELS.find(given)


def put_into(model: TriModal, named: NamedModel) -> TriModal:
    """A model with the encoders of another one in one space; fusion and captioner stay."""
    towers = named.aligned
    return replace(
        model,
        text=towers.text,
        vision=towers.vision,
        audio=towers.audio,
        sound_text=None,
        one_space=False,
    )


def _of_weights(given: str) -> NamedModel:
    """The model of some weights, completed by CLIP or CLAP where they lack a modality."""
    from trichord.encoders.hub import fetch_model

    name = given.removeprefix(HUB)
    folder = fetch_model(name, weights=False)
    modules = read_modules(folder) if (folder / MODULES).is_file() else []
    kind = _model_type(folder, modules)
    if modules and not _is_ours(modules, folder, kind):
        require_package("sentence_transformers")
        return _completed(given, f"sentence-transformers' {kind}", _of_modules(modules, name))
    for named in MODELS.own.values():  # a joint model: the same with other weights
        own, *others = named.weights()
        if not others and all(kind in one.types for one in named.model.towers().values()):
            model, aligned = (one.renamed({own: name}) for one in (named.model, named.aligned))
            return replace(named, kind=given, model=model, aligned=aligned)
    return _completed(given, kind, dict(_towers(kind, name)))


def _model_type(folder: Path, modules: Sequence[Module]) -> str:
    """The type in a folder's configuration, or in that of its first module."""
    file = (modules[0].folder if modules else folder) / "config.json"
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is missing or damaged: fetch the whole model again.") from error
    if isinstance(content, dict) and isinstance(content.get("model_type"), str):
        if "auto_map" in content and not _readers(content["model_type"]):
            raise UserError(
                f"{file}: type '{content['model_type']}' comes with code of its own (auto_map), and "
                f"Trichord runs no code of a model: {FITTING}."
            )
        return content["model_type"]
    other = format_of(folder)
    if isinstance(content, dict) and "architecture" in content:
        other = f"a model of timm: {FITTING}"
    raise UserError(
        f"{file} names no model type: " + (f"the folder holds {other}." if other else f"{FITTING}.")
    )


def _readers(kind: str) -> list[type[EncoderConfig]]:
    """Our encoders that read weights of a type."""
    return [one for one in ENCODERS.own.values() if kind in one.types]


def _is_ours(modules: Sequence[Module], folder: Path, kind: str) -> bool:
    """Whether an encoder of ours reads all weights of a `sentence-transformers` folder.

    Then it is read like a folder of `transformers`, of which the package is not needed.
    """
    whole = {one.kind for one in modules} <= WITHOUT_WEIGHTS
    return bool(_readers(kind)) and whole and modules[0].folder == folder


def _of_modules(modules: list[Module], name: str) -> dict[str, EncoderConfig]:
    """The encoders of a `sentence-transformers` folder, by their place in a model."""
    known = modalities(modules)
    towers = {
        one.modality: one(name=name) for one in SENTENCE_TRANSFORMERS if one.modality in known
    }
    # A text encoder beside audio alone searches it in a space of their own, as CLAP's does.
    return {
        "sound_text"
        if side == "text" and "audio" in towers and "vision" not in towers
        else side: tower
        for side, tower in towers.items()
    }


def _completed(given: str, kind: str, towers: dict[str, EncoderConfig]) -> NamedModel:
    """A model of some encoders, completed by CLIP or CLAP.

    Raises:
        UserError: They are of one modality alone.
    """
    if not {"text", "vision"} <= towers.keys() and not {"audio", "sound_text"} <= towers.keys():
        if not towers:
            raise UserError(
                f"'{given}' is of type '{kind}', which is of no known family: {FITTING}."
            )
        readers = [side.replace("sound_text", "text") for side in towers]
        options = [
            f"--model.{side} {one.kind} --model.{side}.name {one.name}"
            for side, one in zip(readers, towers.values(), strict=True)
        ]
        raise UserError(
            f"'{given}' is of type '{kind}', which reads {' and '.join(readers)} alone: give a model of "
            f"texts and pictures, or of texts and sounds; or train an experiment with {' '.join(options)}."
        )
    if "audio" not in towers:
        towers["sound_text"] = ClapText()
    return NamedModel(
        kind=given,
        about=f"Weights of type '{kind}'.",
        model=replace(TriModal(), **towers),
        aligned=replace(
            TriModal(), **{side: towers[side] for side in towers if side != "sound_text"}
        ),
        millions=0,
        licence="of its own",
        languages="unknown",
    )


def _towers(kind: str, name: str) -> Iterator[tuple[str, EncoderConfig]]:
    """The encoders that read weights of a type, by their place in a model."""
    configs = _readers(kind)
    sides: dict[str, Modality] = {"text": "text", "vision": "vision", "audio": "audio"}
    audio_alone = not any(one.modality == "vision" for one in configs)
    for side, modality in sides.items():
        if chosen := next((one for one in configs if one.modality == modality), None):
            yield "sound_text" if side == "text" and audio_alone else side, chosen(name=name)
