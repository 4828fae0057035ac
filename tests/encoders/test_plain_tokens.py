"""Tokens without the package `tokenizers`: compared with its own, text by text."""

import json
import random

import pytest
from tokenizers import Tokenizer

from trichord.encoders.plain_tokens import BytePairs

PIECES = (
    "a", "b", "dog", "bark", "rain", "A", "Z", " ", "  ", "\t", "\n", "\xa0", "\u3000", "\u2028", "\x85",
    "\x00", "\x1c", "'", "'s", "'t", "'LL", "!", "-", "_", "…", "1", "23", "½", "٣", "Ⅷ", "é", "e\u0301",
    "ß", "İ", "Σ", "ª", "字", "ひ", "한", "\u0e01\u0e33", "😀", "👩\u200d🚒", "\ufeff", "<s>", "</s>",
    "<mask>", "<pad>", "<unk>", "<|startoftext|>", "<|endoftext|>", "<|", "|>",
)  # fmt: skip


@pytest.fixture(params=["clip", "clap"])
def described(request, tiny_towers):
    return (tiny_towers / request.param / "tokenizer.json").read_text()


def texts(seed, count):
    draw = random.Random(seed)
    for _ in range(count):
        yield "".join(draw.choices(PIECES, k=draw.randint(0, 40)))


def expected(described, longest):
    """The package's own way."""
    tokenizer = Tokenizer.from_str(described)
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return lambda text: tokenizer.encode(text).ids


@pytest.mark.parametrize("longest", [77, 8])
def test_tokens_are_those_of_the_package(described, longest):
    own, theirs = BytePairs(described), expected(described, longest)
    for text in texts(longest, 1500):
        assert own.ids(text, longest) == theirs(text), text


def test_each_character_is_of_the_packages_kind(described):
    """All planes that have characters, but for those that this Python's tables do not know."""
    own, theirs = BytePairs(described), expected(described, 77)
    signs = [*range(0x3100), *range(0xA000, 0xD800, 7), *range(0xE000, 0x20000, 13)]
    for sign in map(chr, signs):
        if sign.isprintable() or not sign.isascii():
            text = f"a{sign}b 1{sign}2 {sign}"
            if own.ids(text, 77) != theirs(text):
                assert not sign.isprintable(), hex(ord(sign))


def with_token(described, **how):
    told = json.loads(described)
    vocabulary = told["model"]["vocab"]
    token = {"id": len(vocabulary), "content": "Mask Me", "single_word": False, "lstrip": False}
    token |= {"rstrip": False, "normalized": False, "special": False} | how
    told["added_tokens"].append(token)
    return json.dumps(told)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"lstrip": True},
        {"rstrip": True},
        {"lstrip": True, "rstrip": True},
        {"normalized": True},
        {"normalized": True, "lstrip": True},
        {"content": "<|endof"},
    ],
)
def test_added_tokens_take_blanks_along_as_they_say(described, how):
    changed = with_token(described, **how)
    own, theirs = BytePairs(changed), expected(changed, 77)
    word = how.get("content", "Mask Me")
    for text in [
        f"a {word} b",
        f"{word}{word}",
        f"  {word}\n{word}  x",
        "mask  me",
        "MASK ME",
        *texts(5, 100),
    ]:
        for one in (text, text.replace("dog", word)):
            assert own.ids(one, 77) == theirs(one), one


def test_a_word_without_blanks_is_merged_as_quickly_as_it_is_long(described):
    own, theirs = BytePairs(described), expected(described, 100_000)
    text = "".join(random.Random(2).choices("abcdegnorst", k=20_000))
    assert own.ids(text, 100_000) == theirs(text)


def test_what_no_text_can_hold_is_read_as_a_question_mark(described):
    own = BytePairs(described)
    assert own.ids("a\udcff", 77) == own.ids("a?", 77)


def changed(*path, to):
    def change(described):
        told = part = json.loads(described)
        for step in path[:-1]:
            part = part[step]
        part[path[-1]] = to
        return json.dumps(told)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda described: described[:-9],
        lambda described: "[]",
        lambda described: "{}",
        changed("model", "type", to="Unigram"),
        changed("model", "dropout", to=0.1),
        changed("model", "byte_fallback", to=True),
        changed("model", "merges", to=3),
        changed("normalizer", to={"type": "NFKC"}),
        changed("pre_tokenizer", to={"type": "Whitespace"}),
        changed("pre_tokenizer", to=None),
        changed(
            "pre_tokenizer",
            to={"type": "ByteLevel", "add_prefix_space": True, "use_regex": True},
        ),
        changed(
            "pre_tokenizer",
            to={"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Removed", "invert": True},
        ),
        changed("post_processor", to=None),
        changed("post_processor", "type", to="BertProcessing"),
        changed("added_tokens", 0, "single_word", to=True),
    ],
)
def test_other_kinds_are_refused(described, change):
    with pytest.raises(ValueError):
        BytePairs(change(described))
