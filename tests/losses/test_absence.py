import torch

from trichord.losses.missing import pad_missing
from trichord.types.tensors import Embeddings, Features

# What ranks lend one another is shown in test_ranks.py, by terms of which some ranks lack a side.


def test_one_process_lacks_nothing_that_others_have():
    text = Features(torch.ones(2, 3), torch.ones(2, 1, 3), torch.ones(2, 1, dtype=torch.bool))
    alone = Embeddings(text, None, None)
    assert pad_missing(alone, 2) == alone
    assert pad_missing(Embeddings(None, None, None), 2) == Embeddings(None, None, None)
