"""Published models as finished runs: CLIPs, and CLIP4VLA's checkpoints."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from trichord.checkpoint import Progress, Run, fresh_model
from trichord.config import (
    CLIP,
    CaptionGenerator,
    ClipAudio,
    ClipText,
    ClipVision,
    Cross,
    Experiment,
    GlobalToGlobal,
    InfoNCE,
    LogMel,
    TriModal,
)
from trichord.encoders.clip_settings import Activation, settings_beside
from trichord.encoders.published import read_published
from trichord.encoders.published_clip import (
    ClipTowers,
    audio_state,
    load_towers,
    require_clip,
    towers_of_state,
)
from trichord.media import file_signature
from trichord.models.fusion import FRAME_SLOTS
from trichord.training.clip4vla_checkpoint import SOUND, Checkpoint, CheckpointOptions
from trichord.types import UserError

TOWERS = "./clip"
"""Path of the CLIP in a run, relative to the run, so that it can be moved."""
PICTURE = 224
"""Time steps and bands of CLIP4VLA's spectrogram segments."""
NOTES = "import"
"""Key in a run's environment for assumptions and omissions."""


def import_clip(
    source: str, path: Path, *, tokenizer: str = CLIP, activation: Activation | None = None
) -> Run:
    """Make a run of a CLIP: its text and vision towers, and an untrained audio tower.

    The audio tower is CLIP4VLA's before training: the vision tower with new audio type tokens.

    Args:
        source: A state_dict in the layout of OpenAI's CLIP, as safetensors or a pickle without code; a
            folder of the `transformers` format, which is copied; or a hub name, which the run
            refers to.
        path: The run directory to write.
        tokenizer: For a state_dict, as for `read_tokenizer`.
        activation: For a state_dict; required if there is no config beside it.

    Returns:
        The complete run. Its environment has the assumptions.

    Raises:
        UserError: The source is none of these, or incomplete; the activation is unknown; `path` is not
            empty.
    """
    _require_free(path)
    file = Path(source)
    towers = _towers(source, tokenizer, activation)
    name = TOWERS if file.exists() else source
    patch: int = towers.vision.patch_size
    side = PICTURE if PICTURE % patch == 0 else towers.vision.image_size // patch * patch
    audio = ClipAudio(name=name, frames=side, log_mel=LogMel(mels=side))
    model = TriModal(text=ClipText(name=name), vision=ClipVision(name=name), audio=audio)
    experiment = Experiment(system="clip", model=model)
    with _appearing(path) as run:
        mark = file_signature(file) if file.is_file() else source
        run.start(experiment, mark, notes={NOTES: towers.notes})
        if file.exists():
            towers.write(run.path / TOWERS)
        run.finish(fresh_model(run.experiment()), experiment.objective.build(), Progress())
    return Run(path)


def import_clip4vla(
    file: Path, path: Path, *, tokenizer: str = CLIP, options: CheckpointOptions
) -> Run:
    """Make a run of a checkpoint of CLIP4VLA, equal to the authors' model in single precision.

    Its captioner becomes that of the run; its classifier is saved in the run for `trichord probe`.

    Args:
        file: Its state_dict: `pytorch_model.bin`, or the same as safetensors.
        path: The run directory to write.
        tokenizer: As for `read_tokenizer`.
        options: Options that are not in the checkpoint.

    Returns:
        The complete run. Its environment has the assumptions and omissions.

    Raises:
        UserError: A key is unknown or missing, or an option does not fit; `path` is not empty.
    """
    _require_free(path)
    checkpoint = Checkpoint.read(file, tokenizer, options)
    sound = audio_state(checkpoint.part(SOUND), checkpoint.towers)
    fusion, fusion_state = checkpoint.fusion()
    captioner, captioner_state = checkpoint.captioner() or (None, {})
    head = checkpoint.head()
    experiment = _experiment(checkpoint, fusion, captioner)
    with _appearing(path) as run:
        run.start(experiment, file_signature(file), notes={NOTES: checkpoint.notes})
        checkpoint.towers.write(run.path / TOWERS)
        if head is not None:
            head.write(run.path)
        model = fresh_model(run.experiment())
        model.audio.own_trunk()
        model.audio.load_state_dict(sound)
        if model.fusion is not None:
            model.fusion.load_state_dict(fusion_state)
        if model.captioner is not None:
            # Its transformer's similarity head is not in the checkpoint, and is not used.
            model.captioner.load_state_dict(model.captioner.state_dict() | captioner_state)
        run.finish(model, experiment.objective.build(), Progress())
    return Run(path)


def _towers(source: str, tokenizer: str, activation: Activation | None) -> ClipTowers:
    file = Path(source)
    if file.is_file():
        clip = read_published(file)
        require_clip(clip)
        return towers_of_state(clip, tokenizer, settings_beside(file, activation))
    if activation is not None:
        raise UserError(
            f"--activation is for a state_dict; the config of {source} says it: leave it out."
        )
    return load_towers(source)


def _experiment(
    checkpoint: Checkpoint,
    fusion: GlobalToGlobal | Cross,
    captioner: CaptionGenerator | None,
) -> Experiment:
    """The authors' settings for fine-tuning and test; without stages, because it is already trained."""
    side: int = checkpoint.towers.vision.image_size
    reads_words = isinstance(fusion, Cross) and fusion.level == "local_to_local"
    model = TriModal(
        text=ClipText(
            name=TOWERS,
            tokens=reads_words or captioner is not None,
            longest=checkpoint.options.words,
        ),
        vision=ClipVision(
            name=TOWERS, frames_per_second=1.0, max_frames=FRAME_SLOTS, pooling="mean_of_unit"
        ),
        audio=ClipAudio(
            name=TOWERS,
            token=checkpoint.token(),
            log_mel=LogMel(mels=side),
            frames=side,
            longest=checkpoint.options.segments,
        ),
        fusion=fusion,
        captioner=captioner,
    )
    objective = InfoNCE(temperature=0.01, learned=False, shared=True, directions="b_to_a")
    return Experiment(system="clip4vla", model=model, objective=objective)


def _require_free(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} is not empty: choose another directory for the run.")


@contextmanager
def _appearing(path: Path) -> Generator[Run]:
    """Yield a run in a hidden folder, which is moved to `path` when the block ends without an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".", suffix=".part") as place:
            run = Run(Path(place) / path.name)
            yield run
            run.path.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
