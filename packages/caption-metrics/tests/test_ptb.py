"""What Stanford's PTBTokenizer (CoreNLP 3.4.1) makes of hard cases, as observed."""

import pytest

from caption_metrics.ptb import tokenize

CASES = {
    "can't won't DON'T shouldn't've isn’t": "ca n't wo n't do n't should n't 've is n't",
    "he'll I'd've who's John's dogs' they're": "he 'll i 'd 've who 's john 's dogs ' they 're",
    "cannot gonna 'tis 'em rock'n'roll o'clock": "can not gon na 't is 'em rock 'n' roll o'clock",
    "ma'am y'all d'Artagnan ol' goin'": "ma'am y' all d'artagnan ol' goin '",
    "a t-shirt, 3-year-old; mid-1990s": "a t-shirt , 3-year-old ; mid-1990s",
    "re- do -ed anti- 5-10 non-U.S.": "re - do - ed anti- 5-10 non-u.s.",
    "and/or w/ him w/o a/b/c/d": "and/or w / him w/o a/b/c / d",
    "3.5 1,000 10% 12:30 7:30pm 7pm 5th 1/2 .5": "3.5 1,000 10 % 12:30 7:30 pm 7pm 5th 1/2 .5",
    "90s '90s 1990's 50's": "90s '90s 1990 's 50 's",
    "$5 $3.50 US$5 £20 €30 5¢ ½": "$ 5 $ 3.50 us$ 5 # 20 $ 30 5 cents 1/2",
    "Mr. Smith vs. Dr. Who etc. at 5 p.m.": "mr. smith vs. dr. who etc. at 5 p.m.",
    "the U.S. army, e.g. this, i.e. that": "the u.s. army , e.g. this , i.e. that",
    "No. 5 said no. He left": "no. 5 said no . he left",
    "on the Miss. or a miss. of": "on the miss. or a miss . of",
    "dog.cat dog!cat barks. A dog., a": "dog.cat dog!cat barks . a dog. , a",
    "what?! really?? yes!!! oh!": "what ?! really ?? yes !!! oh !",
    "a (big) [brown] {cat}": "a -lrb- big -rrb- -lsb- brown -rsb- -lcb- cat -rcb-",
    "AT&T R&B rock & roll AT&amp;T": "at&t r&b rock & roll at&t",
    "me@example.com http://x.org/a?b=c www.foo.com": "me@example.com http://x.org/a?b=c www.foo.com",
    "@user #tag #1 a_b C++ x=y 20~30": "@user #tag # 1 a_b c++ x = y 20 ~ 30",
    ":) ;-) :D <3 ^_^": ":-rrb- ;--rrb- :d < 3 ^_^",
    "café naïve-looking coöperate 45°C": "café naïve-looking coöperate 45 ° c",
    "犬が吠える。 שלום مرحبا ｆｕｌｌ": "犬が吠える 。 שלום مرحبا ｆｕｌｌ",
    "🐶🐶 barks a🐶b ♪": "barks a b ♪",
    "soft\u00adhyphen zero\u200bwidth": "softhyphen zero width",
}


@pytest.mark.parametrize("caption", CASES)
def test_tokens_are_those_of_stanfords_tokenizer(caption):
    assert list(tokenize(caption)) == CASES[caption].split()
