"""Text of language models, here of random weights."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from trichord.models.text_generation import TextGenerator
from trichord.types import UserError

WORDS = ["<unk>", "</s>", "user:", "answer:", *(f"w{n}" for n in range(28))]
CHAT = "{% for m in messages %}user: {{ m.content }} {% endfor %}answer:"


@pytest.fixture
def model(tmp_path):
    """A folder with a model of random weights; its answers end by chance, after some words."""

    def made(chat=CHAT, eos="</s>", **changes):
        words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token=eos, unk_token="<unk>"
        )
        tokenizer.chat_template = chat
        torch.manual_seed(0)
        settings = {"n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 2, "eos_token_id": 1}
        config = GPT2Config(vocab_size=len(WORDS), bos_token_id=None, **(settings | changes))
        network = GPT2LMHeadModel(config)
        network.save_pretrained(tmp_path / "lm")
        tokenizer.save_pretrained(tmp_path / "lm")
        return tmp_path / "lm"

    return made


def test_answers_differ_by_sampling_and_are_the_same_under_a_seed(model):
    writer = TextGenerator(str(model()), 1.0, 20, "cpu")
    answers = writer("w1 w2", 12, 3)
    assert len(answers) == 12
    assert len(set(answers)) > 2
    assert any(answers)
    assert answers == writer("w1 w2", 12, 3)
    assert answers != writer("w1 w2", 12, 4)


def test_an_endless_answer_is_empty_and_one_that_ends_is_not(model):
    place = str(model())
    long = TextGenerator(place, 1.0, 40, "cpu")("w1", 30, 0)
    short = TextGenerator(place, 1.0, 2, "cpu")("w1", 30, 0)
    assert sum(map(bool, long)) > sum(map(bool, short))
    assert all(len(one.split()) < 2 for one in short)


def test_without_sampling_there_is_one_answer_whatever_the_seed(model):
    writer = TextGenerator(str(model(eos_token_id=31)), 0.0, 3, "cpu")
    assert len(writer("w1 w2", 3, 0)) == 1
    assert writer("w1 w2", 3, 0) == writer("w1 w2", 3, 9)


def test_a_prompt_that_leaves_no_room_has_no_answer(model):
    writer = TextGenerator(str(model()), 1.0, 10, "cpu")
    assert writer(" ".join(["w1"] * 60), 2, 0) == []
    assert len(writer("w1", 2, 0)) == 2


def test_a_model_without_a_chat_template_continues_the_prompt(model):
    writer = TextGenerator(str(model(chat=None)), 1.0, 20, "cpu")
    answers = writer("w1", 12, 0)
    assert any(answers)
    chat = TextGenerator(str(model()), 1.0, 20, "cpu")
    assert chat("w1", 12, 0) != answers  # it reads other words around the prompt


def test_what_is_no_whole_language_model_is_refused(model, tmp_path):
    place = model()
    with pytest.raises(UserError, match=r"lack 1 of the \d+ tensors of GPT2LMHeadModel"):
        _without(place, "transformer.h.0.attn.c_attn.weight")
    network = GPT2LMHeadModel.from_pretrained(model())
    torch.save(network.state_dict(), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        TextGenerator(str(place), 1.0, 5, "cpu")
    (place / "config.json").write_text(
        '{"model_type": "own", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}'
    )
    (place / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (place / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="no Config that can be read"):
        TextGenerator(str(place), 1.0, 5, "cpu")
    assert not (tmp_path / "ran").exists()


def _without(place, name):
    from safetensors.torch import load_file, save_file

    tensors = load_file(place / "model.safetensors")
    del tensors[name]
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    TextGenerator(str(place), 1.0, 5, "cpu")
