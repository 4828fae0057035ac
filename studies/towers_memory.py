"""Memory of pretrained models at their published sizes, with random weights, on a processor.

Each row is a process of its own, on one thread: it makes one model of `transformers` in float32 and reads
one batch, as the trunks of Trichord's encoders do. `weights` are the bytes of all parameters; `process` is
resident memory before the batch, Python and torch included, and `batch` is by how much the peak during the
batch exceeds it. CLIP ViT-B/32 and CLAP (HTSAT, unfused) are the default configs of `transformers`;
SigLIP 2 B/16 is SigLIP's with the 256,000 tokens of SigLIP 2. Random weights need as much memory as trained
ones. Decoding, in processes of its own, is not counted. Needs Linux.

    python studies/towers_memory.py
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import record

BATCHES = (1, 16)
"""16: as many files as `Model.embed_vision` and `embed_audio` read at once, a frame or chunk of each."""
Inputs = dict[str, tuple[str, str, tuple[int, ...]]]
"""By kind: the method that reads them, the name of its argument, and the size of an input."""
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
}


def mebibytes(field: str) -> float:
    """A field of this process's status: `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def measure(model: str, inputs: str, batch: int) -> dict[str, float]:
    """One row, in a process that has done nothing else."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    make, kinds = MODELS[model]
    method, name, size = kinds[inputs]
    whole = make().eval()
    floats = torch.randn(batch, *size)
    values = torch.randint(3, 1000, (batch, *size)) if name == "input_ids" else floats
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    before = mebibytes("VmRSS")
    with torch.inference_mode():
        getattr(whole, method)(**{name: values})
    return {
        "million parameters": round(sum(one.numel() for one in whole.parameters()) / 1e6, 1),
        "weights, MiB": round(sum(one.nbytes for one in whole.parameters()) / 2**20),
        "process, MiB": round(before),
        "batch, MiB": round(mebibytes("VmHWM") - before),
    }


def main() -> None:
    rows: dict[str, Any] = {}
    for model, (_, kinds) in MODELS.items():
        for inputs in kinds:
            for batch in BATCHES:
                command = [sys.executable, __file__, model, inputs, str(batch)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                rows.setdefault(model, {})[f"{batch} {inputs}"] = json.loads(done.stdout)
    record("towers_memory", {"protocol": " ".join((__doc__ or "").split()), "models": rows})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main()
