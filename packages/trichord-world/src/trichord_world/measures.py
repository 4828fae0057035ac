"""What the world's truth says of clips: the ceiling of retrieval, and what captions invent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trichord.cli.console import aside
from trichord.evaluation.captions.invention import Invention
from trichord.types import Clip
from trichord_world.ceiling import ceiling
from trichord_world.invention import invention
from trichord_world.truth import TRUTH_FILE, Truth, read_truth
from trichord_world.world import read_world


def known_ceiling(clips: Sequence[Clip]) -> dict[str, dict[int, float]] | None:
    """The best possible R@k of each task, where the clips are of a generated world."""
    root = _root(clips)
    if root is None:
        return None
    truth = _truth_of(clips, root)
    if len(truth) != len(clips):
        aside.print(f"{root / TRUTH_FILE} does not know all of these clips: no ceiling.")
        return None
    world = read_world(root)
    return ceiling(truth, grammar=world.grammar, law=world.law)


def caption_check(captions: Mapping[str, str], clips: Sequence[Clip]) -> Invention | None:
    """How often captions name sounds, untrue ones, and ones that cannot be seen."""
    root = _root(clips)
    scenes = [one.scene for one in _truth_of(clips, root)] if root else []
    return invention(captions, scenes)


def _root(clips: Sequence[Clip]) -> Path | None:
    """The folder of the world that clips are of; None of other clips."""
    root = Path(clips[0].path).parent.parent
    return root if (root / TRUTH_FILE).is_file() else None


def _truth_of(clips: Sequence[Clip], root: Path) -> list[Truth]:
    wanted = {clip.id for clip in clips}
    return [one for one in read_truth(root / TRUTH_FILE) if one.scene.id in wanted]
