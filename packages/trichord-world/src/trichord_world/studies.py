"""CLIP4VLA's studies with the stand-in encoders and the rates of the generated world."""

from dataclasses import replace

from trichord.experiments import studies
from trichord.experiments.studies import Study
from trichord_world.experiments import clip4vla_on_world


def study_on_world(study: Study) -> Study:
    """The same rows, each with its experiments on the generated world."""
    rows = tuple(
        replace(
            row,
            pretraining=row.pretraining and clip4vla_on_world(row.pretraining),
            experiment=row.experiment and clip4vla_on_world(row.experiment),
        )
        for row in study.rows
    )
    title = f"{study.title}, on the generated world"
    return replace(study, name=f"world-{study.name}", title=title, rows=rows)


COMPONENTS = study_on_world(studies.COMPONENTS)
FUSION = study_on_world(studies.FUSION)
MODALITY = study_on_world(studies.MODALITY)
