import pytest
import torch
from torch import nn

from trichord.config import ClipText
from trichord.encoders.clip import ClipTextEncoder
from trichord.encoders.text_kv_cache import TextKVCache
from trichord.types.tensors import Padded

LONGEST = 9


@pytest.fixture(scope="module")
def words(tiny_towers):
    """A tower whose weights are large enough for every part of it to matter."""
    encoder = ClipTextEncoder(ClipText(name=str(tiny_towers / "clip"), tokens=True)).eval()
    torch.manual_seed(0)
    for value in encoder.parameters():
        nn.init.normal_(value, std=0.3)
    return encoder


def texts(encoder, count=4, seed=1):
    """Random token ids, start and end included; no end comes early."""
    torch.manual_seed(seed)
    ids = torch.randint(2, len(encoder.tokenizer), (count, LONGEST))
    ids[:, 0], ids[:, -1] = encoder.tokenizer.bos_token_id, encoder.end
    return ids


def all_at_once(encoder, ids):
    there = torch.ones(len(ids), 1, dtype=torch.bool)
    return encoder.trunk_features(Padded(ids[:, None], there)).values


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@torch.inference_mode()
def test_token_by_token_is_all_at_once(words, implementation):
    words.trunk.model.set_attn_implementation(implementation)
    ids = texts(words)
    cache = TextKVCache(words)
    found = [cache.next_features(ids[:, place]) for place in range(LONGEST)]
    assert cache.length == LONGEST
    expected = all_at_once(words, ids)
    torch.testing.assert_close(torch.stack(found, dim=1), expected, atol=1e-5, rtol=0)
    steps = words(
        words.trunk_features(Padded(ids[:, None], torch.ones(len(ids), 1, dtype=torch.bool)))
    ).steps
    torch.testing.assert_close(words.head(torch.stack(found, 1)), steps, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_rows_go_their_own_ways(words):
    ids = texts(words)
    chosen = torch.tensor([2, 0, 2, 3])
    cache = TextKVCache(words)
    for place in range(4):
        cache.next_features(ids[:, place])
    taken = cache.rows(chosen)
    others = texts(words, seed=2)
    mixed = torch.cat([ids[chosen, :4], others[:, 4:]], dim=1)
    assert not torch.equal(mixed[0], mixed[2])  # the same beginning, other ends
    found = [taken.next_features(mixed[:, place]) for place in range(4, LONGEST)]
    expected = all_at_once(words, mixed)[:, 4:]
    torch.testing.assert_close(torch.stack(found, dim=1), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_the_memory_that_rows_were_taken_from_is_as_before(words):
    ids = texts(words)
    cache = TextKVCache(words)
    cache.next_features(ids[:, 0])
    taken = cache.rows(torch.tensor([3, 1]))
    taken.next_features(ids[:2, 5])
    assert (cache.length, taken.length) == (1, 2)
    second = cache.next_features(ids[:, 1])
    expected = all_at_once(words, ids)[:, 1]
    torch.testing.assert_close(second, expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_text_as_long_as_the_table_of_positions_takes_no_more(words):
    cache = TextKVCache(words)
    places = words.trunk.model.config.max_position_embeddings
    assert places == 77
    one = torch.tensor([5])
    for _ in range(places):
        cache.next_features(one)
    with pytest.raises(ValueError, match="positions for 77 tokens"):
        cache.next_features(one)
