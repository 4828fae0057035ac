"""Export of an encoder to an ONNX graph of trunk and head: it projects each step."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from threading import RLock
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
"""Operators quantised to eight bits: nearly all of the arithmetic. Convolutions and embeddings stay."""
LARGEST = 2**31 - 2**24
"""Bytes of a graph's weights: the format limits a file to 2 GiB."""
STEPS, TOKENS = "step", "token"


class _Whole(nn.Module):
    """Trunk and head of a tower.

    The second input of some is the audio type between verbal (0) and nonverbal (1).
    """

    def __init__(self, tower: Encoder) -> None:
        super().__init__()
        self.trunk = tower.trunk
        self.head = tower.head

    def forward(
        self, steps: Shaped[Tensor, "step ..."], audio_type: Float[Tensor, " step"] | None = None
    ) -> Float[Tensor, "step *token dim"]:
        read = self.trunk(steps) if audio_type is None else self.trunk(steps, audio_type)
        return self.head(read)


def write_graph(tower: Encoder, path: Path, *, eight_bit: bool = False) -> None:
    """Write an encoder as an ONNX graph, with dynamic axes for steps and tokens.

    Args:
        tower: In evaluation mode, on the CPU.
        path: The file.
        eight_bit: Quantise matrix products to eight bits, with a scale per output channel of the weights
            and per step of the activations.

    Raises:
        UserError: The extra is not installed, or the encoder is too large for one file.
    """
    require_exportable(tower, path)
    with _quietly():
        model = _traced(tower).model_proto
        # Shapes that the exporter writes contradict those that quantisation infers.
        del model.graph.value_info[:]
        if eight_bit:
            model = _narrowed(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = ALONE, "true" if eight_bit else "false"
    write_atomically(path, model.SerializeToString())


def require_exportable(tower: Encoder, path: Path) -> None:
    """Require what can be known before an encoder is written: packages, fixed shapes, its size.

    Args:
        tower: The encoder.
        path: The file to write.

    Raises:
        UserError: The extra is not installed, the encoder cannot be exported, or it is too large for one
            file.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"There is no {missing[0]} to export with: pip install 'trichord[export]'.")
    if tower.no_export:
        raise UserError(f"{path.stem}: {tower.no_export}: use the run itself, or --bf16.")
    size = sum(value.numel() * value.element_size() for value in tower.state_dict().values())
    if size > LARGEST:
        raise UserError(
            f"{path.name}: a tower of {size / 2**30:.1f} GiB does not fit into one ONNX file: use the "
            "run itself, or --bf16."
        )


def write_text_graph(encoder: Encoder, graph: Path, tokenizer: Path) -> None:
    """Write a text encoder as an ONNX graph for a single text at a time, and its `tokenizer.json`.

    Weights go to a file of their own, named as the graph and `.data`: onnxruntime maps them into memory,
    where it would copy those inside a graph. There is no limit to their size.

    Args:
        encoder: In evaluation mode, on any device.
        graph: The file to write.
        tokenizer: The file of the tokenizer, which cuts texts at the encoder's length.

    Raises:
        UserError: The encoder cannot be exported.
    """
    if encoder.arithmetic == "bfloat16":
        raise UserError("its text encoder computes in half precision, which ONNX graphs do not")
    any_encoder: Any = encoder
    wrapper: Any = getattr(any_encoder, "tokenizer", None)
    tokens: Any = getattr(
        wrapper, "backend_tokenizer", wrapper
    )  # `transformers` wraps the tokenizer
    if not isinstance(tokens, Tokenizer):
        raise UserError("the tokenizer of its text encoder cannot be written as tokenizer.json")
    copy = Tokenizer.from_str(tokens.to_str())
    copy.no_padding()
    copy.no_truncation()
    if any_encoder.max_tokens is not None:
        copy.enable_truncation(any_encoder.max_tokens)
    if any_encoder.pads_to_max:
        copy.enable_padding(
            direction=wrapper.padding_side,
            pad_id=wrapper.pad_token_id,
            pad_token=wrapper.pad_token,
            length=any_encoder.max_tokens,
        )
    copy.save(str(tokenizer), pretty=False)
    import onnx_ir  # comes with onnxscript
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    model = _text_model(encoder)
    # The exporter writes into each node the file and line of this machine that it comes from.
    ClearMetadataAndDocStringPass()(model)
    onnx_ir.save(model, str(graph), external_data=f"{graph.name}.data")


def _text_model(encoder: Encoder) -> Any:
    """The graph of a text encoder, from torch or from the file that it was exported to."""
    import onnx_ir

    if isinstance(encoder.trunk, Graph):
        try:
            return onnx_ir.load(str(encoder.trunk.file))
        except Exception as error:  # protobuf's, which onnx_ir does not re-export
            raise UserError(f"{encoder.trunk.file} is damaged") from error
    with _quietly():
        try:
            return _traced(encoder).model
        except torch.onnx.OnnxExporterError as error:
            message = first_line(error)
            raise UserError(f"torch cannot write its text encoder as ONNX ({message})") from error


def _traced(tower: Encoder) -> Any:
    """The graph of an encoder, from `torch.onnx`."""
    device = next(chain(tower.parameters(), tower.buffers())).device
    examples = tuple(one.to(device) for one in example_inputs(tower))
    steps = torch.export.Dim(STEPS)
    shapes: list[dict[int, Any]] = [{0: steps} for _ in examples]
    if isinstance(tower, TextEncoder):
        longest = tower.max_tokens
        # Without a limit, columns may be tokens or parts of a vector: the exporter sees which.
        if not tower.pads_to_max:
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
    """Two steps of inputs, and the audio type of each if the encoder takes one."""
    types = (torch.tensor([0.25, 0.75]),) if tower.takes_audio_type else ()
    return (tower.example(), *types)


@contextmanager
def as_module(tower: Encoder) -> Generator[tuple[nn.Module, list[str]]]:
    """An encoder as a module, and the names of its inputs.

    A mixture of audio type tokens is an input; `both` and `none` are fixed in the graph.
    """
    if not isinstance(tower, AudioEncoder) or tower.audio_type in (None, "both", "none"):
        yield _Whole(tower).eval(), ["steps"]
        return
    with tower.using_audio_type("clip"):
        yield _Whole(tower).eval(), ["steps", SOUND]


def _narrowed(model: Any) -> Any:
    """The graph with eight-bit matrices, quantised dynamically."""
    from tempfile import TemporaryDirectory

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as folder:
        path = Path(folder) / "narrow.onnx"
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


_SILENCE = RLock()
"""Levels and filters belong to the process: of two threads, one would restore what the other had set."""


@contextmanager
def _quietly() -> Generator[None]:
    """Silence the exporter and the quantiser, whose messages are for their developers."""
    names = ("torch.onnx._internal.exporter", "onnxscript", "onnx_ir", None)
    loggers = [logging.getLogger(name) for name in names]
    with _SILENCE:
        before = [logger.level for logger in loggers]
        for logger in loggers:
            # They miss torchvision, which is not needed, and preprocessing that is done here.
            logger.setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", r"`isinstance\(treespec", FutureWarning)
                # Pictures and audio types have equally many steps, so the axis has one name.
                warnings.filterwarnings("ignore", r"# The axis name: ", UserWarning)
                yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
