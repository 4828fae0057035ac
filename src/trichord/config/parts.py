"""Fields that hold one of several configs, built in or plug-ins, and their form in JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from importlib import import_module
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    cast,
    get_args,
    get_origin,
)

from trichord.config.limits import TRAINING_ONLY
from trichord.types import Arithmetic, Modality, UserError
from trichord.types.plugins import Group
from trichord.types.rules import Range

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema


def build(config: Any, *args: Any) -> Any:
    """Build what a config describes, by the registry of `trichord.models.builders`.

    The registry is imported by name: nothing in `trichord.config` depends on the code that it
    configures, and torch is loaded only here.
    """
    return import_module("trichord.models.builders").build(config, *args)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Base of an encoder's config: a subclass has a kind, a modality, fields, and a method `build`.

    All fields need a default, so that `--model.vision KIND` can choose it; rules about several fields
    are a method `flaws` (see `trichord.config.limits`). Weights that are not at the hub are fetched by a
    method `fetch`, which runs before torch is loaded.
    """

    group: ClassVar[str] = "encoders"
    kind: ClassVar[str] = ""
    """Its name on the command line, in experiments and as an entry point."""
    modality: ClassVar[Modality]
    types: ClassVar[frozenset[str]] = frozenset()
    """Types of models of `transformers` whose weights it reads, as their `config.json` names them."""
    name: str = ""
    """Folder or hub name of its weights; empty if it has none."""
    dim: Annotated[int | None, Range(1)] = None
    """Size of the shared space, of which a new head is; None: that of the pretrained head."""
    head_hidden: Annotated[int | None, Range(1)] = None
    """A new head has a hidden layer of this width; None: it is linear, if `dim` asks for one."""
    head_dropout: Annotated[float, Range(0, below=1)] = field(default=0.0, metadata=TRAINING_ONLY)
    """Share of the features, and of the hidden layer, that a head with `head_hidden` drops in training."""
    arithmetic: Arithmetic = "float32"
    """Number format of the trunk; `graph`: an exported encoder."""

    def build(self) -> Any:
        """Load the encoder."""
        return build(self)

    @property
    def weight_names(self) -> dict[str, str]:
        """Folders or hub names of its weights, by the field that names each."""
        return {"name": self.name} if self.name else {}

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The same with weights from other folders or hub names; others stay as they are."""
        changed = {place: names[one] for place, one in self.weight_names.items() if one in names}
        return replace(self, **changed) if changed else self

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`."""
        if self.head_dropout and self.head_hidden is None:
            yield (
                "head_dropout",
                f"{self.head_dropout:g}: give --model.{self.modality}.head-hidden too.",
            )


@dataclass(frozen=True, kw_only=True)
class FusionConfig:
    """Base of a fusion's config."""

    group: ClassVar[str] = "fusions"
    kind: ClassVar[str] = ""

    def build(self, model: Any) -> Any:
        """The fusion of a model's features."""
        return build(self, model)


@dataclass(frozen=True, kw_only=True)
class CaptionerConfig:
    """Base of a captioner's config."""

    group: ClassVar[str] = "captioners"
    kind: ClassVar[str] = ""
    reads: tuple[Literal["vision", "audio"], ...] = ("vision", "audio")
    """Modalities that captions are generated from."""

    def build(self, model: Any) -> Any:
        """A captioner on a model's text, frames and segments."""
        return build(self, model)


@dataclass(frozen=True)
class OneOf:
    """Marks a field whose value is the config of any part of a group.

    The command line chooses it by its kind (`--model.audio clip-audio`), and JSON holds the kind beside
    the fields. Unlike a union it is open: a kind is looked up when it is used.
    """

    group: Group[Any]
    modality: Modality | None = None
    """Of an encoder: the modality that it must read."""

    def kinds(self) -> list[str]:
        """Possible names; those of other packages regardless of modality, because they are not loaded."""
        return [
            kind
            for kind in self.group.kinds()
            if self.modality is None
            or kind not in self.group.own
            or self.group.own[kind].modality == self.modality
        ]

    def config(self, kind: str, option: str) -> Any:
        """The config class of a kind.

        Raises:
            UserError: There is none that fits; `option` is named.
        """
        # A family's towers are called alike: `--model.vision siglip2` is `siglip2-vision`.
        full = f"{kind}-{self.modality}"
        name = full if kind not in self.group.kinds() and full in self.kinds() else kind
        config_class = self.group.find(name, option, self.kinds())
        reads = getattr(config_class, "modality", None)
        if self.modality is not None and reads is None:
            raise UserError(
                f"{option} {kind}: {config_class.__name__} has no modality: give it one."
            )
        if self.modality is not None and reads != self.modality:
            fitting = ", ".join(self.kinds())
            raise UserError(f"{option} {kind}: it reads {reads}; choose one of {fitting}.")
        return config_class

    def __get_pydantic_core_schema__(self, _: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """The form of a part: its fields beside its kind."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            self._read, serialization=core_schema.plain_serializer_function_ser_schema(_written)
        )

    def _read(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        values = dict(cast("dict[str, Any]", value))
        config_class = self.config(str(values.pop("kind", "")), "kind")
        return _form_of(config_class).validate_python(values)


def _written(config: Any) -> dict[str, Any] | None:
    if config is None:
        return None
    return {"kind": config.kind} | _form_of(type(config)).dump_python(config, mode="json")


@cache
def _form_of(config: type) -> "TypeAdapter[Any]":
    """The adapter of a config's fields; unknown fields are refused."""
    from pydantic import ConfigDict, TypeAdapter, with_config

    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(config))


def choice_of(annotation: Any) -> tuple[OneOf, bool] | None:
    """The `OneOf` of a field, and whether the field may be None; None for other fields."""
    if get_origin(annotation) is Annotated:
        bare, *marks = get_args(annotation)
        mark = next((one for one in marks if isinstance(one, OneOf)), None)
        return None if mark is None else (mark, type(None) in get_args(bare))
    return None


def parts_of(config: Any) -> Iterator[tuple[Group[Any], str]]:
    """The parts of a config, each with its group."""
    if isinstance(config, tuple):
        for one in cast("tuple[Any, ...]", config):
            yield from parts_of(one)
    elif is_dataclass(config):
        for one in fields(config):
            value = getattr(config, one.name)
            if (choice := choice_of(one.type)) is not None and value is not None:
                yield choice[0].group, value.kind
            yield from parts_of(value)
