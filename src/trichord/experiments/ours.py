"""Our own system: SLAVA's frozen encoders, read more fully and trained with all captions at once."""

from trichord.config import AdamW, Clap, ClipClapText, ClipVision, Draw, Experiment, Stage, TriModal
from trichord.experiments.slava import ALL, ALL_TASKS

DROPOUT = 0.4
"""Of the heads: on a few hundred clips they would learn them by heart."""

TRICHORD = Experiment(
    system="trichord",
    model=TriModal(
        text=ClipClapText(head_dropout=DROPOUT),
        # A new head loses what CLIP's own knows of pictures: 0.02 to 0.04 of R@10 where captions of what is
        # seen search them (studies/ours.py).
        vision=ClipVision(),
        audio=Clap(layers="all", head_hidden=512, head_dropout=DROPOUT),
    ),
    stages=(
        Stage(
            name="all",
            trains=ALL,
            draws=(
                Draw(
                    captions=("audio", "visual", "audio_visual", "composed"),
                    terms=("av", "at", "vt"),
                    # Each clip has four rows with a caption, and one of sound and picture.
                    weights=(1.0, 4.0, 4.0),
                ),
            ),
            captions_per_clip=4,
            criterion=ALL_TASKS,
            batch_size=200,
            epochs=40,
            patience=40,
            optimizer=AdamW(lr=1e-3, weight_decay=0.05, warmup_steps=20, schedule="cosine"),
        ),
    ),
)

SYSTEMS: dict[str, tuple[str, Experiment]] = {
    "trichord": (
        "Ours: both text towers, all layers of CLAP, heads with a hidden layer, four captions a clip.",
        TRICHORD,
    ),
}
