"""Caption generation by beam search, for many clips at once, with KV caches."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trichord.encoders.clip import restore_spacing
from trichord.encoders.text_kv_cache import TextKVCache
from trichord.encoders.words import WordEncoder
from trichord.models.beams import Decoding, Hypothesis, SpecialTokens, search
from trichord.models.captioner import Captioner
from trichord.models.cross import CrossCache
from trichord.models.embedder import Embedder
from trichord.types.decoding import WIDEST
from trichord.types.tensors import Features

ROWS_AT_ONCE = WIDEST
"""Beams of all clips in a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedCaption(Hypothesis):
    """A generated caption."""

    text: str


@dataclass
class CaptionScorer:
    """Scores tokens by the captioner, with caches of the media and of the tokens so far."""

    text: WordEncoder
    captioner: Captioner
    text_cache: TextKVCache
    media_cache: CrossCache

    def next_logits(self, ids: Int[Tensor, " row"]) -> Float[Tensor, "row token"]:
        """Logits of the next token, given the newest token of each sequence."""
        position = self.text_cache.length
        token = self.text.head(self.text_cache.next_features(ids))
        return self.captioner.next_logits(token, position, self.media_cache, self.text.table)

    def rows(self, indices: Int[Tensor, " row"]) -> "CaptionScorer":
        """The rows of some indices, in their order; an index may occur several times."""
        return replace(
            self,
            text_cache=self.text_cache.rows(indices),
            media_cache=self.media_cache.rows(indices),
        )


def write(
    model: Embedder,
    vision: Features | None,
    audio: Features | None,
    decoding: Decoding | None = None,
) -> list[list[GeneratedCaption]]:
    """Generate captions of clips.

    Captions do not depend on the other clips of the batch: likelihoods differ by less than 1e-5, and
    words only if two captions are that close.

    Args:
        model: With a captioner. Runs in evaluation mode; afterwards its modes are restored.
        vision: Frames; None if no clip has them.
        audio: Audio segments; None if no clip has them.
        decoding: As published by default.

    Returns:
        The best captions of each clip, best first; none for a clip without the captioner's modalities.
        Spelling is the tokenizer's (CLIP's: lower case).

    Raises:
        ValueError: The model has no captioner; neither vision nor audio is given, or of different
            numbers of clips; or `longest` is more than the captioner has positions.
    """
    decoding = decoding or Decoding()
    if model.captioner is None:
        raise ValueError("This model has no captioner.")
    text, captioner = model.word_encoder(), model.captioner
    most = longest_caption(text, captioner)
    if (longest := decoding.longest or most) > most:
        raise ValueError(f"At most {longest} tokens: the captioner has room for {most}.")
    special = SpecialTokens(start=text.start, end=text.end, forbidden=text.forbidden_tokens)
    readable = _readable(captioner, vision, audio)
    captions: list[list[GeneratedCaption]] = [[] for _ in readable]
    size = max(1, ROWS_AT_ONCE // decoding.beams)
    with torch.inference_mode(), _evaluating(text, captioner):
        for chunk in readable.nonzero()[:, 0].split(size):
            media = captioner.encode_media(_rows(vision, chunk), _rows(audio, chunk))
            scorer = CaptionScorer(text, captioner, text.token_cache(), media)
            results = search(scorer, len(chunk), special, decoding, longest)
            for clip, hypotheses in zip(chunk.tolist(), results, strict=True):
                texts = model.decode_tokens([one.tokens for one in hypotheses])
                captions[clip] = [
                    GeneratedCaption(text=restore_spacing(text), **asdict(one))
                    for text, one in zip(texts, hypotheses, strict=True)
                ]
    return captions


def longest_caption(text: WordEncoder, captioner: Captioner) -> int:
    """Most tokens of a caption, start and end included."""
    return min(captioner.layout.text, text.max_tokens or captioner.layout.text)


def _readable(
    captioner: Captioner, vision: Features | None, audio: Features | None
) -> Bool[Tensor, " clip"]:
    """Clips with a modality that the captioner reads."""
    features = {"vision": vision, "audio": audio}
    present = {name: one.present for name, one in features.items() if one is not None}
    if len({len(one) for one in present.values()}) != 1:
        raise ValueError("Captions need vision or audio, or both of equally many clips.")
    readable = torch.zeros_like(next(iter(present.values())))
    for name in captioner.reads:
        readable = readable | present.get(name, torch.zeros_like(readable))
    return readable


def _rows(features: Features | None, indices: Int[Tensor, " row"]) -> Features | None:
    if features is None:
        return None
    return Features(features.pooled[indices], features.steps[indices], features.mask[indices])


@contextmanager
def _evaluating(*modules: nn.Module) -> Generator[None]:
    """Run modules in evaluation mode, and restore the mode of each part afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
