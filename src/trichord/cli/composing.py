"""`trichord compose`: audio-visual captions from those of sound and picture."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.api.model import device_of
from trichord.cli.console import aside, bar, out
from trichord.cli.options import require_unset
from trichord.types import UserError
from trichord.types.rules import (
    Checked,
    Device,
    InputFile,
    OutputFile,
    Range,
    Seed,
    Spelling,
    require,
    require_legal,
)

if TYPE_CHECKING:
    from trichord.corpora.composing import Recipe, Write


def _require_local(url: str) -> None:
    from trichord.corpora.chat_endpoint import require_local

    require_local(url)


@dataclass(frozen=True, kw_only=True)
class Composing:
    """Make audio-visual captions of clips from their captions of sound and of picture.

    Without --model, a plain template joins one caption of each. An interrupted command goes on where it
    stopped when it is repeated.
    """

    manifest: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MANIFEST"), InputFile()]
    """The clips, as `trichord prepare` writes them."""
    to: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(metavar="OUT"), OutputFile()] = (
        None
    )
    """The manifest to write; the same one if not given."""
    model: Annotated[str | None, Spelling(r"\S.*", "the name or folder of a model")] = None
    """A language model of transformers, by hub name or folder; with --endpoint, its name there."""
    endpoint: Annotated[str | None, Checked(_require_local)] = None
    """Ask an OpenAI-compatible server on this machine, such as http://127.0.0.1:11434/v1."""
    captions: Annotated[int, Range(1, 100)] = 3
    """Composed captions of each clip."""
    prompt: Annotated[Path | None, InputFile()] = None
    """A text file with another prompt; {audio} and {visual} stand for the captions."""
    temperature: Annotated[float, Range(0, 2)] = 0.7
    """Of sampling; 0: the likeliest answer, of which there is one."""
    max_tokens: Annotated[int, Range(1, 100_000)] = 128
    """Longest answer; models that think first need thousands."""
    seed: Seed = 0
    """Of sampling."""
    force: bool = False
    """Replace a manifest at OUT that has no captions of this recipe."""
    device: Device = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""


def compose(arguments: list[str]) -> None:
    """`trichord compose MANIFEST`."""
    options = tyro.cli(Composing, args=arguments, prog="trichord compose")
    _require_sense(options)
    recipe = _recipe(options)

    from trichord.corpora.composing import compose as composed
    from trichord.corpora.manifest import read_manifest, read_recipes, write_manifest
    from trichord.corpora.prepared import Tally

    clips, recipes = read_manifest(options.manifest), read_recipes(options.manifest)
    place = _place(options, recipe)
    journal = place.with_name(f".{place.name}.{recipe.name}.answers")
    write, tally = _writer(options, recipe), Tally()
    with bar("clips", len(clips)) as moving:
        found = []
        for clip in composed(clips, recipe, write, journal, tally):
            found.append(clip)
            moving.advance(note=clip.id)
    for line in tally.prepared([]).lines():
        aside.print(f"  {line}", markup=False, soft_wrap=True)
    new = sum(len(clip.captions) for clip in found) - sum(len(clip.captions) for clip in clips)
    require(
        new or any(c.recipe == recipe.name for clip in clips for c in clip.captions),
        f"{options.manifest}: nothing was composed of its {len(clips)} clips: they need captions about "
        "audio and about visual, and a model that answers; nothing is written.",
    )
    write_manifest(place, found, recipes | {recipe.name: asdict(recipe)})
    journal.unlink(missing_ok=True)
    out.print(
        f"{place}: {new} composed captions ({recipe.source}), recipe {recipe.name}.", markup=False
    )


def _place(options: Composing, recipe: "Recipe") -> Path:
    """The manifest to write.

    Raises:
        UserError: It is there, and is another file, or a manifest that this recipe did not make.
    """
    from trichord.corpora.manifest import read_recipes, require_no_other_file

    place = options.to or options.manifest
    require_no_other_file(place)
    same = not place.exists() or place.samefile(options.manifest)
    require(
        same or options.force or not place.stat().st_size or recipe.name in read_recipes(place),
        f"{place} is there already, without captions of this recipe: name another file, or give --force "
        "to replace it.",
    )
    return place


def _require_sense(options: Composing) -> None:
    """Refuse options that are not legal, or have no effect together."""
    require(
        options.model or not options.endpoint,
        "--endpoint needs --model: name the model as its server does.",
    )
    if not options.model:
        unused = ("prompt", "temperature", "max_tokens", "seed", "device")
        require_unset(options, "a template, without --model", *unused)
    if options.endpoint:
        require_unset(options, "--endpoint", "device")
    require_legal(options)


def _recipe(options: Composing) -> "Recipe":
    from trichord.corpora.composing import PROMPT, Recipe
    from trichord.corpora.tables import read_bytes

    if not options.model:
        return Recipe(captions=options.captions)
    prompt = PROMPT
    if options.prompt:
        prompt = read_bytes(options.prompt).decode("utf-8", "replace").strip()
        if "{audio}" not in prompt or "{visual}" not in prompt:
            raise UserError(
                f"--prompt {options.prompt}: it lacks {{audio}} or {{visual}}: write both."
            )
    return Recipe(
        model=options.model,
        endpoint=options.endpoint or "",
        prompt=prompt,
        captions=options.captions,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        seed=options.seed,
    )


def _writer(options: Composing, recipe: "Recipe") -> "Write | None":
    if not options.model:
        return None
    if options.endpoint:
        from trichord.corpora.chat_endpoint import ChatEndpoint

        return ChatEndpoint(recipe)
    from trichord.encoders.hub import fetch_model

    fetch_model(options.model)  # errors come before torch is loaded

    from trichord.models.text_generation import TextGenerator

    device = device_of(options.device)
    return TextGenerator(options.model, recipe.temperature, recipe.max_tokens, device)
