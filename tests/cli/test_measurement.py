import math

import pytest

from trichord.cli.measurement import Measurement
from trichord.cli.options import audio_type_of
from trichord.evaluation.gallery import Weights
from trichord.types import UserError


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("0", 0.0),
        ("0.30000000000000004", 0.3),
        ("1", 1.0),
        ("verbal", 0.0),
        ("nonverbal", 1.0),
        *((t, t) for t in ("none", "both", "clip")),
    ],
)
def test_an_audio_type_is_a_mix_or_a_word(text, token):
    assert audio_type_of(text) == (pytest.approx(token) if isinstance(token, float) else token)


@pytest.mark.parametrize("text", ["1.5", "-0.1", "nan", "inf", "speech", ""])
def test_anything_else_is_refused_by_its_option(text):
    with pytest.raises(UserError, match=r"--audio-type .* from 0 \(verbal\) to 1"):
        audio_type_of(text)


def test_one_weight_implies_the_other():
    assert Measurement().weights is None
    assert Measurement(visual_weight=2.0).weights == Weights(visual_weight=2.0, audio_weight=1.0)
    assert Measurement(audio_weight=0.0).weights == Weights(visual_weight=1.0, audio_weight=0.0)


def test_silent_clips_are_masked_unless_option_or_protocol_say_otherwise():
    assert Measurement().rule == "masked"
    assert Measurement(silent="random").rule == "random"
    assert Measurement(protocol="msrvtt-1ka-1000").rule == "borrowed"
    assert Measurement(protocol="msrvtt-1ka-1000", silent="masked").rule == "masked"
    assert Measurement(protocol="vatex-1421").rule == "out"
    assert Measurement(protocol="audiocaps-a").rule == "masked"


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (Measurement(visual_weight=-1.0), "--visual-weight -1"),
        (Measurement(audio_weight=math.nan), "--audio-weight nan"),
        (Measurement(visual_weight=0.0, audio_weight=0.0), "both 0"),
        (Measurement(audio_type="loud"), "--audio-type loud"),
        (Measurement(protocol="msrvtt"), "--protocol: there is no 'msrvtt'"),
        (Measurement(protocol="vatex-1500", split="val"), "measures the split 'test'"),
        (Measurement(protocol="vatex-1421", silent="borrowed"), "leave --silent out too"),
    ],
)
def test_options_without_sense_are_refused_before_anything_is_read(chosen, told):
    with pytest.raises(UserError, match=told):
        chosen.require_sense()


def test_options_with_sense_are_not():
    Measurement().require_sense()
    Measurement(protocol="vatex-1500", silent="random", visual_weight=1.0).require_sense()
