"""The recipe of the stand-in towers: a small CLIP and a small CLAP, pretrained on a world of their own.

They learn from the world's `pretrain` stream, which shares no clip with the splits of any world that
is rendered, and from another mix of captions. CLIP sees pictures with visual captions only, CLAP
hears sounds with audio captions only. As the published CLIP has read of sounds in its 400 million
captions without ever hearing one, so the small one also reads audio captions, with no picture
beside them: it learns which two were written of the same clip (text against text), no more.

    python -m trichord_world.stand_ins FOLDER [NAME...]
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import Tensor
from transformers import ClapFeatureExtractor

from trichord.encoders.pretrained import load
from trichord.losses.info_nce import info_nce
from trichord.types import CaptionKind
from trichord.types.threads import set_torch_threads
from trichord_world.difficulty import DEFAULT, Difficulty
from trichord_world.drawing import picture
from trichord_world.grammar import Grammar
from trichord_world.law import LAW, Law, Scene, Thing, scenes, stream
from trichord_world.small import SmallClap, SmallClip, build_clap, build_clip
from trichord_world.sound import sound
from trichord_world.weights import CLAP_STAND_IN, CLIP_STAND_IN

FRAMES_KEPT = 6


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the stand-ins are made."""

    clips: int = 4000
    omission: float = 0.4
    """Less than the world's own: pretraining captions are another mix."""
    read: int = 2000
    """Clips whose captions the tokenizers are made of."""
    clip_steps: int = 1000
    clap_steps: int = 1000
    batch_size: int = 128
    lr: float = 1.5e-3
    seed: int = 2025
    law: Law = LAW
    noun_omission: float | None = None
    usual: float | None = None
    """These two as in `Grammar`."""
    difficulty: Difficulty = DEFAULT
    named: bool = False
    """Whether CLIP also learns to classify what it sees."""

    def scenes(self, count: int) -> list[Scene]:
        """The first clips of the stream to pretrain on."""
        return scenes("pretrain", count, self.seed, self.law)


TAGS = tuple(
    Recipe(
        clips=3000,
        seed=seed,
        clip_steps=700,
        clap_steps=500,
        omission=0.75,
        noun_omission=0.0,
        usual=0.9,
        law=Law(speechless=0.9),
        difficulty=Difficulty(picture_noise=2.0, thing_scale=1.2, sound_noise=0.002),
        named=True,
    )
    for seed in (2101, 2102, 2103)
)
"""Of the three pairs that are aligned to clips unlike those they know, as CLIP and CLAP are to AVCaps.

Their pictures are posed (the thing is large, little noise) and their sounds clean. Captions are tags
rather than descriptions: the noun always, other facts seldom, in the most common wording nine times of
ten. One sound in ten has speech. So the words and the facts of the world's captions are not unknown to
them, but rare, and there is something to learn from clips. What is seen is named to CLIP besides: at
this size it would need many more pictures than these to tell things apart, which the published one does
well.
"""


@dataclass(frozen=True, slots=True)
class Pretraining:
    """Inputs (clip, ...) with the captions of each, and what each is of, if that is taught."""

    inputs: Tensor
    captions: list[list[str]]
    classes: Tensor | None = None


def captions_of(drawn: Sequence[Scene], recipe: Recipe, kind: CaptionKind) -> list[list[str]]:
    """The captions of one kind of each scene."""
    grammar = Grammar(
        omission=recipe.omission, noun_omission=recipe.noun_omission, usual=recipe.usual
    )
    return [
        [
            s.text
            for s in grammar.captions(scene, stream(recipe.seed, "pretrain", i, "captions"))[kind]
        ]
        for i, scene in enumerate(drawn)
    ]


def pictures(drawn: Sequence[Scene], difficulty: Difficulty = DEFAULT) -> Tensor:
    """A few frames of each scene: (clip, frame, 3, side, side) uint8."""
    frames = _in_processes(partial(_frames, difficulty), drawn)
    rows = [torch.from_numpy(one) for one in frames]
    return torch.stack(rows).permute(0, 1, 4, 2, 3).contiguous()


def spectrograms(drawn: Sequence[Scene], folder: Path, difficulty: Difficulty = DEFAULT) -> Tensor:
    """The log-mel spectrogram of each scene: (clip, 1, time, mel) half precision."""
    rows = _in_processes(partial(_mel, folder, difficulty), drawn)
    return torch.stack([torch.from_numpy(mel) for mel in rows])


AT_ONCE = 50
"""Scenes that a process is given at a time; fewer are not worth one."""


def _in_processes(work: Callable[[Scene], Any], drawn: Sequence[Scene]) -> Iterator[Any]:
    if len(drawn) <= AT_ONCE:
        yield from map(work, drawn)
        return
    with ProcessPoolExecutor(
        mp_context=get_context("spawn"),
        initializer=set_torch_threads,
        initargs=(1,),  # each: as many as cores in all
    ) as pool:
        yield from pool.map(work, drawn, chunksize=AT_ONCE)


def _frames(difficulty: Difficulty, scene: Scene) -> np.ndarray:
    shown = picture(scene, difficulty)
    chosen = np.random.default_rng(scene.sight_seed).choice(len(shown), FRAMES_KEPT, replace=False)
    side = (SmallClip.side, SmallClip.side)
    return np.stack(
        [
            np.asarray(Image.fromarray(shown[i]).resize(side, Image.Resampling.BICUBIC))
            for i in chosen
        ]
    )


_extractors: dict[Path, Any] = {}


def _mel(folder: Path, difficulty: Difficulty, scene: Scene) -> np.ndarray:
    if folder not in _extractors:
        _extractors[folder] = load(ClapFeatureExtractor, str(folder))
    extractor = _extractors[folder]
    heard = extractor(
        sound(scene, difficulty), sampling_rate=extractor.sampling_rate, return_tensors="np"
    )
    return heard["input_features"][0].astype(np.float16)


def pretrain(
    embed_media: Callable[[Tensor], Tensor],
    embed_text: Callable[[list[str]], Tensor],
    parameters: list[torch.nn.Parameter],
    log_scale: torch.nn.Parameter,
    material: Pretraining,
    recipe: Recipe,
    steps: int,
    besides: Callable[[np.random.Generator], Tensor] | None = None,
) -> Iterator[float]:
    """Objective pretraining of one pair of towers; yields the loss of each step.

    `besides` is a loss to add, given the random numbers of the step.
    """
    classes = material.classes
    # Lengths of vectors are 1: a linear layer alone could not be sure of a class.
    sharpness, classifier = 10.0, torch.nn.Identity()
    if classes is not None:
        classifier = torch.nn.LazyLinear(int(classes.max()) + 1)
        classifier(embed_media(material.inputs[:1]))
    optimizer = torch.optim.AdamW(
        [*parameters, *classifier.parameters()],
        lr=recipe.lr,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        fused=True,
    )
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, step / 100) * (1 + math.cos(math.pi * step / steps)) / 2
    )
    random = np.random.default_rng(recipe.seed)
    for _ in range(steps):
        rows = random.choice(len(material.inputs), recipe.batch_size, replace=False)
        texts = [str(random.choice(material.captions[row])) for row in rows]
        media = F.normalize(embed_media(material.inputs[torch.from_numpy(rows)]), dim=-1)
        words = F.normalize(embed_text(texts), dim=-1)
        loss = info_nce(media, words, log_scale.exp())
        if classes is not None:
            loss = loss + F.cross_entropy(classifier(sharpness * media), classes[rows])
        (loss if besides is None else loss + besides(random)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():  # the parameter: a clamped value would have no gradient
            log_scale.clamp_(max=math.log(100))
        optimizer.zero_grad(set_to_none=True)
        rate.step()
        yield float(loss.detach())


def make_clip(recipe: Recipe, folder: Path, tell: Callable[[str], None]) -> None:
    """Train the small CLIP on pictures and visual captions and save it in half precision."""
    drawn = [s for s in recipe.scenes(recipe.clips) if not s.dark]
    captions = captions_of(drawn, recipe, "visual")
    model: Any = build_clip(SmallClip(), _vocabulary(recipe), folder, seed=recipe.seed)
    from trichord.encoders.clip import CLIPTokenizer

    tokenizer = load(CLIPTokenizer, str(folder))
    processor = {
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    }
    mean, std = (torch.tensor(processor[name]).view(3, 1, 1) for name in ("mean", "std"))
    random = torch.Generator().manual_seed(recipe.seed)

    def embed_media(frames: Tensor) -> Tensor:
        chosen = torch.randint(FRAMES_KEPT, (len(frames),), generator=random)
        pixels = (frames[torch.arange(len(frames)), chosen].float() / 255 - mean) / std
        return model.get_image_features(pixel_values=pixels).pooler_output

    def embed_text(texts: list[str]) -> Tensor:
        ids = tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
        return model.get_text_features(input_ids=ids["input_ids"]).pooler_output

    heard = [scene for scene in recipe.scenes(recipe.clips) if not scene.silent]
    read = captions_of(heard, recipe, "audio")
    aside = torch.nn.Linear(SmallClip.width, SmallClip.width // 2)

    def same_clip(random: np.random.Generator) -> Tensor:
        rows = random.choice(len(read), recipe.batch_size // 2, replace=False)
        pairs = [random.choice(read[row], 2, replace=False) for row in rows]
        texts = [str(pair[side]) for side in (0, 1) for pair in pairs]
        ids = tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
        features = aside(model.text_model(input_ids=ids["input_ids"]).pooler_output)
        one, other = F.normalize(features, dim=-1).chunk(2)
        return info_nce(one, other, torch.tensor(1 / 0.07))

    things = get_args(Thing)
    classes = torch.tensor([things.index(scene.thing) for scene in drawn])
    shown = pictures(drawn, recipe.difficulty)
    material = Pretraining(shown, captions, classes if recipe.named else None)
    losses = pretrain(
        embed_media, embed_text, [*model.parameters(), *aside.parameters()], model.logit_scale,
        material, recipe, recipe.clip_steps, same_clip,
    )  # fmt: skip
    _report(losses, CLIP_STAND_IN, tell)
    model.half().save_pretrained(folder)


def make_clap(recipe: Recipe, folder: Path, tell: Callable[[str], None]) -> None:
    """Train the small CLAP on sounds and audio captions and save it in half precision."""
    drawn = [s for s in recipe.scenes(recipe.clips) if not s.silent]
    captions = captions_of(drawn, recipe, "audio")
    model: Any = build_clap(SmallClap(), _vocabulary(recipe), folder, seed=recipe.seed)
    from transformers import AutoTokenizer

    tokenizer = load(AutoTokenizer, str(folder))

    def embed_media(mels: Tensor) -> Tensor:
        return model.get_audio_features(input_features=mels.float()).pooler_output

    def embed_text(texts: list[str]) -> Tensor:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")
        return model.get_text_features(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output

    material = Pretraining(spectrograms(drawn, folder, recipe.difficulty), captions)
    losses = pretrain(
        embed_media, embed_text, list(model.parameters()), model.logit_scale_a, material, recipe,
        recipe.clap_steps,
    )  # fmt: skip
    _report(losses, CLAP_STAND_IN, tell)
    model.half().save_pretrained(folder)


def _vocabulary(recipe: Recipe) -> list[str]:
    """Texts for the tokenizers: words of all kinds, as a published vocabulary has them."""
    # All wordings alike: a tokenizer's corpus is wider than what a model was trained on.
    recipe = Recipe(read=recipe.read, seed=recipe.seed)
    drawn = recipe.scenes(recipe.read)
    kinds: tuple[CaptionKind, ...] = ("visual", "audio")
    return [text for kind in kinds for texts in captions_of(drawn, recipe, kind) for text in texts]


def _report(losses: Iterator[float], name: str, tell: Callable[[str], None]) -> None:
    recent: list[float] = []
    for step, loss in enumerate(losses, start=1):
        recent = [*recent[-49:], loss]
        if step % 50 == 0:
            tell(f"{name}: step {step}, mean loss of the last 50: {sum(recent) / len(recent):.3f}")


def recipe_of(name: str) -> Recipe:
    """The recipe of a tower by its name in `weights`."""
    if name in (CLIP_STAND_IN, CLAP_STAND_IN):
        return Recipe()
    return TAGS[int(name.rsplit("-", 1)[1])]


def main() -> None:
    """Make both stand-ins, or those that are named, in the folder given on the command line."""
    root = Path(sys.argv[1])

    def tell(line: str) -> None:
        sys.stderr.write(line + "\n")

    for name in sys.argv[2:] or [CLIP_STAND_IN, CLAP_STAND_IN]:
        (root / name).mkdir(parents=True, exist_ok=True)
        make = make_clip if "clip" in name else make_clap
        make(recipe_of(name), root / name, tell)


if __name__ == "__main__":
    main()
