"""Memory of pretrained models at their published sizes, with random weights, on a processor.

Each row is a process of its own, on one thread: it makes one model of `transformers` in float32 and reads
one batch, as the trunks of Trichord's encoders do. `weights` are the bytes of all parameters; `process` is
resident memory before the batch, Python and torch included, and `batch` is by how much the peak during the
batch exceeds it. Sizes are the default configs of `transformers` where those are the published ones;
SigLIP 2 B/16 is SigLIP's with the 256,000 tokens of SigLIP 2, MetaCLIP 2 ViT-B/32 has its 901,629 tokens,
Whisper is the encoder of its small model, and PE-AV is its sound and text without vision. At most
`AT_ONCE` inputs of a model are read at once, as its encoder does. Random weights need as much memory as
trained ones. Decoding, in processes of its own, is not counted. Needs Linux.

    python studies/towers_memory.py
    python studies/towers_memory.py MODEL INPUTS    (these rows again; the others stay)
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import RESULTS, record

BATCHES = (1, 16)
"""16: as many files as `Model.embed_vision` and `embed_audio` read at once, a frame or chunk of each."""
Reader = tuple[str, str, tuple[int, ...]] | Callable[[Any, int], Any]
"""The method that reads a batch, the name of its argument, and the size of an input; or a function of a
model and the number of inputs."""
Inputs = dict[str, Reader]
AT_ONCE = {
    "PE-AV, sound and text": 2,
    "EmbeddingGemma 2": 8,
    "AST": 8,
    "wav2vec2 or HuBERT, base": 8,
    "Whisper small, encoder": 8,
}
"""`batch_size` of the encoders of pictures and sounds, where it is less than 16; texts are read at once."""
SEEN = ("get_image_features", "pixel_values", (3, 224, 224))


def clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig())


def siglip2() -> Any:
    from transformers import SiglipConfig, SiglipModel

    marks = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}
    return SiglipModel(SiglipConfig(text_config={"vocab_size": 256_000, **marks}))


def clap() -> Any:
    from transformers import ClapConfig, ClapModel

    return ClapModel(ClapConfig())


def metaclip2() -> Any:
    from transformers import MetaClip2Config, MetaClip2Model

    return MetaClip2Model(MetaClip2Config(text_config={"vocab_size": 901_629}))


def chinese_clip() -> Any:
    from transformers import ChineseCLIPConfig, ChineseCLIPModel

    sizes = {"text_config": {"vocab_size": 21_128}, "vision_config": {"patch_size": 16}}
    return ChineseCLIPModel(ChineseCLIPConfig(**sizes))


def pe_av() -> Any:
    from transformers import PeAudioConfig, PeAudioModel

    return PeAudioModel(PeAudioConfig())


def embedding_gemma2() -> Any:
    from transformers import EmbeddingGemma2Config, EmbeddingGemma2Model

    return EmbeddingGemma2Model(EmbeddingGemma2Config(vision_config={}, audio_config={}))


def dinov2() -> Any:
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(Dinov2Config())


def ast() -> Any:
    from transformers import ASTConfig, ASTModel

    return ASTModel(ASTConfig())


def wav2vec2() -> Any:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    return Wav2Vec2Model(Wav2Vec2Config())


def whisper() -> Any:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = {"d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12}
    return WhisperEncoder(WhisperConfig(**sizes, encoder_ffn_dim=3072))


def pe_av_texts(whole: Any, batch: int) -> Any:
    import torch

    ids = torch.randint(3, 1000, (batch, 77))
    return whole.text_model(input_ids=ids, output_hidden_states=-1)


def _around(batch: int, token: int, count: int) -> Any:
    """Token ids of `batch` pictures or sounds of `count` tokens each."""
    import torch

    return torch.tensor([[2, *[token] * count, 1]] * batch)


def gemma_pictures(whole: Any, batch: int) -> Any:
    """Each of 280 tokens: 60 x 42 patches of 16 pixels, nine for a token."""
    import torch

    places = torch.cartesian_prod(torch.arange(60), torch.arange(42)).expand(batch, -1, -1)
    return whole(
        input_ids=_around(batch, whole.config.image_token_id, 280),
        pixel_values=torch.rand(batch, 60 * 42, 3 * 16 * 16),
        image_position_ids=places,
    )


def gemma_sounds(whole: Any, batch: int) -> Any:
    """Each of 30 s: 3,000 frames, four for a token."""
    import torch

    return whole(
        input_ids=_around(batch, whole.config.audio_token_id, 750),
        input_features=torch.randn(batch, 3_000, 128),
        input_features_mask=torch.ones(batch, 3_000, dtype=torch.bool),
    )


WAVES = ("forward", "input_values", (160_000,))
MODELS: dict[str, tuple[Callable[[], Any], Inputs]] = {
    "CLIP ViT-B/32": (
        clip,
        {"pictures": SEEN, "texts of 77 tokens": ("get_text_features", "input_ids", (77,))},
    ),
    "SigLIP 2 B/16": (
        siglip2,
        {"pictures": SEEN, "texts of 64 tokens": ("get_text_features", "input_ids", (64,))},
    ),
    "CLAP": (
        clap,
        {
            "chunks of 10 s": ("get_audio_features", "input_features", (1, 1001, 64)),
            "texts of 77 tokens": ("get_text_features", "input_ids", (77,)),
        },
    ),
    "MetaCLIP 2 ViT-B/32": (
        metaclip2,
        {"pictures": SEEN, "texts of 77 tokens": ("get_text_features", "input_ids", (77,))},
    ),
    "Chinese-CLIP ViT-B/16": (
        chinese_clip,
        {"pictures": SEEN, "texts of 52 tokens": ("get_text_features", "input_ids", (52,))},
    ),
    "PE-AV, sound and text": (
        pe_av,
        {
            "chunks of 30 s": ("get_audio_embeds", "input_values", (1, 1_440_000)),
            "texts of 77 tokens": pe_av_texts,
        },
    ),
    "EmbeddingGemma 2": (
        embedding_gemma2,
        {
            "pictures": gemma_pictures,
            "chunks of 30 s": gemma_sounds,
            "texts of 77 tokens": ("forward", "input_ids", (77,)),
        },
    ),
    "DINOv2 B/14": (dinov2, {"pictures": ("forward", "pixel_values", (3, 224, 224))}),
    "AST": (ast, {"chunks of 10.26 s": ("forward", "input_values", (1024, 128))}),
    "wav2vec2 or HuBERT, base": (wav2vec2, {"chunks of 10 s": WAVES}),
    "Whisper small, encoder": (
        whisper,
        {"chunks of 30 s": ("forward", "input_features", (80, 3_000))},
    ),
}


def mebibytes(field: str) -> float:
    """A field of this process's status: `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def _reader(reader: Reader, whole: Any, batch: int) -> Callable[[], Any]:
    """A call that reads a batch, which is made before the peak is measured where it is one tensor."""
    import torch

    if callable(reader):
        return lambda: reader(whole, batch)
    method, name, size = reader
    floats = torch.randn(batch, *size)
    values = torch.randint(3, 1000, (batch, *size)) if name == "input_ids" else floats
    return lambda: getattr(whole, method)(**{name: values})


def measure(model: str, inputs: str, batch: int) -> dict[str, float]:
    """One row, in a process that has done nothing else."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, kinds = MODELS[model]
    whole = make().eval()
    most = batch if inputs.startswith("texts") else AT_ONCE.get(model, batch)
    read = _reader(kinds[inputs], whole, min(batch, most))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = mebibytes("VmRSS")
    with torch.inference_mode():
        read()
    return {
        "million parameters": round(sum(one.numel() for one in whole.parameters()) / 1e6, 1),
        "weights, MiB": round(sum(one.nbytes for one in whole.parameters()) / 2**20),
        "process, MiB": round(before),
        "batch, MiB": round(mebibytes("VmHWM") - before),
    }


def main(chosen: tuple[str, ...] = ()) -> None:
    rows: dict[str, Any] = {}
    if chosen:
        rows = json.loads((RESULTS / "towers_memory.json").read_text())["models"]
    for model, (_, kinds) in MODELS.items():
        for inputs in kinds:
            if chosen in ((), (model, inputs)):
                rows.setdefault(model, {}).update(_rows(model, inputs))
    record("towers_memory", {"protocol": " ".join((__doc__ or "").split()), "models": rows})


def _rows(model: str, inputs: str) -> dict[str, Any]:
    """The rows of a kind of input, each by a process of its own."""
    rows: dict[str, Any] = {}
    for batch in BATCHES:
        print(f"{model}: {batch} {inputs}", flush=True)
        command = [sys.executable, __file__, model, inputs, str(batch)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows[f"{batch} {inputs}"] = json.loads(done.stdout)
    return rows


if __name__ == "__main__":
    if len(sys.argv) > 3:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main(tuple(sys.argv[1:]))
