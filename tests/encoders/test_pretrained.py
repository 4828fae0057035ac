import pytest
from transformers import CLIPModel, CLIPTokenizer

from trichord.encoders.pretrained import load, load_model
from trichord.types import UserError
from trichord_world.weights import STAND_INS


@pytest.mark.parametrize("name", STAND_INS)
def test_stand_ins_are_ordinary_folders_with_safetensors_only(name):
    files = {file.name for file in STAND_INS[name].iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
    } <= files
    assert not [file for file in files if file.endswith((".bin", ".pt", ".pkl", ".py"))]


def test_a_folder_and_a_stand_in_load_alike(tiny_towers):
    assert load(CLIPModel, str(tiny_towers / "clip")).config.projection_dim == 24
    assert load(CLIPTokenizer, "stand-in-clip")("a bell")["input_ids"]


def test_the_complaint_is_one_line():
    with pytest.raises(UserError) as told:
        load(CLIPModel, "nobody/nothing")
    assert "\n" not in str(told.value)
    assert "'nobody/nothing'" in str(told.value)


def test_the_callers_choice_of_logs_and_bars_stays(tiny_towers):
    from huggingface_hub.utils import logging as hub_logging
    from transformers import CLIPVisionModelWithProjection
    from transformers import logging as its_logging

    its_logging.set_verbosity_info()
    its_logging.enable_progress_bar()
    before = its_logging.get_verbosity(), hub_logging.get_verbosity()
    try:
        load_model(CLIPVisionModelWithProjection, str(tiny_towers / "clip"), {"clip"})
        load(CLIPTokenizer, str(tiny_towers / "clip"))
        assert (its_logging.get_verbosity(), hub_logging.get_verbosity()) == before
        assert its_logging.is_progress_bar_enabled()
    finally:
        its_logging.set_verbosity_warning()
