"""Writing captions: greedily or by beams, over many clips at once, nothing computed twice."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trichord.encoders.clip import restore_spacing
from trichord.encoders.words import TokenCache, WordEncoder
from trichord.models.beams import Decoding, Hypothesis, SpecialTokens, search
from trichord.models.captioner import Captioner
from trichord.models.cross import CrossCache
from trichord.models.embedder import Embedder
from trichord.types.decoding import WIDEST
from trichord.types.tensors import Features

ROWS_AT_ONCE = WIDEST
"""Beams of all clips that are written side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedCaption(Hypothesis):
    """A caption that the model wrote."""

    text: str


@dataclass
class CaptionScorer:
    """Scores words by the captioner; what it made of media and of the words before is kept."""

    text: WordEncoder
    captioner: Captioner
    text_cache: TokenCache
    media_cache: CrossCache

    @classmethod
    def start(
        cls, model: Embedder, vision: Features | None, audio: Features | None
    ) -> "CaptionScorer":
        """Has seen and heard the clips and read no token yet.

        Raises:
            ValueError: The model has no captioner.
        """
        text, captioner = _parts(model)
        return cls(text, captioner, text.token_cache(), captioner.encode_media(vision, audio))

    def next_logits(self, ids: Int[Tensor, " row"]) -> Float[Tensor, "row token"]:
        """Scores before the softmax of what may follow, given the newest token of each text."""
        position = self.text_cache.length
        token = self.text.head(self.text_cache.next_features(ids))
        return self.captioner.next_logits(token, position, self.media_cache, self.text.table)

    def rows(self, indices: Int[Tensor, " row"]) -> "CaptionScorer":
        """These texts, in this order; a text may be taken several times."""
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
    """Write captions of clips.

    Each clip's captions are the same whatever clips stand beside it: to 1e-5 in their likelihoods,
    hence in their words unless two of them are as likely as that.

    Args:
        model: With a captioner. Runs in evaluation mode and is given back as it was.
        vision: Frames; None where no clip has them.
        audio: Audio segments; None where no clip has them.
        decoding: As published if left out.

    Returns:
        Of each clip the best captions, best first; none where it has nothing of what the captioner
        reads. A text is as the tokenizer spells it (CLIP's: lower case), without blanks around it.

    Raises:
        ValueError: The model has no captioner; neither sight nor sound is given, or not of the same
            number of clips; or `longest` is more than there is room for.
    """
    decoding = decoding or Decoding()
    text, captioner = _parts(model)
    longest = _max_length(text, captioner, decoding)
    special = SpecialTokens(start=text.start, end=text.end, forbidden=text.forbidden_tokens)
    readable = _readable(captioner, vision, audio)
    captions: list[list[GeneratedCaption]] = [[] for _ in readable]
    size = max(1, ROWS_AT_ONCE // decoding.beams)
    with torch.inference_mode(), _evaluating(text, captioner):
        for chunk in readable.nonzero()[:, 0].split(size):
            scorer = CaptionScorer.start(model, _rows(vision, chunk), _rows(audio, chunk))
            results = search(scorer, len(chunk), special, decoding, longest)
            for clip, hypotheses in zip(chunk.tolist(), results, strict=True):
                captions[clip] = _captions(model, hypotheses)
    return captions


def _parts(model: Embedder) -> tuple[WordEncoder, Captioner]:
    if model.captioner is None:
        raise ValueError("This model has no captioner.")
    return model.word_encoder(), model.captioner


def longest_caption(text: WordEncoder, captioner: Captioner) -> int:
    """Tokens that a caption may have, start and end included."""
    return min(captioner.layout.text, text.max_tokens or captioner.layout.text)


def _max_length(text: WordEncoder, captioner: Captioner, decoding: Decoding) -> int:
    """Tokens of the longest caption."""
    most = longest_caption(text, captioner)
    if (longest := decoding.longest or most) > most:
        raise ValueError(f"At most {longest} tokens: the captioner has room for {most}.")
    return longest


def _readable(
    captioner: Captioner, vision: Features | None, audio: Features | None
) -> Bool[Tensor, " clip"]:
    """Which clips have something that the captioner reads."""
    features = {"vision": vision, "audio": audio}
    present = {name: one.present for name, one in features.items() if one is not None}
    if len({len(one) for one in present.values()}) != 1:
        raise ValueError("Captions are written of sight or sound, of as many clips if of both.")
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
    """Run modules in evaluation mode; each part of them has its own mode again afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _captions(model: Embedder, hypotheses: list[Hypothesis]) -> list[GeneratedCaption]:
    texts = model.decode_tokens([one.tokens for one in hypotheses])
    return [
        GeneratedCaption(
            text=restore_spacing(text),
            tokens=one.tokens,
            log_likelihood=one.log_likelihood,
            score=one.score,
            cut=one.cut,
        )
        for text, one in zip(texts, hypotheses, strict=True)
    ]
