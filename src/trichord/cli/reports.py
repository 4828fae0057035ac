"""Where reports lie in a run: a file for each way of measuring, so that none takes another's place."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from trichord.cli.measurement import Measurement
from trichord.cli.options import require_unset
from trichord.evaluation.captions.protocol import CaptionRules
from trichord.types import Split, UserError
from trichord.types.rules import OutputFile

Kind = Literal["evaluation", "captions"]
"""Begins the name of a report: of retrieval, or of captions that the run writes."""
KINDS: dict[Kind, str] = {"captions": "captions", "evaluation": "retrieval"}
"""What the files themselves say."""
RESERVED = ("experiment", "environment", "metrics", "weighting", "probe", "classify")
"""Files of a run, or of other commands."""


def name_of(chosen: Measurement, kind: Kind) -> str:
    """The name of a report without ending: its kind, then every choice that is not the usual one."""
    if chosen.to is not None:
        return chosen.to.stem
    from trichord.evaluation.gallery import Weights

    weights, named, silent = chosen.weights, chosen.named, chosen.silent
    usual = named.silent if named else "masked"
    parts = [
        chosen.protocol or ("" if chosen.split == "test" else chosen.split),
        f"silent-{silent}" if silent and silent != usual else "",
        # 1 and 1 are the usual weights: a run without a fusion is asked more tasks by them, no other ones.
        f"visual-{weights.visual_weight:g}-audio-{weights.audio_weight:g}"
        if weights not in (None, Weights())
        else "",
        f"token-{chosen.token}" if chosen.token is not None else "",
        "" if chosen.ties == "pessimistic" else f"ties-{chosen.ties}",
        "" if chosen.similarity == "pairwise" else chosen.similarity,
    ]
    if kind == "captions":
        parts += _caption_parts(chosen.captions)
    return "-".join([kind, *filter(None, parts)])


def _caption_parts(chosen: CaptionRules) -> list[str]:
    usual, parts = CaptionRules(), list[str]()
    for field in fields(chosen):
        value = getattr(chosen, field.name)
        if value == getattr(usual, field.name) or field.name in ("meteor", "resamples"):
            continue
        told = "-".join(value) if isinstance(value, tuple) else str(value)
        parts.append(f"{field.name.replace('_', '-')}-{told}")
    return parts


def place_of(run: Path | None, chosen: Measurement, kind: Kind) -> Path | None:
    """Where the report on a run goes; without one, where --to says, or nowhere."""
    to = chosen.to
    if to is None and run is None:
        return None
    folder = (run or Path()) if to is None or to.name == str(to) else to.parent
    return folder / f"{name_of(chosen, kind)}.json"


def require_place(runs: Sequence[Path | None], chosen: Measurement) -> None:
    """Refuse a --to that would destroy something, or is of one run where several are measured.

    Args:
        runs: What is measured; None: a model that is no run.
        chosen: How.

    Raises:
        UserError: Says which.
    """
    to = chosen.to
    if to is None:
        return
    if to.suffix not in ("", ".json"):
        raise UserError(f"--to {to}: a report is JSON: give a name that ends in .json.")
    elsewhere = to.name != str(to)
    if None in runs:  # then a bare name lies in the current folder
        OutputFile().check(to.with_suffix(".json"), "--to")
    elif to.stem in RESERVED and not elsewhere:
        raise UserError(f"--to {to}: this file of a run is something else: choose another name.")
    if elsewhere and len(runs) > 1:
        raise UserError(
            f"--to {to} is one file for {len(runs)} runs: give a name without a folder, which then lies "
            "in each run."
        )
    for run in runs:
        path = place_of(run, chosen, "evaluation")
        if path is not None and path.exists() and kind_in(path) is None:
            raise UserError(f"--to {to}: {path} is there and no report: choose another name.")


def kind_in(path: Path) -> Kind | None:
    """What a file is a report of; None: it is none."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return next((kind for kind, said in KINDS.items() if held["kind"] == said), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which reports of runs are meant, as `trichord evaluate` was told."""

    split: Split | None = None
    """Those on this split; test if nothing is said."""
    protocol: str | None = None
    """Those by this published protocol."""
    report: str | None = None
    """Those in this file of each run, such as evaluation-val-ties-expected."""

    @property
    def options(self) -> str:
        """What `trichord evaluate` has to be told to write them."""
        if self.report:
            return f" --to {self.report}"
        if self.protocol:
            return f" --protocol {self.protocol}"
        return f" --split {self.split}" if self.split not in (None, "test") else ""

    def require_sense(self) -> None:
        """Refuse options that contradict one another.

        Raises:
            UserError: The first of them.
        """
        if sum(one is not None for one in (self.split, self.protocol, self.report)) > 1:
            raise UserError("--split, --protocol and --report each choose the report: give one.")
        if self.protocol:
            assert Measurement(protocol=self.protocol).named  # refuses an unknown name

    def names(self) -> list[str]:
        """File names without ending that a report so chosen can have."""
        if self.report:
            return [self.report.removesuffix(".json")]
        asked = Measurement(split=self.split or "test", protocol=self.protocol)
        return [name_of(asked, kind) for kind in KINDS]


def require_report(file: Path) -> None:
    """Refuse a file that is no report of retrieval or captions."""
    if kind_in(file) is None:
        raise UserError(
            f"{file} is no report of retrieval or captions: name a run, or a file that 'trichord evaluate' "
            "wrote."
        )


def reports_of(places: Sequence[Path], choice: Choice) -> tuple[Kind, list[Path]]:
    """The reports of runs, and those that are named as files, all of one kind.

    Raises:
        UserError: A run has none, they are of two kinds, or a choice is given and there are files alone.
    """
    choice.require_sense()
    if all(place.is_file() for place in places):
        require_unset(choice, "report files", *(one.name for one in fields(choice)))
    found = [place if place.is_file() else _report_in(place, choice) for place in places]
    by_kind: dict[Kind, Path] = {}
    for path, place in zip(found, places, strict=True):
        by_kind[kind_in(path) or "evaluation"] = place
    if len(by_kind) > 1:
        raise UserError(
            f"{by_kind['captions']} was measured on captions, {by_kind['evaluation']} on retrieval: "
            "compare runs of one kind."
        )
    return next(iter(by_kind)) if by_kind else "evaluation", found


def _report_in(run: Path, choice: Choice) -> Path:
    places = [run / f"{name}.json" for name in choice.names()]
    there = next((place for place in places if place.is_file()), None)
    if there is None:
        others = [path.stem for kind in KINDS for path in sorted(run.glob(f"{kind}*.json"))]
        known = f"; it has {', '.join(others)}, which --report names" if others else ""
        raise UserError(
            f"{run} has not been evaluated so: run 'trichord evaluate {run} MANIFEST"
            f"{choice.options}'{known}."
        )
    return there
