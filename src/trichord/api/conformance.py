"""Checks of the encoder protocol, for built-in encoders and for your own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from trichord.types import first_line

if TYPE_CHECKING:
    from trichord.config import EncoderConfig
    from trichord.encoders.conformance import EncoderUnderTest

PARITY = 1e-3
"""Largest difference of an exported vector: graphs add in another order."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: Of the check.
        status: `SKIP`: it does not apply, or what it needs is not installed.
        reason: Why it failed or was skipped.
    """

    name: str
    status: Literal["PASS", "FAIL", "SKIP"]
    reason: str = ""


def check_encoder(config: "EncoderConfig") -> list[Check]:
    """Check an encoder: shapes, determinism, batches, padding, freezing, saving, fingerprint, export.

    Args:
        config: Builds the encoder; it is built several times.

    Raises:
        UserError: Its weights are missing.
    """
    return list(run_checks(config))


def run_checks(config: "EncoderConfig") -> Iterator[Check]:
    """As `check_encoder`, but yields each result at once."""
    from trichord.encoders.conformance import CHECKS, EncoderUnderTest, flaws_of
    from trichord.encoders.hub import fetch_weights

    fetch_weights(config)
    subject = EncoderUnderTest.of(config.build)
    if subject.encoder.stored is not None:
        yield from (Check(name, "SKIP", "features only, no weights") for name in CHECKS)
        return
    for name, flaw in flaws_of(subject):
        yield Check(name, "PASS" if flaw is None else "FAIL", flaw or "")
    yield _exported(subject)


def _exported(subject: "EncoderUnderTest") -> Check:
    """Whether it can be exported, and the graph gives the same vectors."""
    from importlib.util import find_spec

    from trichord.encoders.conformance import SEED, TEXTS
    from trichord.encoders.encoder import TextEncoder
    from trichord.encoders.graph import Graph
    from trichord.exporting.graphs import PACKAGES, as_module, example_inputs, write_graph

    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        return Check("export", "SKIP", f"there is no {missing[0]}: pip install 'trichord[export]'")
    encoder = subject.build(SEED)
    if encoder.no_export:
        return Check("export", "SKIP", encoder.no_export)
    if isinstance(encoder.trunk, Graph):
        return Check("export", "SKIP", "it is a graph already")
    try:
        with TemporaryDirectory() as place, as_module(encoder) as (module, names):
            rows = [example_inputs(encoder)[: len(names)]]
            if isinstance(encoder, TextEncoder):  # each of another length
                rows += [(encoder.prepare([text]),) for text in TEXTS]
            folder = Path(place) / "encoder"
            folder.mkdir()
            write_graph(encoder, folder.with_suffix(".onnx"))
            graph = Graph(str(folder))
            differences = [(graph.run(*row) - module(*row).detach()).abs().max() for row in rows]
    except Exception as error:  # torch's exporter refuses in many ways
        return Check("export", "FAIL", f"{type(error).__name__}: {first_line(error)}")
    difference = float(max(differences))
    if difference > PARITY:
        return Check("export", "FAIL", f"the graph's features differ by {difference:.2g}")
    return Check("export", "PASS")
