"""Reading frozen towers once: media and captions to cached features, resumable at any point."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from trichord.encoders.encoder import Encoder
from trichord.features.source import portions
from trichord.features.store import IMPORTED, FeatureFolder, FeatureRow, FeatureTable
from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder, Request
from trichord.media.signature import file_signature
from trichord.models.embedder import TEXTS_AT_ONCE, Embedder
from trichord.types import Clip

ROWS_AT_ONCE = 32
"""Clips between two commits: what an interruption can cost."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """Some clips or captions that are done, with the status of each."""

    what: str
    statuses: tuple[str, ...]


def extract_texts(
    model: Embedder, texts: Sequence[str], folder: FeatureFolder
) -> Iterator[Extracted]:
    """Read the text towers once for each text that has no features yet."""
    towers = {n: t for n, t in (("text", model.text), ("sound_text", model.sound_text)) if t}
    for name, tower in towers.items():
        table = folder.table(name, tower)
        done = table.origins()
        todo = [text for text in dict.fromkeys(texts) if text not in done]
        for rows in portions(len(todo), 16 * TEXTS_AT_ONCE):
            chosen = [todo[i] for i in rows]
            with torch.inference_mode():
                parts = [
                    tower.read_steps(
                        tower.prepare([chosen[i] for i in some]).to(model.device)
                    ).cpu()
                    for some in portions(len(chosen), TEXTS_AT_ONCE)
                ]
            values = torch.cat(parts)[:, None].numpy()
            table.put([FeatureRow(t, "text", "ok", v) for t, v in zip(chosen, values, strict=True)])
            yield Extracted(name, ("ok",) * len(chosen))
        table.compact()


def extract_media(
    model: Embedder, clips: Sequence[Clip], folder: FeatureFolder, decoder: Decoder
) -> Iterator[Extracted]:
    """Decode each clip once and read the vision and audio towers; skips what is there already.

    A clip that cannot be read gets a row without steps and its status: it is not tried again until
    its file changes.
    """
    towers = {"vision": model.vision, "audio": model.audio}
    tables = {name: folder.table(name, tower) for name, tower in towers.items()}
    origins = _origins(clips)
    done = {name: _up_to_date(table, origins) for name, table in tables.items()}
    todo = [clip for clip in clips if not all(clip.id in ids for ids in done.values())]
    yield Extracted("media", ("done",) * (len(clips) - len(todo)))
    for group in _read(model, todo, decoder):
        for name, tower in towers.items():
            inputs = [
                model.vision_inputs(decoded) if name == "vision" else model.audio_inputs(decoded)
                for _, decoded in group
            ]
            values = read_rows(tower, inputs, model.device)
            rows = [
                FeatureRow(clip.id, origins[clip.id], decoded.status, value.numpy())
                for (clip, decoded), value in zip(group, values, strict=True)
                if clip.id not in done[name]
            ]
            tables[name].put(rows)
        yield Extracted("media", tuple(decoded.status for _, decoded in group))
    for table in tables.values():
        table.compact()


def read_rows(tower: Encoder, rows: list[Tensor], device: torch.device) -> list[Tensor]:
    """Trunk features of several clips' inputs, joined for the tower and split again."""
    with torch.inference_mode():
        features = tower.read_steps(torch.cat(rows).to(device)).cpu()
    return list(features.split([len(row) for row in rows]))


def _origins(clips: Sequence[Clip]) -> dict[str, str]:
    """Which bytes and which span each clip is, by id."""
    signatures = {path: _signature(path) for path in dict.fromkeys(c.path for c in clips)}
    return {c.id: f"{signatures[c.path]}:{c.start}:{c.end}" for c in clips}


def _up_to_date(table: FeatureTable, origins: dict[str, str]) -> set[str]:
    """Clips whose features were read from the bytes they have now, or brought in by the user."""
    known = table.origins()
    return {key for key, now in origins.items() if known.get(key) in (now, IMPORTED)}


def _signature(path: str) -> str:
    try:
        return file_signature(path)
    except OSError:
        return "unreadable"


def _read(
    model: Embedder, clips: Sequence[Clip], decoder: Decoder
) -> Iterator[list[tuple[Clip, Decoded]]]:
    """Decode clips, a file once however many clips it holds, in groups of `ROWS_AT_ONCE`."""
    files = [list(same) for _, same in groupby(clips, key=lambda clip: clip.path)]
    requests = [
        Request(path=same[0].path, spans=tuple((c.start, c.end) for c in same), plan=model.plan)
        for same in files
    ]
    group: list[tuple[Clip, Decoded]] = []
    for same, decoded in zip(files, decoder.decode_all(requests), strict=True):
        group += zip(same, decoded, strict=True)
        if len(group) >= ROWS_AT_ONCE:
            yield group
            group = []
    if group:
        yield group
