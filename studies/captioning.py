"""Captions at full size: what keeping keys and values saves while words are written.

ViT-B/32's text tower with random weights and a generator of four layers write captions of 30 tokens for
16 clips of 12 frames and 16 sound segments each, on one thread: once with all that is kept, once with
texts and media read anew for each word, as the published code does (which also scores every place
again; here only the last one is scored). Both must choose the same tokens. Time is the process's own,
so that what else the machine does weighs little.

    python studies/captioning.py [FOLDER]
"""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from record import record
from step import folder_of_random_towers, named
from torch import Tensor, nn

from trichord.experiments.clip4vla import captioning
from trichord.models.beams import Decoding, Hypothesis, Scorer, SpecialTokens, search
from trichord.models.decoding import CaptionScorer
from trichord.models.embedder import Embedder
from trichord.models.sequence import attend
from trichord.types.tensors import Features

CLIPS, FRAMES, SEGMENTS, TOKENS = 16, 12, 16, 30


@dataclass
class ReadAnew:
    """Keeps the tokens alone: the text tower and the generator read all of them, and media, again."""

    model: Embedder
    vision: Features
    audio: Features
    ids: Tensor | None = None

    def next_logits(self, ids: Tensor) -> Tensor:
        """Scores of what may follow the newest tokens."""
        newest = ids[:, None]
        self.ids = newest if self.ids is None else torch.cat([self.ids, newest], dim=1)
        text, captioner = self.model.text, self.model.captioner
        steps = text.head(text.run_trunk(self.ids))
        segment = captioner.layout.text_segment(steps, torch.ones_like(self.ids, dtype=torch.bool))
        shown = captioner.layout.media_segments(self.vision, self.audio)
        places = self.ids.shape[1]
        hidden = attend(captioner.cross, [segment, *shown], causal_steps=places)
        return captioner.score(hidden[:, places - 1], text.table)

    def rows(self, chosen: Tensor) -> "ReadAnew":
        """These texts, in this order."""
        vision, audio = (rows(one, chosen) for one in (self.vision, self.audio))
        return replace(self, vision=vision, audio=audio, ids=self.ids[chosen])


def rows(features: Features, chosen: Tensor) -> Features:
    return Features(features.pooled[chosen], features.steps[chosen], features.mask[chosen])


def features(steps: int, dim: int) -> Features:
    there = torch.ones(CLIPS, steps, dtype=torch.bool)
    return Features(torch.randn(CLIPS, dim), torch.randn(CLIPS, steps, dim), there)


def model_of_published_size(place: Path) -> Embedder:
    towers = folder_of_random_towers(place)
    model = named(captioning("captions", "vision", "audio"), towers).model.build().eval()
    # Fresh weights find all words about as likely: rounding would choose between them.
    nn.init.constant_(model.captioner.turn_norm.weight, 5.0)
    return model


def timed(
    scorer: Scorer, marks: SpecialTokens, decoding: Decoding
) -> tuple[float, list[list[Hypothesis]]]:
    """Seconds of all clips' captions, and these."""
    begun = time.process_time()
    captions = search(scorer, CLIPS, marks, decoding, TOKENS + 1)
    return time.process_time() - begun, captions


def measure(model: Embedder, beams: int) -> dict[str, object]:
    """Tokens a second with and without what is kept."""
    torch.manual_seed(1)
    vision, audio = features(FRAMES, model.dim), features(SEGMENTS, model.dim)
    tokenizer = model.text.tokenizer
    forbidden = torch.zeros(len(model.text.table), dtype=torch.bool)
    forbidden[[tokenizer.bos_token_id, model.text.end]] = True  # so that no caption ends early
    marks = SpecialTokens(start=tokenizer.bos_token_id, end=model.text.end, forbidden=forbidden)
    decoding = Decoding(beams=beams, keep=1)
    begun = time.process_time()
    captioner = model.captioner
    media = captioner.encode_media(vision, audio)
    scorer = CaptionScorer(model.text, captioner, model.text.token_cache(), media)
    looking = time.process_time() - begun
    kept, captions = timed(scorer, marks, decoding)
    anew, expected = timed(ReadAnew(model, vision, audio), marks, decoding)
    tokens = [[one.tokens for one in best] for best in captions]
    assert tokens == [[one.tokens for one in best] for best in expected]
    assert all(len(best[0].tokens) == TOKENS + 1 for best in captions)
    kept += looking
    return {
        "tokens a second, kept": round(CLIPS * TOKENS / kept, 1),
        "tokens a second, read anew": round(CLIPS * TOKENS / anew, 1),
        "ratio": round(anew / kept, 1),
        "different captions of the clips": len({best[0].tokens for best in captions}),
    }


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    model = model_of_published_size(Path(sys.argv[1] if len(sys.argv) > 1 else "step"))
    result = {
        "protocol": "one thread",
        "clips": CLIPS,
        "tokens of a caption": TOKENS,
        **{f"beams {beams}": measure(model, beams) for beams in (1, 5)},
    }
    record("captioning", result)


if __name__ == "__main__":
    main()
