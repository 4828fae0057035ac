"""Recognisers of `transformers`, on models with random weights: what they hear is meaningless."""

import json

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models
from tokenizers.pre_tokenizers import ByteLevel

from trichord.speech.recogniser import RecogniserOptions, require_language
from trichord.speech.transformers_asr import TransformersRecogniser, spread
from trichord.types import UserError

SOUND = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)


def ctc(folder):
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghij"]
    (folder / "vocab.json").write_text(json.dumps({one: n for n, one in enumerate(letters)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, conv_dim=(8,) * 7, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    return transformers.Wav2Vec2ForCTC(config)


def moonshine(folder):
    tokens = ["<unk>", "<s>", "</s>", "\u2581", *"abcdefghijk"]
    core = Tokenizer(models.BPE({one: n for n, one in enumerate(tokens)}, [], unk_token="<unk>"))
    core.decoder = decoders.Metaspace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
    ).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    config = transformers.MoonshineConfig(
        vocab_size=len(tokens), hidden_size=32, intermediate_size=32, encoder_num_hidden_layers=1,
        decoder_num_hidden_layers=1, encoder_num_attention_heads=2, decoder_num_attention_heads=2,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, max_position_embeddings=64,
    )  # fmt: skip
    return transformers.MoonshineForConditionalGeneration(config)


def whisper(folder):
    letters = {one: n for n, one in enumerate([*sorted(ByteLevel.alphabet()), "<|endoftext|>"])}
    tokenizer = transformers.WhisperTokenizer(vocab=letters, merges=[])
    special = [
        "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
        "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
    ]  # fmt: skip
    added = transformers.AddedToken
    tokenizer.add_tokens([added(one, special=True) for one in special])
    tokenizer.add_tokens([added(f"<|{n * 0.02:.2f}|>", special=False) for n in range(1501)])
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    number = tokenizer.get_vocab()
    end = number["<|endoftext|>"]
    config = transformers.WhisperConfig(
        vocab_size=len(number), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, decoder_start_token_id=number["<|startoftranscript|>"],
        bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    generation = {
        "is_multilingual": True,
        "lang_to_id": {one: number[one] for one in ("<|en|>", "<|de|>")},
        "task_to_id": {one: number[f"<|{one}|>"] for one in ("transcribe", "translate")},
        "no_timestamps_token_id": number["<|notimestamps|>"],
        "prev_sot_token_id": number["<|startofprev|>"],
        "alignment_heads": [[0, 0]],
        "max_initial_timestamp_index": 50,
        "max_length": 40,
        "suppress_tokens": [end],
        "begin_suppress_tokens": [end],
        "_from_model_config": False,
    }
    for name, value in generation.items():
        setattr(model.generation_config, name, value)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for make in (ctc, moonshine, whisper):
        folder = tmp_path_factory.mktemp(make.__name__)
        torch.manual_seed(0)
        make(folder).save_pretrained(folder)
        made[make.__name__] = folder
    return made


@pytest.mark.parametrize("kind", ["ctc", "moonshine", "whisper"])
def test_a_recogniser_loads_and_gives_words_within_the_sound(kind, folders):
    recogniser = TransformersRecogniser(RecogniserOptions(model=str(folders[kind])))
    language = recogniser.detect_language(SOUND)
    assert language in (recogniser.languages or ("",))
    words = recogniser.recognise(SOUND, language)
    assert recogniser.recognise(SOUND, language) == words
    assert all(0 <= one.start <= one.end <= 3.0 for one in words)
    assert bool(words) == (kind != "moonshine")  # whose random weights end at once
    assert f"transformers {transformers.__version__}" in recogniser.fingerprint
    again = TransformersRecogniser(RecogniserOptions(model=str(folders[kind])))
    assert again.fingerprint == recogniser.fingerprint


def test_whisper_knows_its_languages(folders):
    recogniser = TransformersRecogniser(RecogniserOptions(model=str(folders["whisper"])))
    assert recogniser.languages == ("de", "en")
    with pytest.raises(UserError, match="--language fr: transformers knows de, en"):
        require_language(recogniser, "fr")


def test_words_without_times_share_the_time_by_letters():
    assert [(one.text, one.start, one.end) for one in spread("a bcd", 4.0)] == [
        ("a", 0.0, 1.0),
        ("bcd", 1.0, 4.0),
    ]
    assert spread(" ", 4.0) == []


def test_a_model_of_another_kind_is_refused(tmp_path, folders):
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config.architectures = ["Wav2Vec2Model"]
    config.save_pretrained(tmp_path)
    for options, said in (
        ({"model": str(tmp_path)}, "is Wav2Vec2Model, which is no speech recogniser"),
        ({"model": str(tmp_path / "nowhere")}, "cannot be fetched: HF_HUB_OFFLINE is set"),
        ({}, "--engine transformers needs a --model"),
        ({"model": str(tmp_path), "vocabulary": tmp_path}, "--vocabulary goes with"),
    ):
        with pytest.raises(UserError) as refused:
            TransformersRecogniser(RecogniserOptions(**options))
        assert said in str(refused.value)
    (folders["ctc"] / "model.safetensors").rename(tmp_path / "elsewhere")
    try:
        with pytest.raises(UserError, match="has no weights in"):
            TransformersRecogniser(RecogniserOptions(model=str(folders["ctc"])))
    finally:
        (tmp_path / "elsewhere").rename(folders["ctc"] / "model.safetensors")
