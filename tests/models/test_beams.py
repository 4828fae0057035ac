import math
from itertools import product

import pytest
import torch

from trichord.models.beams import Decoding, SpecialTokens, search
from trichord.types import UserError

START, END, WORDS = 0, 1, (2, 3, 4, 5)
VOCABULARY = 6
LONGEST = 6
MARKS = SpecialTokens(start=START, end=END, forbidden=torch.arange(VOCABULARY) == START)


def drawn(seed, text):
    """Made-up likelihoods of what follows a text, the same whenever they are asked for."""
    random = torch.Generator().manual_seed(hash((seed, *text)) % 2**31)
    logits = 1.5 * torch.randn(VOCABULARY, generator=random)
    logits[END] += 0.3 * len(text)
    return logits.log_softmax(0)


class Drawn:
    """Follows texts by made-up likelihoods; `rule` gives those of a text of a clip."""

    def __init__(self, rule, clips, texts=None, told=None):
        self.rule, self.clips = rule, clips
        self.texts = texts or [()] * len(clips)
        self.told = [] if told is None else told

    def next_logits(self, ids):
        assert ids.shape == (len(self.texts),)
        self.texts = [(*text, one) for text, one in zip(self.texts, ids.tolist(), strict=True)]
        self.told.append(list(self.clips))
        return torch.stack([self.rule(*pair) for pair in zip(self.clips, self.texts, strict=True)])

    def rows(self, chosen):
        kept = chosen.tolist()
        clips, texts = [self.clips[i] for i in kept], [self.texts[i] for i in kept]
        return Drawn(self.rule, clips, texts, self.told)


def found(rule, clips, decoding, longest=LONGEST, special=MARKS):
    scorer = Drawn(rule, list(clips))
    return search(scorer, len(scorer.clips), special, decoding, longest), scorer.told


def likelihood(rule, clip, tokens):
    return sum(rule(clip, tokens[:i])[tokens[i]].item() for i in range(1, len(tokens)))


def score(rule, clip, tokens, penalty):
    return likelihood(rule, clip, tokens) / (len(tokens) - 1) ** penalty


def slow(rule, clip, decoding, *, frozen=True, until_top=False):
    """Beam search over one clip, place by place; the places at the end, and how many rounds it took.

    Args:
        frozen: Captions that have ended stay as they are; otherwise they are followed like others.
        until_top: Done when the best place ends; otherwise when there is no room.
    """
    places = [(START,)]
    for round_ in range(1, LONGEST):
        candidates = []
        for text in places:
            if frozen and text[-1] == END:
                candidates.append(text)
                continue
            forbidden = {START} | ({END} if round_ == 1 else set())
            candidates += [(*text, one) for one in range(VOCABULARY) if one not in forbidden]
        candidates.sort(key=lambda text: -score(rule, clip, text, decoding.length_penalty))
        places = candidates[: decoding.beams]
        if until_top and places[0][-1] == END:
            break
    return places, round_


def check(found, expected, rule, clip, penalty):
    """Whether captions are those expected, in order, and say of themselves what is true."""
    assert [one.tokens for one in found] == expected
    for one in found:
        assert one.log_likelihood == pytest.approx(likelihood(rule, clip, one.tokens), abs=1e-5)
        assert one.score == pytest.approx(score(rule, clip, one.tokens, penalty), abs=1e-5)
        assert one.cut == (one.tokens[-1] != END)


@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
def test_wide_beams_find_the_best_of_all_captions(penalty):
    longest = 4
    every = [
        (START, *words, *end)
        for count in range(1, longest)
        for words in product(WORDS, repeat=count)
        for end in ([(END,)] if count < longest - 1 else [()])
    ]
    assert len(every) == 4 + 16 + 64
    decoding = Decoding(beams=len(every), length_penalty=penalty, keep=20)
    captions, _ = found(drawn, range(3), decoding, longest)
    for clip in range(3):
        every.sort(key=lambda text, clip=clip: -score(drawn, clip, text, penalty))
        check(captions[clip], every[:20], drawn, clip, penalty)
    assert {one.cut for caption in captions for one in caption} == {False, True}


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0, -1.0])
@pytest.mark.parametrize("beams", [1, 2, 5])
def test_stopping_early_and_side_by_side_finds_what_each_clip_finds_alone_in_the_end(
    beams, penalty
):
    clips = range(12)
    for keep in sorted({1, 2, beams} & set(range(1, beams + 1))):
        decoding = Decoding(beams=beams, length_penalty=penalty, keep=keep)
        captions, _ = found(drawn, clips, decoding)
        for clip in clips:
            places, _ = slow(drawn, clip, decoding)
            check(captions[clip], places[:keep], drawn, clip, penalty)


def test_clips_that_are_done_and_captions_that_have_ended_cost_nothing():
    captions, told = found(drawn, range(12), Decoding(beams=3))
    rounds = [sum(clip in clips for clips in told) for clip in range(12)]
    assert len(set(rounds)) > 1  # or this test would say nothing
    for clip in range(12):
        _, alone = found(drawn, [clip], Decoding(beams=3))
        assert [clips.count(clip) for clips in told if clip in clips] == [len(c) for c in alone]
        if not any(one.cut for one in captions[clip]):
            # Its last caption ended in its last round.
            assert rounds[clip] >= max(len(one.tokens) for one in captions[clip]) - 1


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_without_a_penalty_a_clip_is_done_as_published_when_its_best_place_ends(beams):
    for clip in range(40):
        published, rounds = slow(drawn, clip, Decoding(beams=beams), until_top=True)
        one, told = found(drawn, [clip], Decoding(beams=beams, keep=1))
        check(one[0], published[:1], drawn, clip, 0.0)
        assert len(told) == rounds
        every, _ = found(drawn, [clip], Decoding(beams=beams))
        assert every[0][0] == one[0][0]


def to_the_first_end(tokens):
    return tokens[: tokens.index(END) + 1] if END in tokens else tokens


def test_following_captions_behind_their_end_as_published_differs_unless_only_the_end_can_follow():
    def taught(clip, text):
        """As a loss that counts padding teaches."""
        if text[-1] != END:
            return drawn(clip, text)
        return torch.where(torch.arange(VOCABULARY) == END, 0.0, -1e9)

    same = {}
    for rule in (drawn, taught):
        published = [
            slow(rule, clip, Decoding(beams=5), frozen=False, until_top=True)[0][0]
            for clip in range(40)
        ]
        ours, _ = found(rule, range(40), Decoding(beams=5, keep=1))
        pairs = zip(published, ours, strict=True)
        same[rule] = sum(to_the_first_end(one) == best[0].tokens for one, best in pairs)
    assert same[taught] == 40
    assert same[drawn] < 40


def by_hand(chances):
    """Likelihoods of what follows the last token, from a table of chances; the rest share what is left."""

    def rule(clip, text):
        given = chances.get(text[-1], {})
        rest = (1 - sum(given.values())) / (VOCABULARY - len(given))
        return torch.tensor([math.log(max(given.get(i, rest), 1e-9)) for i in range(VOCABULARY)])

    return rule


def test_a_length_penalty_changes_the_order_as_computed_by_hand():
    # a: 0.5 · 0.9 = 0.45 with two tokens; b c: 0.5 · 1 · 0.8 = 0.4 with three.
    a, b, c = WORDS[:3]
    rule = by_hand({START: {a: 0.5, b: 0.5}, a: {END: 0.9}, b: {c: 1.0}, c: {END: 0.8}})
    orders = {}
    for penalty in (0.0, 1.0):
        captions, _ = found(rule, [0], Decoding(beams=4, keep=2, length_penalty=penalty))
        orders[penalty] = [(one.tokens, one.score) for one in captions[0]]
    short, long = (START, a, END), (START, b, c, END)
    assert [tokens for tokens, _ in orders[0.0]] == [short, long]
    assert [tokens for tokens, _ in orders[1.0]] == [long, short]
    scores = {penalty: [one for _, one in order] for penalty, order in orders.items()}
    assert scores[0.0] == pytest.approx([math.log(0.45), math.log(0.4)], abs=1e-4)
    assert scores[1.0] == pytest.approx([math.log(0.4) / 3, math.log(0.45) / 2], abs=1e-4)


def test_a_caption_has_a_word_however_likely_an_empty_one_is():
    a = WORDS[0]
    rule = by_hand({START: {END: 0.99, a: 0.006}, a: {END: 1.0}})
    captions, _ = found(rule, [0], Decoding(beams=1))
    assert captions[0][0].tokens == (START, a, END)
    # The likelihood is the model's own: nothing is given to words for what was not allowed.
    assert captions[0][0].log_likelihood == pytest.approx(math.log(0.006), abs=1e-4)


def test_a_vocabulary_without_words_leaves_captions_empty():
    wordless = SpecialTokens(start=START, end=END, forbidden=torch.arange(VOCABULARY) != END)
    captions, _ = found(drawn, [0], Decoding(beams=3), special=wordless)
    assert [one.tokens for one in captions[0]] == [(START, END)]


def test_what_must_not_be_written_is_not_however_likely():
    forbidden = MARKS.forbidden.clone()
    forbidden[WORDS[3]] = True
    rule = by_hand({token: {START: 0.4, WORDS[3]: 0.5} for token in range(VOCABULARY)})
    captions, _ = found(
        rule, [0], Decoding(), special=SpecialTokens(start=START, end=END, forbidden=forbidden)
    )
    for one in captions[0]:
        assert one.tokens[0] == START
        assert not {START, WORDS[3]} & set(one.tokens[1:])


@pytest.mark.parametrize("longest", [3, 5])
def test_a_caption_without_an_end_is_cut_and_says_so(longest):
    rule = by_hand({token: {END: 1e-9} for token in range(VOCABULARY)})
    captions, told = found(rule, [0, 1], Decoding(beams=3), longest)
    assert len(told) == longest - 1
    for one in captions[0] + captions[1]:
        assert one.cut
        assert len(one.tokens) == longest
        assert END not in one.tokens
        assert one.log_likelihood == pytest.approx((longest - 1) * math.log(0.2), abs=1e-4)


def test_scores_that_are_no_numbers_are_refused():
    broken = [torch.full((VOCABULARY,), value) for value in (float("nan"), float("inf"))]
    for logits in broken:
        with pytest.raises(ValueError, match="not numbers"):
            found(lambda clip, text, logits=logits: logits, [0], Decoding())


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"beams": 0}, "--beams 0: give a number from 1"),
        ({"length_penalty": float("nan")}, "--length-penalty nan"),
        ({"length_penalty": 10.5}, "from -10 to 10"),
        ({"longest": 2}, "--longest 2: give at least 3"),
        ({"keep": 0}, "Keep 0 of 5"),
        ({"beams": 2, "keep": 3}, "Keep 3 of 2 beams: from 1 to 2"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, complaint):
    with pytest.raises((UserError, ValueError), match=complaint):
        Decoding(**options)
