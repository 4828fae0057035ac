"""The authors' CLIP4VLA on its published names: plain tensor algebra, independent of ours."""

import math

import torch
import torch.nn.functional as F  # noqa: N812

from trichord.types.tensors import Batch, Padded

# Sizes at which no two of the inferred numbers are alike.
DIM, TEXT, VISION, PATCH, SIDE = 128, 256, 192, 16, 32
TEXT_LAYERS, VISION_LAYERS, CROSS_LAYERS = 2, 3, 2
TEXT_HEADS, VISION_HEADS = 4, 3
CROSS_HEADS = {"clip": 4, "bert": 2}
MERGES = ("t h", "th e</w>", "a n", "d o", "do g</w>", "b e", "l l</w>", "r i", "n g", "ng s</w>")
WORDS, FRAMES, SEGMENTS = 32, 12, 16
START, END = 512 + len(MERGES), 513 + len(MERGES)
PAD, VOCABULARY = END + 3, END + 4
TEXTS = ["the dog", "a bell rings, the dog barks and a bird answers", "hm"]
SHOWN, HEARD = [3, 12, 1, 0], [2, 0, 5, 4]


# The independent model


def draw(shapes, seed=0):
    """Weights at which every part of the model matters."""
    made = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=made)
        if name.endswith(".weight") and len(shape) == 1:  # of a norm
            state[name] = 1 + 0.3 * value
        else:
            state[name] = value * (0.3 if len(shape) < 2 else shape[-1] ** -0.5)
    return state


def clip_block(name, width):
    return {
        f"{name}.attn.in_proj_weight": (3 * width, width),
        f"{name}.attn.in_proj_bias": (3 * width,),
        f"{name}.attn.out_proj.weight": (width, width),
        f"{name}.attn.out_proj.bias": (width,),
        f"{name}.ln_1.weight": (width,),
        f"{name}.ln_1.bias": (width,),
        f"{name}.mlp.c_fc.weight": (4 * width, width),
        f"{name}.mlp.c_fc.bias": (4 * width,),
        f"{name}.mlp.c_proj.weight": (width, 4 * width),
        f"{name}.mlp.c_proj.bias": (width,),
        f"{name}.ln_2.weight": (width,),
        f"{name}.ln_2.bias": (width,),
    }


def bert_block(name, width):
    shapes = {}
    sizes = {
        "attention.self.query": (width, width),
        "attention.self.key": (width, width),
        "attention.self.value": (width, width),
        "attention.output.dense": (width, width),
        "attention.output.LayerNorm": (width,),
        "intermediate.dense": (6 * width, width),
        "output.dense": (width, 6 * width),
        "output.LayerNorm": (width,),
    }
    for part, shape in sizes.items():
        shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
    return shapes


def tower(name, places):
    shapes = {
        f"{name}.class_embedding": (VISION,),
        f"{name}.positional_embedding": (places, VISION),
        f"{name}.proj": (VISION, DIM),
        f"{name}.conv1.weight": (VISION, 3, PATCH, PATCH),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"{name}.{norm}.weight": (VISION,), f"{name}.{norm}.bias": (VISION,)}
    for n in range(VISION_LAYERS):
        shapes |= clip_block(f"{name}.transformer.resblocks.{n}", VISION)
    return shapes


def clip_shapes(prefix=""):
    shapes = {
        "positional_embedding": (77, TEXT),
        "text_projection": (TEXT, DIM),
        "logit_scale": (),
        "token_embedding.weight": (VOCABULARY if prefix else VOCABULARY - 3, TEXT),
        "ln_final.weight": (TEXT,),
        "ln_final.bias": (TEXT,),
    } | tower("visual", 1 + (SIDE // PATCH) ** 2)
    for n in range(TEXT_LAYERS):
        shapes |= clip_block(f"transformer.resblocks.{n}", TEXT)
    return {prefix + name: shape for name, shape in shapes.items()}


def cross_shapes(form, below=""):
    start = f"cross.{below}"
    shapes = {f"{start}token_type_embeddings.weight": (3, DIM)}
    if form == "clip":
        shapes[f"{start}positional_embedding"] = (77, DIM)
        for n in range(CROSS_LAYERS):
            shapes |= clip_block(f"cross.transformer.resblocks.{n}", DIM)
        return shapes
    shapes |= {
        f"{start}position_embeddings.weight": (512, DIM),
        f"{start}LayerNorm.weight": (DIM,),
        f"{start}LayerNorm.bias": (DIM,),
        "cross.pooler.dense.weight": (DIM, DIM),
        "cross.pooler.dense.bias": (DIM,),
    }
    for n in range(CROSS_LAYERS):
        shapes |= bert_block(f"cross.encoder.layer.{n}", DIM)
    return shapes


def caption_shapes():
    """Of the head of a captioner, whose table of tokens is the text tower's."""
    name = "cls.predictions"
    return {
        f"{name}.transform.dense.weight": (TEXT, DIM),
        f"{name}.transform.dense.bias": (TEXT,),
        f"{name}.transform.LayerNorm.weight": (TEXT,),
        f"{name}.transform.LayerNorm.bias": (TEXT,),
        f"{name}.bias": (VOCABULARY,),
    }


def captioning(form="clip", *, scores=False):
    """A state_dict of the authors' captioner; with `scores`, its transformer scores pairs too."""
    state = checkpoint(form) | draw(caption_shapes(), 1)
    state["cls.predictions.decoder.weight"] = state["clip.token_embedding.weight"].clone()
    return {k: v for k, v in state.items() if scores or not k.startswith("similarity_dense.")}


def classifying(classes=50):
    """A state_dict of the authors' classifier of sounds."""
    shapes = {"0.weight": (DIM,), "0.bias": (DIM,), "1.weight": (classes, DIM)}
    head = draw(shapes | {"1.bias": (classes,)}, 2)
    return checkpoint(None) | {f"cls_linear.{name}": value for name, value in head.items()}


def checkpoint(form="clip", *, tokens=True, below=None):
    """A state_dict as the authors write it; `form` None: pretrained, without cross transformer."""
    places = 1 + (SIDE // PATCH) ** 2 + tokens
    shapes = clip_shapes("clip.") | tower("audio.visual", places)
    if tokens:
        shapes["audio.visual.control_embedding"] = (2, VISION)
    if form:
        below = ("embeddings." if form == "bert" else "") if below is None else below
        shapes |= cross_shapes(form, below)
        shapes |= {"similarity_dense.weight": (1, DIM), "similarity_dense.bias": (1,)}
    return draw(shapes)


def norm(w, name, x, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return centred / deviation * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attention(query, key, value, heads, added):
    """Head by head; `added` (batch or 1, query, key) goes onto the scores."""
    mixed = []
    parts = zip(*(x.chunk(heads, dim=-1) for x in (query, key, value)), strict=True)
    for q, k, v in parts:
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + added
        mixed.append(scores.softmax(-1) @ v)
    return torch.cat(mixed, dim=-1)


def clip_blocks(w, name, x, heads, added):
    n = 0
    while f"{name}.{n}.ln_1.weight" in w:
        block = f"{name}.{n}"
        inner = norm(w, f"{block}.ln_1", x)
        packed = inner @ w[f"{block}.attn.in_proj_weight"].T + w[f"{block}.attn.in_proj_bias"]
        seen = attention(*packed.chunk(3, dim=-1), heads, added)
        x = x + linear(w, f"{block}.attn.out_proj", seen)
        wide = linear(w, f"{block}.mlp.c_fc", norm(w, f"{block}.ln_2", x))
        x = x + linear(w, f"{block}.mlp.c_proj", wide * torch.sigmoid(1.702 * wide))
        n += 1
    return x


def text_features(w, ids):
    """(batch, token) ids to projected features of every token."""
    count = ids.shape[1]
    x = w["clip.token_embedding.weight"][ids] + w["clip.positional_embedding"][:count]
    later = torch.full((1, count, count), float("-inf")).triu(1)
    x = clip_blocks(w, "clip.transformer.resblocks", x, TEXT_HEADS, later)
    return norm(w, "clip.ln_final", x) @ w["clip.text_projection"]


def picture_features(w, name, pictures, tokens=None):
    """(picture, 3, side, side) to features; audio type tokens (picture, token, width) after the patches."""
    patches = F.conv2d(pictures, w[f"{name}.conv1.weight"], stride=PATCH)
    patches = patches.flatten(2).transpose(1, 2)
    first = w[f"{name}.class_embedding"].expand(len(patches), 1, -1)
    places = w[f"{name}.positional_embedding"]
    if tokens is None:
        x = torch.cat([first, patches], dim=1) + places
    else:  # two tokens share the last position
        x = torch.cat([first, patches, tokens], dim=1)
        x = x + torch.cat([places, places[-1:].repeat(tokens.shape[1] - 1, 1)])
    x = norm(w, f"{name}.ln_pre", x)
    x = clip_blocks(w, f"{name}.transformer.resblocks", x, VISION_HEADS, torch.zeros(1))
    return norm(w, f"{name}.ln_post", x[:, 0]) @ w[f"{name}.proj"]


def sound_features(w, pictures, token, kinds=None):
    table = w.get("audio.visual.control_embedding")
    if token == "none":
        tokens = None
    elif token == "both":
        tokens = table.expand(len(pictures), 2, -1)
    elif token == "clip":
        tokens = table[kinds][:, None]
    else:
        tokens = ((1 - token) * table[0] + token * table[1]).expand(len(pictures), 1, -1)
    return picture_features(w, "audio.visual", pictures, tokens)


def cross(w, parts):
    """Steps and masks of modalities, in order, to outputs of all steps and of the first one."""
    x = torch.cat([steps for steps, _, _ in parts], dim=1)
    mask = torch.cat([mask for _, mask, _ in parts], dim=1).float()
    kinds = torch.cat([torch.full((steps.shape[1],), kind) for steps, _, kind in parts])
    below = "cross.embeddings." if any(k.startswith("cross.embeddings.") for k in w) else "cross."
    added = (1 - mask)[:, None] * -1e6
    x = x + w[f"{below}token_type_embeddings.weight"][kinds]
    if "cross.pooler.dense.weight" not in w:
        x = x + w[f"{below}positional_embedding"][: x.shape[1]]
        x = clip_blocks(w, "cross.transformer.resblocks", x, CROSS_HEADS["clip"], added)
        return x, x[:, 0]
    x = norm(
        w, f"{below}LayerNorm", x + w[f"{below}position_embeddings.weight"][: x.shape[1]], 1e-12
    )
    for n in range(CROSS_LAYERS):
        block = f"cross.encoder.layer.{n}"
        packed = [linear(w, f"{block}.attention.self.{p}", x) for p in ("query", "key", "value")]
        seen = attention(*packed, CROSS_HEADS["bert"], added)
        seen = linear(w, f"{block}.attention.output.dense", seen)
        x = norm(w, f"{block}.attention.output.LayerNorm", x + seen, 1e-12)
        wide = linear(w, f"{block}.intermediate.dense", x)
        wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
        x = norm(
            w, f"{block}.output.LayerNorm", x + linear(w, f"{block}.output.dense", wide), 1e-12
        )
    return x, torch.tanh(linear(w, "cross.pooler.dense", x[:, 0]))


def caption_logits(w, ids, real, parts):
    """Scores of the word after each token, padded as published.

    Args:
        w: The state_dict.
        ids: (caption, token), start first; positions of what follows begin behind all of them.
        real: Which tokens are there.
        parts: (steps, mask, kind) of frames and of segments, or of one of them.
    """
    count = ids.shape[1]
    x = torch.cat([text_features(w, ids), *(steps for steps, _, _ in parts)], dim=1)
    kinds = [0] * count + [kind for steps, _, kind in parts for _ in range(steps.shape[1])]
    there = torch.cat([real, *(mask for _, mask, _ in parts)], dim=1).float()
    sees = there[:, None].repeat(1, x.shape[1], 1)
    sees[:, count:, :count] = 0
    sees[:, :count, :count] *= torch.ones(count, count).tril()
    x = x + w["cross.positional_embedding"][: x.shape[1]]
    x = x + w["cross.token_type_embeddings.weight"][kinds]
    added = (1 - sees) * -1e6
    x = clip_blocks(w, "cross.transformer.resblocks", x, CROSS_HEADS["clip"], added)[:, :count]
    head = "cls.predictions"
    x = linear(w, f"{head}.transform.dense", x)
    x = norm(w, f"{head}.transform.LayerNorm", x * torch.sigmoid(1.702 * x), 1e-12)
    return x @ w[f"{head}.decoder.weight"].T + w[f"{head}.bias"]


def unit(x):
    return x / (x.norm(dim=-1, keepdim=True) + 1e-10)


def mean(x, mask):
    weight = mask.float().unsqueeze(-1)
    return unit((unit(x) * weight).sum(1) / (weight.sum(1) + 1e-10))


def scores(w, level, said, shown, heard):
    """The authors' logits (scale 100) of texts against clips; each side is (steps, mask), padded."""
    ends = said[0][torch.arange(len(said[0])), said[1].sum(1) - 1]
    asked = ends / ends.norm(dim=-1, keepdim=True)
    if level == "global_to_local":
        out, _ = cross(w, [(*shown, 1), (*heard, 2)])
        shown, heard = (out[:, :FRAMES], shown[1]), (out[:, FRAMES:], heard[1])
    if level.startswith("global"):
        return 100 * asked @ ((mean(*shown) + mean(*heard)) / 2).T
    rows = []
    for i in range(len(asked)):
        first = (asked[i][None, None], torch.ones(1, 1)) if level == "tight" else None
        steps, mask = first or (said[0][i : i + 1], said[1][i : i + 1].float())
        clips = len(shown[0])
        text = (steps.expand(clips, -1, -1), mask.expand(clips, -1), 0)
        _, whole = cross(w, [text, (*shown, 1), (*heard, 2)])
        rows.append(100 * linear(w, "similarity_dense", whole)[:, 0])
    return torch.stack(rows)


# What goes in


def padded(lengths, longest, shape=(3, SIDE, SIDE), seed=3):
    values = torch.randn(
        len(lengths), longest, *shape, generator=torch.Generator().manual_seed(seed)
    )
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return Padded(values, mask)


def token_ids(model):
    """Ids of the texts as the authors pad them, and their mask."""
    ids = model.text.prepare(TEXTS)
    ids = F.pad(ids, (0, WORDS - ids.shape[1]), value=PAD)
    return ids, ids != PAD


def towers_of(w, model, token=0.5):
    """Everything that the independent model makes of the towers' inputs, padded as published."""
    ids, real = token_ids(model)
    shown, heard = padded(SHOWN, FRAMES), padded(HEARD, SEGMENTS, seed=4)
    frames = picture_features(w, "clip.visual", shown.values.flatten(0, 1))
    segments = sound_features(w, heard.values.flatten(0, 1), token)
    return (
        (text_features(w, ids), real),
        (frames.unflatten(0, shown.mask.shape), shown.mask),
        (segments.unflatten(0, heard.mask.shape), heard.mask),
    )


def batch_for(model):
    ids = model.text.prepare(TEXTS)[:, None]
    text = Padded(ids, torch.ones(len(TEXTS), 1, dtype=torch.bool))
    audio, vision = padded(HEARD, SEGMENTS, seed=4), padded(SHOWN, FRAMES)
    return Batch(ids=("a", "b", "c", "d"), text=text, audio=audio, vision=vision)


def error(found, expected):
    """Relative to the size of what is expected."""
    return ((found - expected).norm() / expected.norm()).item()
