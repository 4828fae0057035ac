import numpy as np
import pytest
import torch
from PIL import Image

from trichord.config import Clap, ClapText, ClipText, ClipVision
from trichord.evaluation.ranks import rank_answers
from trichord.evaluation.scores import Products
from trichord.types.tensors import Padded
from trichord_world.ceiling import ceiling
from trichord_world.difficulty import DEFAULT
from trichord_world.drawing import picture
from trichord_world.format import FRAMES_PER_SECOND
from trichord_world.grammar import Grammar
from trichord_world.law import LAW, scenes, stream
from trichord_world.sound import sound
from trichord_world.stand_ins import TAGS, Recipe, captions_of, make_clap, make_clip
from trichord_world.truth import Truth
from trichord_world.weights import (
    CLAP_STAND_IN,
    CLIP_STAND_IN,
    PAIRS,
    STAND_INS,
    TAG_CLAPS,
    TAG_CLIPS,
)

GRAMMAR = Grammar(omission=DEFAULT.omission)
SHARE = 0.6
"""Of the best possible R@10, before any alignment."""


@pytest.fixture(scope="module")
def drawn():
    """Scenes that no stand-in was trained on, with their captions."""
    made = [s for s in scenes("test", 160, 11) if not (s.dark or s.silent)]
    said = [GRAMMAR.captions(s, stream(11, "test", i, "captions")) for i, s in enumerate(made)]
    return made, said


def recall_at_10(text, media, inputs, said, kind):
    """R@10 of captions of a kind towards their clips, and the best possible."""
    with torch.inference_mode():
        gallery = media(media.trunk_features(Padded.stack(inputs))).pooled.numpy()
        owners = [i for i, of in enumerate(said) for _ in of[kind]]
        words = [s.text for of in said for s in of[kind]]
        ids = Padded.stack(list(text.prepare(words)[:, None]))
        asked = text(text.trunk_features(ids)).pooled.numpy()
    return float(rank_answers(Products.cosines(asked, gallery), np.array(owners)).hit(10).mean())


def best(made, said, task):
    truths = [
        Truth(scene=s, split="test", facts={k: tuple(x.facts for x in v) for k, v in of.items()})
        for s, of in zip(made, said, strict=True)
    ]
    return ceiling(truths, law=LAW, grammar=GRAMMAR)[task][10]


def frames_of(scene, side):
    shown = picture(scene, DEFAULT)[FRAMES_PER_SECOND // 2 :: FRAMES_PER_SECOND]
    resized = [Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC) for one in shown]
    return np.stack([np.asarray(one) for one in resized])


def test_the_shipped_clip_finds_pictures_by_visual_captions(drawn):
    made, said = drawn
    text, vision = ClipText(name=CLIP_STAND_IN).build(), ClipVision(name=CLIP_STAND_IN).build()
    inputs = [vision.prepare(frames_of(s, vision.frames.short_side)) for s in made]
    found = recall_at_10(text.eval(), vision.eval(), inputs, said, "visual")
    assert found >= SHARE * best(made, said, "visual<-visual")


def test_the_shipped_clap_finds_sounds_by_audio_captions(drawn):
    made, said = drawn
    text, audio = ClapText(name=CLAP_STAND_IN).build(), Clap(name=CLAP_STAND_IN).build()
    inputs = [audio.prepare(sound(s, DEFAULT)) for s in made]
    found = recall_at_10(text.eval(), audio.eval(), inputs, said, "audio")
    assert found >= SHARE * best(made, said, "audio<-audio")


@pytest.mark.parametrize("pair", range(PAIRS))
def test_the_pairs_know_things_but_not_these_captions(drawn, pair):
    """What they were made for: above chance, and far from what the stand-ins reach."""
    made, said = drawn
    clip, clap = TAG_CLIPS[pair], TAG_CLAPS[pair]
    text, vision = ClipText(name=clip).build().eval(), ClipVision(name=clip).build().eval()
    words, audio = ClapText(name=clap).build().eval(), Clap(name=clap).build().eval()
    pictures = [vision.prepare(frames_of(s, vision.frames.short_side)) for s in made]
    sounds = [audio.prepare(sound(s, DEFAULT)) for s in made]
    chance = 10 / len(made)
    assert recall_at_10(text, vision, pictures, said, "visual") > 4 * chance
    heard = recall_at_10(words, audio, sounds, said, "audio")
    assert chance < heard < 0.5 * best(made, said, "audio<-audio")


def test_no_pair_was_pretrained_on_clips_of_another_or_of_a_world():
    streams = [{(s.sight_seed, s.sound_seed) for s in one.scenes(300)} for one in TAGS]
    streams += [
        {(s.sight_seed, s.sound_seed) for s in scenes("test", 400, seed)}
        for seed in (91, 92, 201, 202, 203)
    ]
    assert sum(map(len, streams)) == len(set.union(*streams))


def test_the_shipped_stand_ins_stay_small():
    size = sum(file.stat().st_size for root in STAND_INS.values() for file in root.iterdir())
    assert size < 4_000_000


def test_pretraining_clips_are_in_no_rendered_world():
    recipe = Recipe()
    pretraining = {(s.sight_seed, s.sound_seed) for s in scenes("pretrain", 500, recipe.seed)}
    for split in ("train", "val", "test"):
        for seed in (0, recipe.seed):
            held = {(s.sight_seed, s.sound_seed) for s in scenes(split, 500, seed)}
            assert not pretraining & held


def test_clip_reads_only_visual_captions_and_clap_only_audio_ones():
    made = scenes("pretrain", 40, 1)
    seen = {w for texts in captions_of(made, Recipe(), "visual") for t in texts for w in t.split()}
    heard = {w for texts in captions_of(made, Recipe(), "audio") for t in texts for w in t.split()}
    assert {"red", "meadow."} & seen
    assert not {"red", "meadow."} & heard


@pytest.mark.slow
@pytest.mark.parametrize(("make", "kind"), [(make_clip, ClipVision), (make_clap, Clap)])
def test_the_recipe_learns_and_makes_a_folder_that_loads(make, kind, tmp_path):
    told = []
    recipe = Recipe(clips=40, read=100, clip_steps=100, clap_steps=100, batch_size=8)
    make(recipe, tmp_path, told.append)
    first, *_, last = (float(line.rsplit(" ", 1)[1]) for line in told)
    assert last < 0.9 * first
    encoder = kind(name=str(tmp_path)).build()
    assert next(encoder.trunk.parameters()).dtype == torch.float32


@pytest.mark.slow
def test_the_whole_recipe_makes_stand_ins_as_good_as_the_shipped_ones(tmp_path, drawn):
    made, said = drawn
    for name, make in ((CLIP_STAND_IN, make_clip), (CLAP_STAND_IN, make_clap)):
        (tmp_path / name).mkdir()
        make(Recipe(), tmp_path / name, lambda line: None)

    def measure(clip, clap):
        text, vision = ClipText(name=clip).build().eval(), ClipVision(name=clip).build().eval()
        words, audio = ClapText(name=clap).build().eval(), Clap(name=clap).build().eval()
        side = vision.frames.short_side
        pictures = [vision.prepare(frames_of(s, side)) for s in made]
        sounds = [audio.prepare(sound(s, DEFAULT)) for s in made]
        return (
            recall_at_10(text, vision, pictures, said, "visual"),
            recall_at_10(words, audio, sounds, said, "audio"),
        )

    shipped = measure(CLIP_STAND_IN, CLAP_STAND_IN)
    again = measure(str(tmp_path / CLIP_STAND_IN), str(tmp_path / CLAP_STAND_IN))
    np.testing.assert_allclose(again, shipped, atol=0.08)
