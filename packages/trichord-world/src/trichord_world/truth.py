"""The truth of a generated world: each clip's latent factors and what its captions assert."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from trichord.types import UserError
from trichord.types.files import write_atomically
from trichord_world.grammar import Facts, Kind
from trichord_world.law import Scene, WorldSplit

TRUTH_FILE = "truth.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One clip's scene, and the facts of its captions in the order of the captions file."""

    scene: Scene
    split: WorldSplit
    facts: Mapping[Kind, tuple[Facts, ...]]


_TRUTH = TypeAdapter(Truth)


def write_truth(path: Path, truths: Iterable[Truth]) -> None:
    """Write one line of JSON a clip."""
    write_atomically(path, "".join(json.dumps(asdict(truth)) + "\n" for truth in truths))


def read_truth(path: Path) -> list[Truth]:
    """Read what `write_truth` wrote.

    Raises:
        UserError: the file is missing, or a line is not a clip's truth.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); name the {TRUTH_FILE} of a generated world."
        ) from None
    return [_truth(path, number, line) for number, line in enumerate(lines, start=1)]


def _truth(path: Path, number: int, line: str) -> Truth:
    try:
        return _TRUTH.validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the line"
        raise UserError(
            f"{path}:{number}: {place}: {first['msg']}; generate the world again."
        ) from None
