"""From a tower in torch to an ONNX graph of trunk and head: one step in, its projected vector out."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Shaped
from tokenizers import Tokenizer
from torch import Tensor, nn

from trichord.encoders.encoder import AudioEncoder, Encoder, TextEncoder
from trichord.encoders.graph import ALONE, FEATURES, SOUND, Graph
from trichord.types import UserError, first_line
from trichord.types.files import write_atomically

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
MULTIPLIED = ("MatMul", "Gemm")
"""What becomes eight bits wide: nearly all of the arithmetic. Convolutions and tables of tokens stay."""
LARGEST = 2**31 - 2**24
"""Bytes of a graph's weights: one file of the format holds 2 GiB."""
STEPS, TOKENS = "step", "token"


class _Whole(nn.Module):
    """Trunk and head of a tower."""

    def __init__(self, tower: Encoder) -> None:
        super().__init__()
        self.trunk = tower.trunk
        self.head = tower.head

    def forward(self, steps: Shaped[Tensor, "step ..."]) -> Float[Tensor, "step *token dim"]:
        return self.head(self.trunk(steps))


class _WithAudioType(nn.Module):
    """The same with where to listen, between verbal (0) and nonverbal (1), as a second input."""

    def __init__(self, tower: Encoder) -> None:
        super().__init__()
        self.trunk = tower.trunk
        self.head = tower.head

    def forward(
        self, steps: Float[Tensor, "step channel time mel"], audio_type: Float[Tensor, " step"]
    ) -> Float[Tensor, "step dim"]:
        return self.head(self.trunk(steps, audio_type))


def write_graph(tower: Encoder, path: Path, *, eight_bit: bool = False) -> None:
    """Write a tower as an ONNX graph, with dynamic axes for steps and tokens.

    Args:
        tower: In evaluation mode, on the CPU.
        path: The file.
        eight_bit: Multiply its matrices in eight bits, with scales per output channel of the weights
            and per step of what they are multiplied with.

    Raises:
        UserError: The extra is not installed, or the tower is larger than a file can be.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"There is no {missing[0]} to export with: pip install 'trichord[export]'.")
    _require_room(tower, path)
    with _quietly():
        model = _traced(tower).model_proto
        # Shapes that the exporter notes in passing contradict those that quantisation infers.
        del model.graph.value_info[:]
        if eight_bit:
            model = _narrowed(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = ALONE, "true" if eight_bit else "false"
    write_atomically(path, model.SerializeToString())


def write_text_graph(encoder: Encoder, graph: Path, tokenizer: Path) -> None:
    """Write a text encoder as an ONNX graph for a single text at a time, and its `tokenizer.json`.

    Weights go to a file of their own, named as the graph and `.data`: onnxruntime maps them into memory,
    where it would copy those inside a graph. There is no limit to their size.

    Args:
        encoder: In evaluation mode, on any device.
        graph: The file to write.
        tokenizer: The file of the tokenizer, which cuts texts at the encoder's length.

    Raises:
        UserError: The encoder cannot be written so.
    """
    if encoder.arithmetic == "bfloat16":
        raise UserError("its text encoder computes in half precision, which ONNX graphs do not")
    known: Any = encoder
    given: Any = getattr(known, "tokenizer", None)
    tokens: Any = getattr(given, "backend_tokenizer", given)  # `transformers` wraps the tokenizer
    if not isinstance(tokens, Tokenizer):
        raise UserError("the tokenizer of its text encoder cannot be written as tokenizer.json")
    copy = Tokenizer.from_str(tokens.to_str())
    copy.no_padding()
    copy.no_truncation()
    if known.max_tokens is not None:
        copy.enable_truncation(known.max_tokens)
    copy.save(str(tokenizer), pretty=False)
    import onnx_ir  # comes with onnxscript
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    model = _exported(encoder.trunk.file) if isinstance(encoder.trunk, Graph) else _written(encoder)
    # The exporter notes for each node which line of which file on this machine it comes from.
    ClearMetadataAndDocStringPass()(model)
    onnx_ir.save(model, str(graph), external_data=f"{graph.name}.data")


def _written(encoder: Encoder) -> Any:
    with _quietly():
        try:
            return _traced(encoder).model
        except torch.onnx.OnnxExporterError as error:
            message = first_line(error)
            raise UserError(f"torch cannot write its text encoder as ONNX ({message})") from error


def _exported(file: Path) -> Any:
    import onnx_ir

    try:
        return onnx_ir.load(str(file))
    except Exception as error:  # protobuf's, which onnx_ir does not re-export
        raise UserError(f"{file} is damaged") from error


def _require_room(tower: Encoder, path: Path) -> None:
    size = sum(value.numel() * value.element_size() for value in tower.state_dict().values())
    if size > LARGEST:
        raise UserError(
            f"{path.name}: a tower of {size / 2**30:.1f} GiB does not fit into one ONNX file: use the "
            "run itself, or --bf16."
        )


def _traced(tower: Encoder) -> Any:
    """The graph of a tower, as `torch.onnx` gives it."""
    device = next(chain(tower.parameters(), tower.buffers())).device
    examples = tuple(one.to(device) for one in example_inputs(tower))
    steps = torch.export.Dim(STEPS)
    shapes: list[dict[int, Any]] = [{0: steps} for _ in examples]
    if isinstance(tower, TextEncoder):
        longest = tower.max_tokens
        # Without a limit, columns may be tokens or parts of a vector: the exporter sees which.
        free = longest is None
        shapes[0][1] = torch.export.Dim.AUTO if free else torch.export.Dim(TOKENS, max=longest)
    with as_module(tower) as (whole, names), torch.no_grad():
        return torch.onnx.export(
            whole,
            examples[: len(names)],
            dynamo=True,
            dynamic_shapes=tuple(shapes[: len(names)]),
            input_names=names,
            output_names=[FEATURES],
            verbose=False,
        )


def example_inputs(tower: Encoder) -> tuple[Tensor, ...]:
    """Two steps as a tower takes them, and the audio type of each where it takes one."""
    types = (torch.tensor([0.25, 0.75]),) if tower.takes_audio_type else ()
    return (tower.example(), *types)


@contextmanager
def as_module(tower: Encoder) -> Generator[tuple[nn.Module, list[str]]]:
    """A tower as a module, and what its inputs are called.

    A mixture of audio type tokens is left open; both side by side, or none, are part of the graph.
    """
    if not isinstance(tower, AudioEncoder) or tower.audio_type in (None, "both", "none"):
        yield _Whole(tower).eval(), ["steps"]
        return
    with tower.listening_for("clip"):
        yield _WithAudioType(tower).eval(), ["steps", SOUND]


def _narrowed(model: Any) -> Any:
    """The same with matrices of eight bits, quantised by what they are multiplied with at the time."""
    from tempfile import TemporaryDirectory

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as place:
        path = Path(place) / "narrow.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=list(MULTIPLIED),
            per_channel=True,
            # Seven bits of weight: with eight, sums overflow on processors without VNNI.
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)


@contextmanager
def _quietly() -> Generator[None]:
    """Without what the exporter and the quantiser say to their developers."""
    names = ("torch.onnx._internal.exporter", "onnxscript", "onnx_ir", None)
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:  # torchvision, which is not needed, and a preparation that is done here
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`isinstance\(treespec", FutureWarning)
            # Steps of pictures and of audio type tokens are as many, and so have one name.
            warnings.filterwarnings("ignore", r"# The axis name: ", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
