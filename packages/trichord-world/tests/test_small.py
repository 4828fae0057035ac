import pytest
import torch
from transformers import CLIPTokenizer

from trichord.config import Clap
from trichord_world.small import SmallClap, SmallClip, build_clap, build_clip, byte_pairs

TEXTS = ["a low bell rings", "a bell rings low"] * 5


def test_byte_pairs_join_what_occurs_often():
    vocabulary, merges = byte_pairs(TEXTS, 600, ["<s>"], word_end="</w>")
    assert vocabulary["<s>"] == 0
    assert {"bell</w>", "rings</w>", "low</w>"} <= vocabulary.keys()
    assert ("l", "l</w>") in merges or ("e", "l") in merges
    assert not {"zz", "qu"} & vocabulary.keys()


def test_the_small_clip_reads_a_frequent_word_as_one_token(tmp_path):
    sizes = SmallClip(side=32, width=32, inner=64, layers=1, text_inner=64, dim=8, vocabulary=600)
    build_clip(sizes, TEXTS, tmp_path, seed=0)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    assert tokenizer.tokenize("A low bell rings") == ["a</w>", "low</w>", "bell</w>", "rings</w>"]


def test_the_same_seed_gives_the_same_weights(tmp_path):
    sizes = SmallClip(side=32, width=32, inner=64, layers=1, text_inner=64, dim=8)
    one, same, other = (build_clip(sizes, TEXTS, tmp_path, seed=seed) for seed in (1, 1, 2))
    weight = "visual_projection.weight"
    assert torch.equal(one.state_dict()[weight], same.state_dict()[weight])
    assert not torch.equal(one.state_dict()[weight], other.state_dict()[weight])


def test_a_chunk_of_sound_fills_the_image_of_the_small_clap(tmp_path):
    from trichord.encoders.clap import ClapEncoder

    sizes = SmallClap(rate=16_000, seconds=3, width=16, heads=(1, 2), text_width=32, dim=8)
    build_clap(sizes, TEXTS, tmp_path, seed=0).save_pretrained(tmp_path)
    encoder = ClapEncoder(Clap(name=str(tmp_path)))
    mels = encoder.prepare(torch.zeros(3 * 16_000).numpy())
    strips = sizes.square // sizes.mels
    assert 0.95 * sizes.square * strips < mels.shape[2] <= sizes.square * strips
    assert encoder.run_trunk(mels).shape == (1, encoder.width)


@pytest.mark.parametrize("word_end", ["", "</w>"])
def test_the_same_texts_give_the_same_tokenizer(word_end):
    texts = [
        f"word{i % 37} sound {i % 11} {chr(97 + i % 26)}{chr(97 + 7 * i % 26)}" for i in range(400)
    ]
    first, *others = (byte_pairs(texts, 600, ["<s>"], word_end=word_end) for _ in range(4))
    assert all(other == first for other in others)
