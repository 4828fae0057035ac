import torch

from trichord.types.tensors import Batch, Embeddings, Features, Padded


def test_rows_are_padded_at_the_end_and_an_empty_one_is_absent():
    padded = Padded.stack([torch.ones(2, 3), torch.zeros(0, 3), 2 * torch.ones(1, 3)])
    assert padded.values.shape == (3, 2, 3)
    assert padded.mask.tolist() == [[True, True], [False, False], [True, False]]
    assert padded.present.tolist() == [True, False, True]
    assert padded.values[2, 0].tolist() == [2, 2, 2]


def test_rows_without_any_step_still_have_a_shape():
    padded = Padded.stack([torch.zeros(0, 3), torch.zeros(0, 3)])
    assert padded.values.shape == (2, 1, 3)
    assert not padded.present.any()


def test_integers_stay_integers():
    ids = Padded.stack([torch.tensor([[1, 2]]), torch.tensor([[3, 4]])])
    assert ids.values.dtype == torch.int64


def test_a_batch_moves_what_it_has():
    vision = Padded.stack([torch.ones(1, 2)])
    moved = Batch(ids=("a",), vision=vision, precomputed=("vision",)).to("meta")
    assert moved.vision.values.device.type == "meta"
    assert moved.audio is None
    assert moved.precomputed == ("vision",)
    assert moved.of("vision") is moved.vision


def test_embeddings_give_each_modality_by_name():
    one = Features(torch.ones(1, 2), torch.ones(1, 1, 2), torch.tensor([[True]]))
    embeddings = Embeddings(text=None, audio=one, vision=None)
    assert embeddings.of("audio") is one
    assert embeddings.of("text") is None
    assert one.present.tolist() == [True]


def test_a_batch_moves_the_masked_copy_and_the_sound_of_its_clips_too():
    batch = Batch(
        ids=("a", "b"),
        audio=Padded.stack([torch.ones(1, 2), torch.ones(2, 2)]),
        masked=Padded.stack([torch.zeros(1, 2), torch.zeros(2, 2)]),
        audio_type=torch.tensor([0.0, 1.0]),
    )
    moved = batch.to("meta")
    assert moved.masked.values.device.type == moved.masked.mask.device.type == "meta"
    assert moved.audio_type.device.type == "meta"
    assert moved.text is None
    assert moved.ids == ("a", "b")
    assert batch.audio_type.device.type == "cpu"


def test_embeddings_give_the_masked_copy_by_name_too():
    one = Features(torch.ones(1, 2), torch.ones(1, 1, 2), torch.tensor([[True]]))
    assert Embeddings(text=None, audio=None, vision=None, masked=one).of("masked") is one
    assert Embeddings(text=None, audio=one, vision=None).of("masked") is None


def test_features_of_which_nothing_is_real_are_absent():
    mask = torch.tensor([[False, False], [False, True]])
    assert Features(torch.ones(2, 3), torch.ones(2, 2, 3), mask).present.tolist() == [False, True]
