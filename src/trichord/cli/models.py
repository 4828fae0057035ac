"""`trichord models`: what `--model` may name."""

import json
from typing import Annotated, Any

import tyro

from trichord.cli.console import out
from trichord.cli.options import checked


def models(arguments: list[str]) -> None:
    """`trichord models`."""

    def run(*, as_json: Annotated[bool, tyro.conf.arg(name="json")] = False) -> None:
        """List the models that --model may name, and whether their weights are on this machine.

        Besides these, --model takes a run, a folder of weights in the format of transformers,
        hub:USER/NAME, and the name of an experiment.

        Args:
            as_json: Print JSON.
        """
        rows = [_row(kind) for kind in _kinds()]
        if as_json:
            print(json.dumps(rows, indent=2, ensure_ascii=False))
            return
        for row in rows:
            origin = f" (of {row['origin']})" if row["origin"] else ""
            out.print(f"{row['name']}{origin}: {row['about']}", markup=False, soft_wrap=True)
            facts = (
                f"{row['parameters_millions']} million parameters",
                f"compares {', '.join(row['compares'])}",
                f"texts: {row['languages']}",
                f"licence: {row['licence']}",
                "on this machine" if row["cached"] else "not on this machine yet",
            )
            out.print(f"    {'; '.join(facts)}", markup=False, soft_wrap=True)

    tyro.cli(checked(run), args=arguments, prog="trichord models")


def _kinds() -> list[str]:
    from trichord.experiments.named_models import MODELS

    return MODELS.kinds()


def _row(kind: str) -> dict[str, Any]:
    """A model as JSON values."""
    from trichord.encoders.hub import folder_of
    from trichord.experiments.named_models import MODELS

    named = MODELS.find(kind)
    return {
        "name": kind,
        "origin": MODELS.origin(kind),
        "about": named.about,
        "parameters_millions": named.millions,
        "compares": sorted(f"{one}-{other}" for one, other in named.model.comparable),
        "languages": named.languages,
        "licence": named.licence,
        "weights": named.weights(),
        "cached": all(folder_of(name) is not None for name in named.weights()),
    }
