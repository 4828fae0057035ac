"""A model from Python: it embeds texts, pictures, sounds and clips."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trichord.api import encoding
from trichord.api.encoding import EncodeOptions
from trichord.api.mixtures import embed_mixture
from trichord.media import Decoded, Decoder
from trichord.media.channels import mix
from trichord.media.plan import DecodeRequest
from trichord.media.probe import USABLE, Status
from trichord.media.resample import context_samples, resample
from trichord.search.query_model import QueryModel, full_model, loaded_model
from trichord.types import MODALITIES, Modality, UserError
from trichord.types.arguments import UserTypeError, require_several, texts_of
from trichord.types.arrays import Float
from trichord.types.comparable import Pair
from trichord.types.extras import extras_named, package_hint, require_package
from trichord.types.notebook import facts, one_line
from trichord.types.plugins import provide
from trichord.types.rules import Device, require_legal

if TYPE_CHECKING:  # importing `trichord` must stay quick
    from trichord.config import Experiment
    from trichord.models.embedder import Embedder
    from trichord.search.captioning import CaptionedMoment

Vectors = Float[np.ndarray, "row dim"]
Wave = tuple[Any, int]
"""Samples, float (sample,) or (channel, sample) within -1 and 1, and their rate in Hz."""
Place = str | Path
CLIPS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A file and its vectors.

    `vision` and `audio` are unit vectors, float32 (dim,), or None if the file lacks the modality. If
    `status` is bad, `reason` says why.
    """

    file: str
    status: Status
    reason: str = ""
    vision: Float[np.ndarray, " dim"] | None = None
    audio: Float[np.ndarray, " dim"] | None = None


class Model:
    """Embeds text, vision and audio as unit vectors, float32.

    A vector does not depend on the rest of the call: batches, padding and order change it by less
    than 1e-5. Decoding processes start when the first file is read; `close` or a `with` block stops
    them.

    Attributes:
        name: The run or experiment that it was loaded from.
        queries: Embeds texts: the model, or its text encoders until more is needed.
    """

    def __init__(self, name: str, queries: "Embedder | QueryModel", workers: int = 2) -> None:
        self.name = name
        self.queries = queries
        self._workers = workers
        self._decoder: Decoder | None = None

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return one_line("Model", self.name, self._summary())

    def _repr_html_(self) -> str:
        return facts(f"Model {self.name}", self._summary())

    def _summary(self) -> dict[str, object]:
        """What is known without loading more."""
        pairs = ", ".join(sorted("-".join(pair) for pair in self.comparable))
        loaded = loaded_model(self.queries)
        if loaded is None:
            return {"loaded": "text encoders alone, without torch", "compares": pairs}
        towers = {
            name: f"{type(one).__name__}, {one.dim} dimensions"
            for name, one in loaded.encoders().items()
        }
        return {**towers, "compares": pairs, "device": str(loaded.device)}

    def close(self) -> None:
        """Stop the decoding processes; they start again if the model is used."""
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    @property
    def embedder(self) -> "Embedder":
        """Encoders and fusion, a `torch` module."""
        return full_model(self.queries)

    @property
    def dim(self) -> int:
        """Size of visual vectors, and of text vectors compared with them."""
        return self.embedder.dim

    @property
    def comparable(self) -> frozenset[Pair]:
        """Pairs of modalities that the model compares, such as ("text", "vision").

        Published CLIP and CLAP do not compare ("audio", "vision"): they have two spaces.
        """
        return self.queries.comparable

    def compares(self, one: Modality, other: Modality) -> bool:
        """Whether the vectors of two modalities may be compared."""
        return self.queries.compares(one, other)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What it encodes: `text`, `audio`, `vision`; without those that it has only stored features of."""
        encoders = self.embedder.encoders()
        return tuple(one for one in MODALITIES if encoders[one].stored is None)

    def supports(self, modality: Modality) -> bool:
        """Whether it encodes a modality.

        Raises:
            UserError: There is no such modality.
        """
        encoding.require_modality(modality)
        return modality in self.modalities

    @property
    def fingerprint(self) -> str:
        """Hash of everything that vectors depend on: equal fingerprints mean comparable vectors."""
        return self.queries.fingerprint

    @property
    def decoder(self) -> Decoder:
        """Reads media files in child processes that can be killed."""
        if self._decoder is None:
            self._decoder = Decoder(workers=self._workers)
        return self._decoder

    def encode(
        self,
        inputs: Any,
        *,
        modality: Modality | Sequence[Modality | None] | None = None,
        toward: Literal["vision", "audio"] = "vision",
        batch_size: int = 32,
        normalize_embeddings: bool = True,
        convert_to_tensor: bool = False,
        show_progress_bar: bool = False,
    ) -> Any:
        """Unit vectors of anything, as in sentence-transformers.

        They are those of `embed_text`, `embed_vision` and `embed_audio`: also a row of NaN where a file
        lacks the modality.

        Args:
            inputs: A text, the path of a picture, sound or video, a Pillow image, an array as for
                `embed_vision`, or a pair (samples, rate in Hz); or a list of these, mixed if you like. A
                string is a path if it ends as media files do (`.jpg`, `.wav`, `.mp4`); a `Path` always is.
                With EmbeddingGemma 2 also a dict, or a list of dicts, with some of `text`, `image` and
                `audio`: one input of several modalities, in their order.
            modality: Of all items, or a list with one for each (None: as the item shows). Needed for
                videos with sound; `text` keeps a string from being read as a path.
            toward: As for `embed_text`.
            batch_size: Most items of a modality in memory. Vectors do not depend on it.
            normalize_embeddings: Always True, since the vectors have unit length.
            convert_to_tensor: Return a `torch` tensor on the model's device.
            show_progress_bar: On the standard error.

        Returns:
            float32 (dim,) of one item, (item, dim) of a list.

        Raises:
            UserError: An item cannot be read, is empty or ambiguous; or vectors of a mixed list differ in
                size.
        """
        options = EncodeOptions(
            modality=modality,
            toward=toward,
            batch_size=batch_size,
            normalize_embeddings=normalize_embeddings,
            convert_to_tensor=convert_to_tensor,
            show_progress_bar=show_progress_bar,
        )
        return encoding.encode(self, inputs, options)

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """As `encode`, with the model's prompt for queries before each text, if it has one.

        The model of an opened collection is loaded for it, since its text graphs have one prompt each.
        """
        return encoding.encode(self, inputs, encoding.options_for("query", options))

    def encode_document(self, inputs: Any, **options: Any) -> Any:
        """As `encode_query`, with the model's prompt for documents."""
        return encoding.encode(self, inputs, encoding.options_for("document", options))

    def similarity(self, a: Any, b: Any) -> Any:
        """Cosines of two sets of vectors, (a, b).

        Arrays that `encode` returned know what they were made of. Other arrays and tensors do not: then
        only their sizes are compared.

        Args:
            a: Vectors (dim,) or (item, dim).
            b: The same. If both are tensors, so is the result.

        Raises:
            UserError: The model does not compare these modalities, texts were encoded toward another
                one, or sizes differ.
        """
        return encoding.similarity(self, a, b)

    def embed_text(
        self, texts: Sequence[str], toward: Literal["vision", "audio"] = "vision"
    ) -> Vectors:
        """Unit vectors of texts, (text, dim).

        Args:
            texts: Each of at least one word.
            toward: The modality to compare with; it matters if the model has a second text encoder,
                toward audio.

        Raises:
            UserError: A text is empty, or `texts` is a string.
        """
        return self.queries.embed_text(texts_of(texts, "embed_text"), toward)

    def embed_vision(self, pictures: Sequence[Any]) -> Vectors:
        """Visual unit vectors, (picture, dim); a row of NaN where there is no picture.

        Args:
            pictures: Paths of pictures or videos, RGB arrays uint8 (height, width, 3) or (frame,
                height, width, 3), or Pillow images. Of a video, the mean over its frames.

        Raises:
            UserError: A file is missing or cannot be read.
        """
        return self._embed(pictures, "vision")

    def embed_audio(self, sounds: Sequence[Any]) -> Vectors:
        """Audio unit vectors, (sound, dim); a row of NaN where there is no sound.

        Args:
            sounds: Paths of sounds or videos, or pairs (samples, rate in Hz); samples are (sample,) or
                (channel, sample).

        Raises:
            UserError: A file is missing or cannot be read, or samples are invalid.
        """
        return self._embed(sounds, "audio")

    def embed_mixture(
        self,
        parts: Sequence[tuple[Modality, Any]],
        task: Literal["query", "document"] | None = None,
    ) -> Float[np.ndarray, " dim"]:
        """The unit vector (dim,) of several texts, pictures and sounds that are one input, in their order.

        Args:
            parts: Each a modality, and a text or what `embed_vision` or `embed_audio` takes.
            task: As for the model's prompts.

        Raises:
            UserError: The model reads one modality at a time; a file cannot be read or lacks the modality.
        """
        read: list[tuple[Modality, Any]] = [
            (one, item if one == "text" else self._decode(item, one)) for one, item in parts
        ]
        return embed_mixture(self.embedder, read, task)

    def embed_files(self, files: Iterable[Place]) -> Iterator[Embedded]:
        """Visual and audio vectors of media files, one after another, decoded ahead: for long work.

        A file that cannot be read has a status that says so, and does not stop the rest. For moments
        within files, and for work that can be interrupted, use a `Collection`.
        """
        require_several(files, "embed_files")
        names: deque[str] = deque()
        plan = self.embedder.plan

        def requests() -> Iterator[DecodeRequest]:
            for file in files:
                names.append(str(file))
                yield DecodeRequest(path=names[-1], spans=((0.0, None),), plan=plan)

        read = (decoded for [decoded] in self.decoder.decode_all(requests()))
        while decoded := list(islice(read, CLIPS_AT_ONCE)):
            vectors = self.embedder.embed_media(decoded)
            for i, one in enumerate(decoded):
                yield Embedded(
                    file=names.popleft(),
                    status=one.status,
                    reason=one.reason,
                    vision=vectors.vision[i] if vectors.has_vision[i] else None,
                    audio=vectors.audio[i, 0] if vectors.has_audio[i] else None,
                )

    def caption(
        self,
        files: Iterable[Place],
        *,
        seconds: float | None = 10.0,
        hop: float | None = None,
        beams: int = 5,
        length_penalty: float = 0.0,
        check: bool = False,
    ) -> "Iterator[CaptionedMoment]":
        """Captions of the moments of media files, one after another, decoded ahead: for long work.

        Files that cannot be read have a status that says so; moments without picture and sound have a
        reason. Neither stops the rest.

        Args:
            files: Media files and folders.
            seconds: Length of a moment; None: each file is one.
            hop: Seconds between the starts of moments; None: as long as they are.
            beams: Beam size, and number of candidates.
            length_penalty: Above 0 favours longer captions.
            check: Keep the candidate whose vector is most similar to the moment's.

        Raises:
            UserError: The run has no captioner; or a path is missing or has no media.
        """
        from trichord.api.captioning import cut_of, decoding_of, weights_of
        from trichord.search.captioning import CaptionWriter, cut_for_captions
        from trichord.search.survey import media_at

        require_several(files, "caption")
        decoding, cut = decoding_of(beams, length_penalty, None), cut_of(seconds, hop)
        weights = weights_of(self.name) if check else None
        writer = CaptionWriter(self.embedder, self.decoder, decoding, weights)
        names = [str(file) for file in media_at([Path(file) for file in files])]
        return writer.write(cut_for_captions(self.decoder, names, cut))

    def _embed(self, inputs: Sequence[Any], modality: Modality) -> Vectors:
        require_several(inputs, f"embed_{modality}")
        if isinstance(inputs, np.ndarray) or hasattr(inputs, "convert"):  # one picture or sound
            raise UserTypeError(f"embed_{modality} takes a list: write [...] around it.")
        tower = self.embedder.vision if modality == "vision" else self.embedder.audio
        rows = np.full((len(inputs), tower.dim), np.nan, np.float32)
        for start in range(0, len(inputs), CLIPS_AT_ONCE):
            part = slice(start, start + CLIPS_AT_ONCE)
            decoded = [self._decode(one, modality) for one in inputs[part]]
            media = self.embedder.embed_media(decoded)
            vectors = media.vision if modality == "vision" else media.audio[:, 0]
            has = media.has_vision if modality == "vision" else media.has_audio
            rows[part][has] = vectors[has]
        return rows

    def _decode(self, source: Any, modality: Modality) -> Decoded:
        """A decoded file, or the caller's own decoded data."""
        if isinstance(source, (str, Path)):
            plan = self.embedder.plan_of((modality,))
            [decoded] = self.decoder.decode(source, ((0.0, None),), plan)
            if decoded.status not in USABLE:
                raise UserError(f"{source} cannot be read ({decoded.label}): give another file.")
            return decoded
        if modality == "vision":
            return Decoded(status="ok", frames=_frames(source))
        return Decoded(status="ok", audio=self._sound(source))

    def _sound(self, source: Any) -> dict[int, Any]:
        """Samples at the encoder's rate; none if all are zero."""
        samples, rate = _samples(source)
        target = self.embedder.audio.rate
        count = round(samples.shape[1] * target / rate)
        context = context_samples(rate, target)
        padded = np.pad(samples, ((0, 0), (context, context)))
        resampled = resample(padded, rate, target, context, count)
        if not resampled.any():
            return {}
        stereo = self.embedder.plan_of(("audio",)).stereo
        return {target: mix(resampled, 2) if stereo else mix(resampled, 1)[0]}


CLIP_CLAP = "clip-clap"
"""Published CLIP and CLAP: an experiment to search with, without training."""


def load(
    run: Place = CLIP_CLAP, *, device: str = "auto", workers: int = 2, parts: Sequence[Any] = ()
) -> Model:
    """The model of a finished run, or of an experiment before any training.

    Args:
        run: Its folder; a model's name, such as `clip-clap`; a folder of weights; `hub:USER/NAME`; or an
            experiment for its pretrained encoders.
        device: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: `cuda` if there is a GPU, else `cpu`.
        workers: Number of decoding processes.
        parts: Config classes and other parts of your own that the run needs, if no installed package
            has them. They stay registered in this process.

    Raises:
        UserError: No such run, experiment or device; or weights are damaged or missing.
    """
    provide(parts)
    torch_device = device_of(device)  # before anything heavy is loaded
    return Model(str(run), embedder_of(str(run)).to(torch_device), workers)


def embedder_of(name: "str | Experiment", start: Path | None = None) -> "Embedder":
    """The model of a run directory, or of an experiment, untrained or with the weights of a run.

    Args:
        name: A name, as `load` takes it, or the experiment itself.
        start: A run whose weights the experiment starts from.

    Raises:
        UserError: It is neither; or `start` is given with a run or does not fit the experiment.
        NotInstalledError: The extra `towers` is not installed.
    """
    with extras_named():
        return _loaded(name, start)


def _loaded(name: "str | Experiment", start: Path | None) -> "Embedder":
    from trichord.checkpoint import Run, fresh_model
    from trichord.experiments import load_experiment

    if isinstance(name, str):
        require_model(name)
    fetch_towers(name)
    if isinstance(name, str) and is_run(Path(name)):
        if start:
            raise UserError(f"--start {start}: '{name}' is a run and has weights; leave it out.")
        return Run(Path(name)).load()
    experiment = load_experiment(name) if isinstance(name, str) else name
    return fresh_model(replace(experiment, start=start) if start else experiment)


def require_model(name: str) -> None:
    """Require a run directory or the name of an experiment; without torch.

    Raises:
        UserError: It is neither; suggests a name.
    """
    # A search does without.
    from trichord.encoders.foreign import describe
    from trichord.experiments import is_experiment, known_names

    if is_run(Path(name)) or is_experiment(name):
        return
    close = get_close_matches(name, known_names(), n=1)
    hint = f"did you mean '{close[0]}'?" if close else "'trichord models' lists models."
    seeds: list[Path] = []
    with suppress(OSError, ValueError):  # a name that is too long, or no path
        seeds = sorted(Path(name).glob("seed-*/experiment.json"))
    if seeds:
        raise UserError(f"'{name}' holds {len(seeds)} runs: name one, such as {seeds[0].parent}.")
    hint = package_hint(name) or hint
    if what := describe(Path(name)):
        raise UserError(f"'{name}' is {what}.")
    raise UserError(
        f"'{name}' is neither a run directory, a model, a folder of weights nor an experiment: {hint}"
    )


def is_run(place: Path) -> bool:
    """Whether a path is a run directory."""
    try:
        return (place / "experiment.json").is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def fetch_towers(name: "str | Experiment") -> None:
    """Download the pretrained models of an experiment; commands do this before torch is loaded.

    Raises:
        UserError: A model is neither on this machine nor available from the hub.
        NotInstalledError: torch is missing.
    """
    require_package("torch")
    from trichord.encoders.hub import fetch_weights
    from trichord.experiments import load_experiment

    if isinstance(name, str) and is_run(Path(name)):
        return
    experiment = load_experiment(name) if isinstance(name, str) else name
    for config in experiment.model.towers().values():
        fetch_weights(config)


def persistent(name: str) -> str:
    """The name of a model as a collection stores it: a run's absolute path, or an experiment's name.

    Raises:
        UserError: An experiment of a Python file; opening the collection would run that file.
    """
    from trichord.experiments import is_in_python

    if is_in_python(name) and not is_run(Path(name)):
        raise UserError(
            f"{name}: an archive keeps no Python file: make a run of it by 'trichord train', and index "
            "with that."
        )
    return str(Path(name).absolute()) if Path(name).exists() else name


def device_of(name: str) -> str:
    """A torch device by name; 'auto' takes a GPU if there is one.

    Raises:
        UserError: No such device, or torch cannot use it here.
    """
    require_legal(name, Device, "--device")
    device = name.lower()
    if device == "cpu":
        return device
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    kind, _, number = device.partition(":")
    if kind == "auto":
        return "cuda" if gpus else "cpu"
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"--device {name}: this torch can use no Apple GPU; choose cpu.")
    if kind == "cuda" and not gpus:
        raise UserError(f"--device {name}: there is no GPU that torch can use; choose cpu.")
    if kind == "cuda" and int(number or 0) >= gpus:
        raise UserError(f"--device {name}: the last of {gpus} GPUs is cuda:{gpus - 1}.")
    return device


def _frames(source: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Frames of an array or a Pillow image, (frame, height, width, 3)."""
    frames = np.asarray(source.convert("RGB") if hasattr(source, "convert") else source)
    frames = frames[None] if frames.ndim == 3 else frames
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size:
        raise UserError(
            f"A picture of shape {frames.shape} and type {frames.dtype}: give uint8 (height, width, "
            "3) or (frame, height, width, 3), RGB."
        )
    return frames


def _samples(source: Any) -> tuple[Float[np.ndarray, "channel sample"], int]:
    try:
        wave, rate = source
        samples = np.atleast_2d(np.asarray(wave, np.float32))
    except (TypeError, ValueError) as error:
        raise UserError("A sound is a path or a pair (samples, rate in Hz).") from error
    if samples.ndim != 2 or not 1_000 <= rate <= 768_000 or not np.isfinite(samples).all():
        raise UserError(
            f"A sound of shape {samples.shape} at {rate} Hz: give finite samples (sample,) or "
            "(channel, sample) at 1,000 to 768,000 Hz."
        )
    if len(samples) > max(samples.shape[1], 1):
        raise UserError(
            f"A sound of shape {samples.shape} has more channels than samples: give (channel, sample), "
            "here samples.T."
        )
    return samples, int(rate)
