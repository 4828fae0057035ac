"""The registry behind `config.build()`: what each config describes."""

from collections.abc import Callable
from typing import Any

from torch import nn

from trichord.config import (
    AudioFeatures,
    AudioTrunk,
    CaptionGenerator,
    Clap,
    ClapText,
    ClipAudio,
    ClipClapText,
    ClipText,
    ClipVision,
    Cross,
    EmbeddingGemmaAudio,
    EmbeddingGemmaText,
    EmbeddingGemmaVision,
    EncoderConfig,
    GlobalToGlobal,
    InfoNCE,
    PeAvAudio,
    PeAvText,
    PeAvVision,
    SentenceTransformersAudio,
    SentenceTransformersText,
    SentenceTransformersVision,
    SiglipText,
    SiglipVision,
    TextFeatures,
    TriModal,
    VisionFeatures,
    VisionTrunk,
)
from trichord.config.limits import check, fingerprint_text
from trichord.encoders.audio_trunks import audio_trunk
from trichord.encoders.clap import ClapEncoder, ClapTextEncoder, ClipClapTextEncoder
from trichord.encoders.clip import ClipVisionEncoder
from trichord.encoders.clip_audio import clip_audio
from trichord.encoders.embedding_gemma import (
    EmbeddingGemmaAudioEncoder,
    EmbeddingGemmaTextEncoder,
    EmbeddingGemmaVisionEncoder,
)
from trichord.encoders.encoder import Encoder
from trichord.encoders.heads import hidden_head
from trichord.encoders.multilingual_clip import clip_text
from trichord.encoders.pe_av import PeAvAudioEncoder, PeAvTextEncoder, PeAvVisionEncoder
from trichord.encoders.siglip import SiglipTextEncoder, siglip_vision
from trichord.encoders.stored import StoredAudio, StoredText, StoredVision
from trichord.encoders.vision_trunks import VisionTrunkEncoder
from trichord.encoders.weight_cache import shared_towers
from trichord.losses.objective import Objective
from trichord.models import fusion
from trichord.models.captioner import Captioner
from trichord.models.cross import CrossTransformer
from trichord.models.embedder import Embedder
from trichord.types import UserError
from trichord.types.extras import extras_named
from trichord.types.rules import require


def build(config: Any, *args: Any) -> Any:
    """Build what a config, or the nearest built-in class that it extends, describes.

    Raises:
        UserError: There is no such class, and the config has no `build` of its own; or as for the class.
    """
    for base in type(config).__mro__:
        if base in BUILDERS:
            # A program may build these outside an experiment, which is checked as a whole.
            if isinstance(config, EncoderConfig):
                check(config, f"--model.{config.modality}")
            elif isinstance(config, InfoNCE):
                check(config, "--objective")
            return BUILDERS[base](config, *args)
    raise UserError(f"{type(config).__name__} has no build(): say there what it builds.")


def _model(config: TriModal) -> Embedder:
    with shared_towers():  # encoders of one folder share its weights
        encoders: dict[str, Any] = {
            name: _encoder(name, one) for name, one in config.towers().items()
        }
    model = Embedder(**encoders, one_space=config.one_space)
    if config.fusion is not None:
        built: fusion.Fusion = config.fusion.build(model)
        built.settings = fingerprint_text(config.fusion)
        model.fusion = built
    model.captioner = config.captioner.build(model) if config.captioner else None
    return model


def _encoder(name: str, config: EncoderConfig) -> Encoder:
    """The encoder of a config, in the arithmetic of the config.

    Raises:
        UserError: It is no encoder, or has no exported form; names the option.
    """
    option = f"--model.{name.replace('_', '-')}"
    encoder = config.build()
    if not hasattr(encoder, "trunk"):  # a plug-in's `build` without return statement
        raise UserError(f"{option} {config.kind}: its build() gives {encoder!r}: give an encoder.")
    dim = config.dim or encoder.dim
    if config.head_hidden is not None:
        encoder.head = hidden_head(encoder.width, config.head_hidden, dim, config.head_dropout)
    elif encoder.dim != dim:
        encoder.head = nn.Linear(encoder.width, dim)
    encoder.dim = dim
    if encoder.arithmetic == config.arithmetic:
        return encoder
    if config.arithmetic == "graph":  # a plug-in need not support graphs
        raise UserError(
            f"{option}.arithmetic graph: {config.kind} reads no exported graph: leave it out."
        )
    encoder.set_arithmetic(config.arithmetic)
    return encoder


def _sentence_transformers(config: EncoderConfig) -> Encoder:
    """An encoder of another package, which takes two seconds to import, and need not be installed.

    Raises:
        UserError: It is not installed, no weights are named, or as for the encoder.
    """
    require(
        config.name,
        f"--model.{config.modality} {config.kind} has no weights of its own: name a folder, as in "
        f"--model.{config.modality}.name FOLDER.",
    )
    with extras_named():
        from trichord.encoders import sentence_transformers as encoders
    return getattr(encoders, f"SentenceTransformers{config.modality.title()}Encoder")(config)


def _global_to_global(config: GlobalToGlobal, _: Embedder) -> fusion.Fusion:
    return fusion.GlobalToGlobalFusion(absent=config.absent)


def _cross_fusion(config: Cross, model: Embedder) -> fusion.Fusion:
    cross = _cross(model, config)
    match config.level:
        case "global_to_local":
            return fusion.GlobalToLocalFusion(
                cross, frame_slots=config.frame_slots, absent=config.absent
            )
        case "tight":
            return fusion.TightSequenceFusion(cross, frame_slots=config.frame_slots)
        case "local_to_local":
            return fusion.LocalToLocalFusion(
                cross, text_slots=config.text_slots, frame_slots=config.frame_slots
            )


def _captioner(config: CaptionGenerator, model: Embedder) -> Captioner:
    """A captioner on a model's text, frames and segments.

    Raises:
        UserError: The text encoder has no step for each token, or more tokens than there are slots.
    """
    text: Any = model.text
    if not getattr(text, "tokens", False):
        raise UserError(
            "--model.captioner: captions are made of words; set --model.text.tokens True (CLIP's "
            "text tower)."
        )
    if text.max_tokens > config.text_slots:
        raise UserError(
            f"--model.captioner.text-slots {config.text_slots} is less than --model.text.longest "
            f"({text.max_tokens}): make them equal."
        )
    sizes: Any = text.trunk.model.config
    return Captioner(
        _cross(model, config),
        width=sizes.hidden_size,
        vocabulary=sizes.vocab_size,
        reads=config.reads,
        text_slots=config.text_slots,
        frame_slots=config.frame_slots,
        padding=config.padding,
        # With it the scores of words start with a spread of 1, whatever the size of the table.
        gain=1.0 / float(text.table.square().mean(dim=0).sum().sqrt()),
    )


def _cross(model: Embedder, config: Cross | CaptionGenerator) -> CrossTransformer:
    """A cross transformer on a model, initialised from its text encoder if the config says so.

    Raises:
        UserError: The sizes do not fit; the option is named.
    """
    is_fusion = isinstance(config, Cross)
    form, option = (config.form, "--model.fusion") if is_fusion else ("clip", "--model.captioner")
    slots = config.text_slots + config.frame_slots + config.segment_slots
    text_trunk: Any = model.text.trunk
    source = text_trunk.model if config.from_text and form == "clip" else None
    heads = source.config.num_attention_heads if source else config.heads
    if model.dim % heads:
        raise UserError(f"{option}.heads {heads} do not divide {model.dim} dimensions.")
    cross = CrossTransformer(
        form=form,
        dim=model.dim,
        layers=config.layers,
        heads=heads,
        inner=source.config.intermediate_size if source else None,
        positions=max(512 if form == "bert" else 77, slots),
        dropout=config.dropout,
    )
    if source is not None:
        try:
            cross.start_from(source)
        except ValueError as error:
            raise UserError(
                f"{option}: {str(error).rstrip('.')}; or use {option}.no-from-text."
            ) from error
    return cross


BUILDERS: dict[type, Callable[..., Any]] = {
    ClipText: clip_text,
    ClipVision: ClipVisionEncoder,
    Clap: ClapEncoder,
    ClipAudio: clip_audio,
    ClapText: ClapTextEncoder,
    ClipClapText: ClipClapTextEncoder,
    SiglipText: SiglipTextEncoder,
    SiglipVision: siglip_vision,
    VisionTrunk: VisionTrunkEncoder,
    AudioTrunk: audio_trunk,
    PeAvText: PeAvTextEncoder,
    PeAvAudio: PeAvAudioEncoder,
    PeAvVision: PeAvVisionEncoder,
    EmbeddingGemmaText: EmbeddingGemmaTextEncoder,
    EmbeddingGemmaVision: EmbeddingGemmaVisionEncoder,
    EmbeddingGemmaAudio: EmbeddingGemmaAudioEncoder,
    SentenceTransformersText: _sentence_transformers,
    SentenceTransformersVision: _sentence_transformers,
    SentenceTransformersAudio: _sentence_transformers,
    TextFeatures: StoredText,
    VisionFeatures: StoredVision,
    AudioFeatures: StoredAudio,
    GlobalToGlobal: _global_to_global,
    Cross: _cross_fusion,
    CaptionGenerator: _captioner,
    TriModal: _model,
    InfoNCE: Objective,
}
