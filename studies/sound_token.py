"""Text to audio against the audio type token, by what the queries ask for: Figure 4 of CLIP4VLA.

Zero-shot after pretraining, on queries for speech, for events and for both: with a tower pretrained longer
than for the other tables, with one pretrained alike but without any token, and with that of Table 5.

    python studies/sound_token.py [FOLDER] [--quick]
"""

from dataclasses import replace
from pathlib import Path

from clip4vla_world import PRETRAINING, RENDERED, WORLDS, Place, place_of, recalls
from command import trichord
from record import record

from trichord.cli.studies import StudyOptions, run_study, train_on
from trichord.config import ClipAudio, Experiment
from trichord.experiments import Study, load_experiment
from trichord.experiments.studies import AUDIO_TASKS, AUDIO_TYPE, Row
from trichord_world.queries import AUDIO_QUERIES

LONG = load_experiment("world-clip4vla-pretrain")
EPOCHS = 24
NO_TOKEN = Study(
    name="no-token",
    title="Without an audio type token",
    rows=(Row(name="none", tasks=AUDIO_TASKS),),
)


def without_token(experiment: Experiment) -> Experiment:
    """The same, its audio tower deaf to the kind of corpus."""
    audio = experiment.model.audio
    assert isinstance(audio, ClipAudio)
    return replace(experiment, model=replace(experiment.model, audio=replace(audio, token="none")))


def trained(experiment: Experiment, place: Place, name: str) -> Path:
    """Runs of the long pretraining, a seed each."""
    manifest, runs = place.pretraining(RENDERED), place.folder / "sound-token" / name
    for seed in place.seeds:
        train_on(manifest, runs / f"seed-{seed}", experiment, seed, place.options(EPOCHS))
    return runs


def curves(study: Study, runs: Path, place: Place, made_by: str) -> dict[str, object]:
    """R@k of each kind of query at each token."""
    found: dict[str, object] = {"made by": made_by}
    options = StudyOptions(start=runs, seeds=place.seeds, captions=("audio",))
    for kind in AUDIO_QUERIES:
        manifest = place.folder / f"{kind}.jsonl"
        trichord(f"prepare world-{kind} {place.folder / 'captioned'} {manifest}")
        table = run_study(study.on(("audio",)), manifest, place.folder / "sound-token", options)
        found[kind] = {
            "protocol": table.protocol,
            "recall by token, task, k and seed": recalls(table),
        }
    return found


def main(place: Place) -> None:
    """Pretrain, measure, and write the result."""
    place.captioned()
    long, deaf = trained(LONG, place, "long"), trained(without_token(LONG), place, "no-token")
    made_by = f"world-clip4vla-pretrain on 900 and 900 clips, {EPOCHS} epochs at most; "
    runs = {
        "1,800 clips, three seeds": curves(
            AUDIO_TYPE, long, place, made_by + "trichord study audio-type"
        ),
        "1,800 clips, three seeds, no token": curves(
            NO_TOKEN, deaf, place, made_by + "--model.audio.token none"
        ),
        "1,200 clips, 16 epochs, seeds 0-2": curves(
            AUDIO_TYPE,
            place.pretrained(),
            place,
            f"the pretraining of the last row of components.json on {PRETRAINING} and {PRETRAINING} clips",
        ),
    }
    record("sound-token", {"worlds": WORLDS.format(count="N"), "seeds": place.seeds, "runs": runs})


if __name__ == "__main__":
    main(place_of(__doc__))
