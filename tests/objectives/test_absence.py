import torch

from trichord.objectives import completed
from trichord.types.tensors import Embeddings, Features

# What ranks lend one another is shown in test_ranks.py, by terms of which some ranks lack a side.


def test_one_process_lacks_nothing_that_others_have():
    text = Features(torch.ones(2, 3), torch.ones(2, 1, 3), torch.ones(2, 1, dtype=torch.bool))
    alone = Embeddings(text, None, None)
    assert completed(alone, 2) == alone
    assert completed(Embeddings(None, None, None), 2) == Embeddings(None, None, None)
