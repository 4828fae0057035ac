"""`trichord models`: what `--model` may name."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from trichord.cli.console import aside, out
from trichord.cli.options import checked
from trichord.types import UserError

if TYPE_CHECKING:
    from trichord.config import TriModal


def models(arguments: list[str]) -> None:
    """`trichord models`."""

    def run(*, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:
        """List the models that --model may name, and whether their weights are on this machine.

        Experiments of other packages that need no training are listed too. Besides these, --model takes a
        run, a folder of weights in the format of transformers, hub:USER/NAME, and the name of another
        experiment.

        Args:
            as_json: Print JSON.
        """
        rows = [*map(_row, _kinds()), *_experiments()]
        if as_json:
            print(json.dumps(rows, indent=2, ensure_ascii=False))
            return
        for row in rows:
            origin = f" (of {row['origin']})" if row["origin"] else ""
            out.print(f"{row['name']}{origin}: {row['about']}", markup=False, soft_wrap=True)
            facts = [
                f"{row['parameters_millions']} million parameters",
                f"compares {', '.join(row['compares'])}",
                f"texts: {row['languages']}",
                f"licence: {row['licence']}",
                "on this machine" if row["cached"] else "not on this machine yet",
            ]
            if row["licence"] is None:  # an experiment does not say
                facts = [facts[1], facts[-1]]
            out.print(f"    {'; '.join(facts)}", markup=False, soft_wrap=True)

    tyro.cli(checked(run), args=arguments, prog="trichord models")


def _kinds() -> list[str]:
    from trichord.experiments.named_models import MODELS

    return MODELS.kinds()


def _experiments() -> Iterator[dict[str, Any]]:
    """Experiments of other packages that need no training, as rows."""
    from trichord.experiments import OTHERS, description, load_experiment

    for name in OTHERS.kinds():
        try:
            experiment = load_experiment(name)
        except UserError as error:  # a broken package must not hide the others
            aside.print(f"{name}: {error}", markup=False, soft_wrap=True)
            continue
        if not experiment.stages:
            origin = OTHERS.origin(name)
            about = description(name).removesuffix(f" ({origin})")
            yield _facts(name, origin, about, experiment.model)


def _row(kind: str) -> dict[str, Any]:
    """A named model as JSON values."""
    from trichord.experiments.named_models import MODELS

    named = MODELS.find(kind)
    said = {
        "parameters_millions": named.millions,
        "languages": named.languages,
        "licence": named.licence,
    }
    return _facts(kind, MODELS.origin(kind), named.about, named.model) | said


def _facts(name: str, origin: str | None, about: str, model: "TriModal") -> dict[str, Any]:
    """What is known of any model, as JSON values."""
    from trichord.encoders.hub import folder_of

    weights = list(model.weights)
    return {
        "name": name,
        "origin": origin,
        "about": about,
        "parameters_millions": None,
        "compares": sorted(f"{one}-{other}" for one, other in model.comparable),
        "languages": None,
        "licence": None,
        "weights": weights,
        "cached": all(folder_of(name) is not None for name in weights),
    }
