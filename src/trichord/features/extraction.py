"""Extraction: media and captions to cached features of frozen towers, resumable at any point."""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice

import torch
from torch import Tensor

from trichord.encoders.encoder import Encoder, TextEncoder
from trichord.features.source import audio_type_of, portions
from trichord.features.store import IMPORTED, FeatureFolder, FeatureRow, FeatureTable
from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder, DecodeRequest
from trichord.media.pipeline import Pipeline, parallel_map
from trichord.media.plan import DecodePlan
from trichord.media.signature import file_signature
from trichord.models.embedder import TEXTS_AT_ONCE, Embedder
from trichord.types import MODALITIES, Clip, Modality
from trichord.types.cores import compute_threads
from trichord.types.tensors import Padded
from trichord.types.threads import torch_threads

ROWS_AT_ONCE = 32
"""Clips per commit: what an interruption can cost, and how far each stage is ahead."""
WIDTH_STEP = 8
"""Texts are batched by number of tokens, rounded up to a multiple of this: few widths for all lengths."""
TEXT_PARTS = 16
"""Batches of texts per commit."""
MOST_READERS = 8
"""Threads that encode texts at once: each holds the activations of a batch, some hundred megabytes."""
MISSING = "missing"
"""Stands for the signature of a missing file."""
SPANS_AT_ONCE = 64
"""Clips of a file per decoding pass, so that memory does not grow with their number."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """Clips or captions that are done: the status of each, and its id or text."""

    what: str
    statuses: tuple[str, ...]
    keys: tuple[str, ...]


_Prepared = tuple[Clip, str, Mapping[str, Tensor]]
"""A clip, its status, and its inputs by tower."""


def extract_texts(
    model: Embedder, texts: Sequence[str], folder: FeatureFolder
) -> Iterator[Extracted]:
    """Run the text towers on each text that has no features yet.

    Tokenisation, towers and storage run at the same time.
    """
    towers = {n: t for n, t in (("text", model.text), ("sound_text", model.sound_text)) if t}
    towers = {n: t for n, t in towers.items() if t.stored is None}
    for name, tower in towers.items():
        table = folder.table(name, tower)
        done = table.origins(texts)
        todo = [text for text in dict.fromkeys(texts) if text not in done]
        with _readers(model.device) as (readers, threads), Pipeline() as pipeline:
            prepared = pipeline.ahead(_of_one_width(tower, todo), 2)
            read_some = partial(_read_texts, tower, model.device, threads)
            reading = parallel_map(read_some, prepared, readers, readers + 1)
            read = pipeline.ahead(reading, TEXT_PARTS)
            while parts := list(islice(read, TEXT_PARTS)):
                table.put([row for part in parts for row in part])
                keys = tuple(row.key for part in parts for row in part)
                yield Extracted(name, ("ok",) * len(keys), keys)
        table.compact()


def extract_media(
    model: Embedder,
    clips: Sequence[Clip],
    folder: FeatureFolder,
    decoder: Decoder,
    modalities: Sequence[Modality] = MODALITIES,
) -> Iterator[Extracted]:
    """Decode each clip once and run the vision and audio towers of `modalities`; skips stored clips.

    Decoding, preparation, towers and storage run at the same time. Several processes may do this at
    once, also for the same clips: rows are replaced, never doubled. A clip that cannot be decoded gets
    a row without steps, with its status; it is not tried again until its file changes. Features of a
    file that is gone are kept.
    """
    towers = _media_towers(model, modalities)
    if not towers:
        return
    tables = {name: folder.table(name, tower) for name, tower in towers.items()}
    origins = _origins_of(towers, clips)
    done = {name: _up_to_date(table, origins[name]) for name, table in tables.items()}
    todo = [clip for clip in clips if not all(clip.id in ids for ids in done.values())]
    stored = {clip.id for clip in clips} - {clip.id for clip in todo}
    yield Extracted("media", ("done",) * len(stored), tuple(sorted(stored)))
    with Pipeline() as pipeline:
        decoded = pipeline.ahead(_decode(model.plan_of(modalities), todo, decoder), ROWS_AT_ONCE)
        inputs = pipeline.ahead(_prepare(model, towers, decoded), ROWS_AT_ONCE)
        for some, features in pipeline.ahead(_read(model, towers, inputs), 1):
            for name, values in features.items():
                tables[name].put(
                    [
                        FeatureRow(clip.id, origins[name][clip.id], status, value.numpy())
                        for (clip, status, _), value in zip(some, values, strict=True)
                        if clip.id not in done[name]
                    ]
                )
            statuses = tuple(status for _, status, _ in some)
            yield Extracted("media", statuses, tuple(clip.id for clip, _, _ in some))
    for table in tables.values():
        table.compact()


def to_decode(
    model: Embedder,
    clips: Sequence[Clip],
    folder: FeatureFolder,
    modalities: Sequence[Modality] = MODALITIES,
) -> list[Clip]:
    """Clips whose files `extract_media` would read."""
    towers = _media_towers(model, modalities)
    origins = _origins_of(towers, clips)
    done = [_up_to_date(folder.table(n, tower), origins[n]) for n, tower in towers.items()]
    return [clip for clip in clips if not all(clip.id in ids for ids in done)]


def _media_towers(model: Embedder, modalities: Sequence[Modality]) -> dict[str, Encoder]:
    towers: dict[str, Encoder] = {"vision": model.vision, "audio": model.audio}
    return {n: tower for n, tower in towers.items() if n in modalities and tower.stored is None}


@contextmanager
def _readers(device: torch.device) -> Generator[tuple[int, int | None]]:
    """Number of threads that encode texts, and torch threads of each (None: unchanged).

    On the CPU each thread works alone on its texts. Threads that share an operation wait for the
    slowest at every operation: beside another program two took longer than one.
    """
    if device.type != "cpu":
        yield 1, None
        return
    readers = min(compute_threads(), MOST_READERS)
    with torch_threads():
        yield readers, compute_threads() // readers


def _of_one_width(tower: TextEncoder, texts: list[str]) -> Iterator[tuple[list[str], Tensor]]:
    """Batches of texts with their token ids, each batch of one padded width.

    Towers compute padding too: in mixed batches it would be half of the work. Also, the batch then
    hardly ever changes the last bits of a text's features; in very small batches it still may.
    """
    waiting: dict[int, list[tuple[str, Tensor]]] = {}
    for rows in portions(len(texts), TEXTS_AT_ONCE):
        some = [texts[i] for i in rows]
        ids = tower.prepare(some)
        for text, row, count in zip(some, ids, tower.lengths(ids).tolist(), strict=True):
            width = min(ids.shape[1], -(-count // WIDTH_STEP) * WIDTH_STEP)
            alike = waiting.setdefault(width, [])
            alike.append((text, row[:width]))
            if len(alike) == TEXTS_AT_ONCE:
                yield _together(waiting.pop(width))
    yield from map(_together, waiting.values())


def _together(texts: list[tuple[str, Tensor]]) -> tuple[list[str], Tensor]:
    return [text for text, _ in texts], torch.stack([ids for _, ids in texts])


def _read_texts(
    tower: TextEncoder,
    device: torch.device,
    threads: int | None,
    prepared: tuple[list[str], Tensor],
) -> list[FeatureRow]:
    """Trunk features of some texts, a row of steps each; runs in a thread of its own."""
    texts, ids = prepared
    real = torch.ones(len(texts), 1, dtype=torch.bool, device=device)
    alone = nullcontext() if threads is None else torch_threads(threads)
    with alone, torch.inference_mode():
        read = tower.trunk_features(Padded(ids[:, None].to(device), real))
    values, mask = read.values.cpu(), read.mask.cpu()
    steps = (row[stored].numpy() for row, stored in zip(values, mask, strict=True))
    return [FeatureRow(t, "text", "ok", v) for t, v in zip(texts, steps, strict=True)]


def trunk_features_of_rows(
    tower: Encoder, rows: list[Tensor], device: torch.device, audio_type: list[float] | None = None
) -> list[Tensor]:
    """Trunk features of the inputs of several clips, as one batch.

    `audio_type` is a number for each clip, from verbal (0) to nonverbal (1).
    """
    counts = [len(row) for row in rows]
    each = None
    if audio_type is not None:
        each = torch.tensor(audio_type).repeat_interleave(torch.tensor(counts)).to(device)
    with torch.inference_mode():
        features = tower.run_trunk(torch.cat(rows).to(device), each).cpu()
    return list(features.split(counts))


def _origins_of(towers: Mapping[str, Encoder], clips: Sequence[Clip]) -> dict[str, dict[str, str]]:
    """File signature and span of each clip, by tower and id, and its audio type if the tower takes one."""
    signatures = {path: _signature(path) for path in dict.fromkeys(clip.path for clip in clips)}
    spans = {c.id: f"{signatures[c.path]}:{c.start}:{c.end}" for c in clips}
    with_types = {c.id: f"{spans[c.id]}:{c.audio_type}" for c in clips}
    return {n: with_types if tower.takes_audio_type else spans for n, tower in towers.items()}


def _up_to_date(table: FeatureTable, origins: dict[str, str]) -> set[str]:
    """Clips with features of their current file, or with imported features.

    Features of a missing file count too: extracting them again would empty them.
    """
    found: set[str] = set()
    for key, known in table.origins(origins).items():
        file, _, span = origins[key].partition(":")
        same_span = known.partition(":")[2] == span
        if known in (origins[key], IMPORTED) or (file == MISSING and same_span):
            found.add(key)
    return found


def _signature(path: str) -> str:
    try:
        return file_signature(path)
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except OSError:
        return "unreadable"


def _decode(
    plan: DecodePlan, clips: Sequence[Clip], decoder: Decoder
) -> Iterator[tuple[Clip, Decoded]]:
    """Decode clips, spans of one file in one pass."""
    together = [
        same[i : i + SPANS_AT_ONCE]
        for same in (list(of_file) for _, of_file in groupby(clips, key=lambda clip: clip.path))
        for i in range(0, len(same), SPANS_AT_ONCE)
    ]
    requests = [
        DecodeRequest(path=same[0].path, spans=tuple((c.start, c.end) for c in same), plan=plan)
        for same in together
    ]
    for same, decoded in zip(together, decoder.decode_all(requests), strict=True):
        yield from zip(same, decoded, strict=True)


def _prepare(
    model: Embedder, towers: Collection[str], decoded: Iterable[tuple[Clip, Decoded]]
) -> Iterator[_Prepared]:
    for clip, one in decoded:
        inputs = {
            name: model.vision_inputs(one) if name == "vision" else model.audio_inputs(one)
            for name in towers
        }
        yield clip, one.status, inputs


def _read(
    model: Embedder, towers: Mapping[str, Encoder], prepared: Iterator[_Prepared]
) -> Iterator[tuple[list[_Prepared], dict[str, list[Tensor]]]]:
    """Clips that are stored together, and their features by tower."""
    while some := list(islice(prepared, ROWS_AT_ONCE)):
        audio_type = [audio_type_of(clip) for clip, _, _ in some]
        yield (
            some,
            {
                name: trunk_features_of_rows(
                    tower, [inputs[name] for _, _, inputs in some], model.device, audio_type
                )
                for name, tower in towers.items()
            },
        )
