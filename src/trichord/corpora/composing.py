"""Composed captions: audio-visual ones, made of a clip's captions of its sound and of its picture.

AVCaps has three of each clip, written by GPT-4. Here any language model writes them, or a template.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trichord.corpora.prepared import Tally, is_missing
from trichord.corpora.tables import read_bytes
from trichord.types import Caption, Clip, Source, UserError

PROMPT = """\
These sentences describe the sound of a short video:
{audio}

These sentences describe its picture:
{visual}

Write one sentence that describes what is seen and heard in the video. Do not add anything that the \
sentences do not say. Answer with this sentence only."""
TEMPLATE = "{visual}; the sound: {audio}"
REFUSED = "answers left out, being empty, endless or of several lines"
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)

Write = Callable[[str, int, int], list[str]]
"""A language model: answers to a prompt, their number and a seed given. An endless answer is empty; there
are none to a prompt that is too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How captions are composed: it is stored in the head of the manifest.

    Attributes:
        model: The language model; empty for the template.
        endpoint: The server that runs it; empty for this process.
        prompt: What the model is asked, or the template. `{audio}` and `{visual}` stand for the captions.
        captions: Number of composed captions of a clip.
        temperature: Of sampling; 0 takes the likeliest answer.
        max_tokens: Length of an answer, above which it is endless.
        seed: Of sampling.
    """

    model: str = ""
    endpoint: str = ""
    prompt: str = TEMPLATE
    captions: int = 3
    temperature: float = 0.0
    max_tokens: int = 0
    seed: int = 0

    @property
    def source(self) -> Source:
        """Who wrote the captions."""
        return "llm" if self.model else "template"

    @property
    def name(self) -> str:
        """The value of `Caption.recipe`: a digest of it all."""
        return _digest(asdict(self))


def compose(
    clips: Iterable[Clip], recipe: Recipe, write: Write | None, journal: Path, tally: Tally
) -> Iterator[Clip]:
    """Clips in order, with composed captions where they have captions of both sound and picture.

    Args:
        clips: The clips. Those that have captions of this recipe stay as they are.
        recipe: What to compose.
        write: The language model; None for the template.
        journal: A file that keeps each answer at once, so that an interrupted call can go on.
        tally: Counts composed, skipped and refused ones.

    Raises:
        UserError: the journal cannot be written.
    """
    answers = _read_journal(journal)
    for clip in clips:
        audio, visual = _texts(clip, "audio"), _texts(clip, "visual")
        if any(caption.recipe == recipe.name for caption in clip.captions):
            tally.add("clips skipped, being composed by this recipe already", clip.id)
        elif not audio or not visual:
            what = "sound" if visual else "picture" if audio else "sound and picture"
            tally.add(f"clips skipped for want of a caption of {what}", clip.id)
        else:
            key = _digest([audio, visual])
            if key not in answers:
                answers[key] = _answers(audio, visual, recipe, write)
                _append(journal, {"key": key, "texts": answers[key]})
            clip = _composed(clip, answers[key], recipe, tally)
        yield clip


def _texts(clip: Clip, about: str) -> list[str]:
    # What is said in a clip does not describe its sound.
    texts = [c.text for c in clip.captions if c.kind == about and c.source != "speech"]
    return list(dict.fromkeys(text for text in texts if not is_missing(text)))


def _answers(
    audio: Sequence[str], visual: Sequence[str], recipe: Recipe, write: Write | None
) -> list[str]:
    if write is None:
        pairs = [
            (audio[i % len(audio)].rstrip(" ."), visual[i % len(visual)].rstrip(" ."))
            for i in range(recipe.captions)
        ]
        return list(dict.fromkeys(_filled(recipe.prompt, *pair) for pair in pairs))
    prompt = _filled(recipe.prompt, "\n".join(audio), "\n".join(visual))
    # Of the prompt, so that an answer does not depend on the clips before it.
    seed = int(_digest([recipe.seed, prompt]), 16) % 2**31
    return write(prompt, recipe.captions, seed)


def _filled(prompt: str, audio: str, visual: str) -> str:
    parts = re.split(r"(\{audio\}|\{visual\})", prompt)
    return "".join({"{audio}": audio, "{visual}": visual}.get(part, part) for part in parts)


def _composed(clip: Clip, answers: Sequence[str], recipe: Recipe, tally: Tally) -> Clip:
    if not answers:
        tally.add("clips skipped, their captions being longer than the model reads", clip.id)
    texts: dict[str, None] = {}
    for answer in answers:
        text = _THOUGHTS.sub("", answer).strip().strip('"“”').strip()
        if not text or is_missing(text) or len(text.splitlines()) > 1:
            tally.add(REFUSED, clip.id)
        elif text in texts:
            tally.add("answers left out, being the same as an earlier one", clip.id)
        else:
            texts[text] = None
    if texts:
        tally.add("clips composed", clip.id)
    own = (
        Caption(text=text, about="audio_visual", source=recipe.source, recipe=recipe.name)
        for text in texts
    )
    return replace(clip, captions=(*clip.captions, *own))


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=6).hexdigest()


def _read_journal(path: Path) -> dict[str, list[str]]:
    answers: dict[str, list[str]] = {}
    for line in read_bytes(path).split(b"\n") if path.exists() else ():
        try:
            record = json.loads(line)
            answers[record["key"]] = record["texts"]
        except (ValueError, KeyError, TypeError):
            continue  # cut off by a kill, or empty
    return answers


def _append(path: Path, record: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            # The line before may have been cut off by a kill.
            file.write(b"\n" + json.dumps(record).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
