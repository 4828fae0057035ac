"""A model as a value: towers side by side, a fusion, a captioner."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from trichord.config.limits import TRAINING_ONLY, broken_rules, fingerprint_text
from trichord.config.parts import CaptionerConfig, EncoderConfig, FusionConfig, OneOf
from trichord.config.towers import ENCODERS, Clap, ClipText, ClipVision
from trichord.types import UserError
from trichord.types.plugins import Group
from trichord.types.rules import Range

if TYPE_CHECKING:  # torch stays out until something is built: parsing options must be quick
    from trichord.encoders.encoder import Encoder
    from trichord.models.captioner import Captioner
    from trichord.models.cross import CrossTransformer
    from trichord.models.embedder import Embedder
    from trichord.models.fusion import Fusion


@dataclass(frozen=True, kw_only=True)
class GlobalToGlobal(FusionConfig):
    """CLIP4VLA's Global-Global: the text against the mean of sight and sound. Nothing to learn."""

    kind: ClassVar[str] = "global-to-global"
    absent: Literal["masked", "zeros"] = "masked"
    """A clip without sound: sight alone, or the mean with zeros as published."""

    def build(self, model: "Embedder") -> "Fusion":
        """The fusion of a model's vectors."""
        from trichord.models import fusion

        return fusion.GlobalToGlobal(absent=self.absent)


@dataclass(frozen=True, kw_only=True)
class Cross(FusionConfig):
    """A transformer over frames and segments, and over the text where the fusion looks at it.

    `global_to_local` gives every clip vectors of its own, so it can fill an index; `tight` (the
    authors' intermediate form) and `local_to_local` look at each pair and can only re-rank.
    """

    kind: ClassVar[str] = "cross"
    level: Literal["global_to_local", "tight", "local_to_local"] = "global_to_local"
    form: Literal["clip", "bert"] = "clip"
    """As released, or the older form behind the paper's Table 1."""
    from_text: bool = True
    """Start the clip form from the first layers of the text tower, as released."""
    layers: Annotated[int, Range(1)] = 4
    heads: Annotated[int, Range(1)] = 8
    dropout: Annotated[float, Range(0, below=1)] = field(default=0.1, metadata=TRAINING_ONLY)
    text_slots: Annotated[int, Range(1)] = 32
    """Tokens it has room for."""
    frame_slots: Annotated[int, Range(0)] = 12
    segment_slots: Annotated[int, Range(0)] = 16
    absent: Literal["masked", "zeros"] = "masked"
    """A clip without sound: sight alone, or the mean with zeros as published."""

    def build(self, model: "Embedder") -> "Fusion":
        """The fusion of a model's steps."""
        from trichord.models import fusion

        slots = self.text_slots + self.frame_slots + self.segment_slots
        cross = _cross(model, self, self.form, slots, "--model.fusion")
        match self.level:
            case "global_to_local":
                return fusion.GlobalToLocal(cross, frame_slots=self.frame_slots, absent=self.absent)
            case "tight":
                return fusion.TightSequence(cross, frame_slots=self.frame_slots)
            case "local_to_local":
                return fusion.LocalToLocal(
                    cross, text_slots=self.text_slots, frame_slots=self.frame_slots
                )


@dataclass(frozen=True, kw_only=True)
class CaptionGenerator(CaptionerConfig):
    """CLIP4VLA's Multimodal Caption Generator: a transformer over words, frames and segments."""

    kind: ClassVar[str] = "caption-generator"
    from_text: bool = True
    """Start from the first layers of the text tower, as published."""
    layers: Annotated[int, Range(1)] = 4
    heads: Annotated[int, Range(1)] = 8
    """Where it does not start from the text tower."""
    dropout: Annotated[float, Range(0, below=1)] = 0.1
    text_slots: Annotated[int, Range(1)] = 32
    """Places for words: no caption that it writes is longer (VATEX: 48)."""
    frame_slots: Annotated[int, Range(0)] = 12
    segment_slots: Annotated[int, Range(0)] = 16
    padding: Literal["ignored", "as_published"] = "ignored"
    """Whether the loss counts the places behind a caption's end; published: it does."""

    def build(self, model: "Embedder") -> "Captioner":
        """A captioner on a model's text, frames and segments.

        Raises:
            UserError: The text tower gives no words, or more of them than there is room for.
        """
        from trichord.models.captioner import Captioner

        tower: Any = model.text
        if not getattr(tower, "tokens", False):
            raise UserError(
                "--model.captioner: captions are made of words; set --model.text.tokens True (CLIP's "
                "text tower)."
            )
        if tower.max_tokens > self.text_slots:
            raise UserError(
                f"--model.captioner.text-slots {self.text_slots} is less than --model.text.longest "
                f"({tower.max_tokens}): make them equal."
            )
        slots = self.text_slots + self.frame_slots + self.segment_slots
        cross = _cross(model, self, "clip", slots, "--model.captioner")
        tokens: Any = tower.trunk.model
        return Captioner(
            cross,
            width=tokens.config.hidden_size,
            vocabulary=tokens.config.vocab_size,
            reads=self.reads,
            text_slots=self.text_slots,
            frame_slots=self.frame_slots,
            padding=self.padding,
            # So that scores of words start with a spread of 1, whatever the size of the table.
            gain=1.0 / float(tower.table.square().mean(dim=0).sum().sqrt()),
        )

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        yield from broken_rules((not self.reads, "reads", "is empty: name vision, audio or both."))


def _cross(
    model: "Embedder",
    chosen: Cross | CaptionGenerator,
    form: Literal["clip", "bert"],
    slots: int,
    option: str,
) -> "CrossTransformer":
    """A cross transformer on a model, begun from its text tower if that is chosen.

    Raises:
        UserError: The sizes do not fit; `option` is named.
    """
    from trichord.models.cross import CrossTransformer

    begun: Any = model.text.trunk.model if chosen.from_text and form == "clip" else None
    tower: Any = begun.config if begun is not None else None
    heads = tower.num_attention_heads if tower else chosen.heads
    if model.dim % heads:
        raise UserError(f"{option}.heads {heads} do not divide {model.dim} dimensions.")
    cross = CrossTransformer(
        form=form,
        dim=model.dim,
        layers=chosen.layers,
        heads=heads,
        inner=tower.intermediate_size if tower else None,
        positions=max(512 if form == "bert" else 77, slots),
        dropout=chosen.dropout,
    )
    if begun is not None:
        try:
            cross.start_from(begun)
        except ValueError as error:
            raise UserError(
                f"{option}: {str(error).rstrip('.')}; or use {option}.no-from-text."
            ) from error
    return cross


FUSIONS: Group[type[FusionConfig]] = Group(
    "fusions", "fusion", {one.kind: one for one in (GlobalToGlobal, Cross)}
)
CAPTIONERS: Group[type[CaptionerConfig]] = Group(
    "captioners", "captioner", {CaptionGenerator.kind: CaptionGenerator}
)


def _built(name: str, config: EncoderConfig) -> "Encoder":
    """The encoder of a config, in the arithmetic that the config asks for.

    Raises:
        UserError: It has no exported form; names the option.
    """
    built: Any = config.build()
    if not hasattr(built, "trunk"):  # a `build` that forgot to return, or that a config lacks
        raise UserError(
            f"--model.{name.replace('_', '-')} {config.kind}: its build() gives {built!r}: give an encoder."
        )
    encoder: Encoder = built
    if encoder.arithmetic == config.arithmetic:
        return encoder
    if config.arithmetic == "graph":  # an encoder from outside may know nothing of graphs
        option = f"--model.{name.replace('_', '-')}.arithmetic"
        raise UserError(f"{option} graph: {config.kind} reads no exported graph: leave it out.")
    encoder.set_arithmetic(config.arithmetic)
    return encoder


TOWERS = ("text", "vision", "audio", "sound_text")
"""What a model's towers are called, in it and in its description."""


@dataclass(frozen=True, kw_only=True)
class TriModal:
    """CLIP for text and vision, an audio tower beside it (SLAVA, section III-B)."""

    text: Annotated[EncoderConfig, OneOf(ENCODERS, "text")] = field(default_factory=ClipText)
    vision: Annotated[EncoderConfig, OneOf(ENCODERS, "vision")] = field(default_factory=ClipVision)
    audio: Annotated[EncoderConfig, OneOf(ENCODERS, "audio")] = field(default_factory=Clap)
    sound_text: Annotated[EncoderConfig | None, OneOf(ENCODERS, "text")] = None
    """A text tower of its own towards sound: the untrained pair CLIP + CLAP lives in two spaces."""
    fusion: Annotated[FusionConfig | None, OneOf(FUSIONS)] = None
    """How sight and sound make one clip; None: they are searched apart."""
    captioner: Annotated[CaptionerConfig | None, OneOf(CAPTIONERS)] = None
    """What writes captions of clips, if anything does."""

    def towers(self) -> dict[str, EncoderConfig]:
        """The towers that there are, by what they are called."""
        return {name: tower for name in TOWERS if (tower := getattr(self, name)) is not None}

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`: a program may put an encoder where it does not belong."""
        for name, tower in self.towers().items():
            reads = "text" if name == "sound_text" else name
            if tower.modality != reads:
                yield (
                    name,
                    f"is {tower.kind}, which reads {tower.modality}: give one that reads {reads}.",
                )

    def renamed(self, names: Mapping[str, str]) -> "TriModal":
        """The same model with its towers taken from other folders or hub names, where one is given."""
        towers: dict[str, Any] = {
            name: replace(tower, name=names[tower.name])
            for name, tower in self.towers().items()
            if tower.name in names
        }
        return replace(self, **towers)

    def fetch(self) -> None:
        """Fetch from the hub what the towers are made of, without torch: what fails, fails soon.

        Raises:
            UserError: A tower is neither on this machine nor to be had.
        """
        for tower in self.towers().values():
            tower.fetch()

    def build(self) -> "Embedder":
        """Load all towers."""
        from trichord.models.embedder import Embedder

        built: dict[str, Any] = {name: _built(name, one) for name, one in self.towers().items()}
        model = Embedder(**built)
        if self.fusion is not None:
            model.fusion = self.fusion.build(model)
            model.fusion.settings = fingerprint_text(self.fusion)
        model.captioner = self.captioner.build(model) if self.captioner else None
        return model
