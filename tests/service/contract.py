"""Schemathesis, asked for nothing but counts: what was tried, and what broke the OpenAPI document."""

import warnings
from collections import Counter
from dataclasses import dataclass, field

from hypothesis.errors import HypothesisWarning
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

ANSWERS = ["2xx", 400, 404, 409, 413, 415, 429]
"""To a request as the document wants it: what it asks for may be senseless, gone, or too much."""
REFUSALS = [400, 401, 404, 405, 413, 415, 422]
"""To a request against the document."""


@dataclass
class Held:
    """A service held against its document."""

    statuses: Counter = field(default_factory=Counter)
    checks: int = 0
    broken: list = field(default_factory=list)

    @property
    def requests(self):
        return sum(self.statuses.values())


def settings(examples, sequences=0, known=None, headers=None, spared=()):
    """How much is tried: examples an operation, sequences of operations; and values that exist.

    `known` says by the place of a field, such as `path.file`, what it now and then shall hold. For
    `spared` paths, the bounds of each field are not gone through.
    """
    known = known or {}
    return SchemathesisConfig.from_dict(
        {
            "seed": 0,
            "continue-on-failure": True,
            "headers": headers or {},
            "generation": {"max-examples": examples, "deterministic": True, "no-shrink": True},
            "phases": {
                "stateful": {"enabled": sequences > 0, "generation": {"max-examples": sequences}}
            },
            "operations": [
                {"include-path": path, "phases": {"coverage": {"enabled": False}}}
                for path in spared
            ],
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ANSWERS},
                "negative_data_rejection": {"expected-statuses": REFUSALS},
            },
            "dictionaries": {place: {"values": values} for place, values in known.items()},
            "parameters": {place: {"dictionary": place, "probability": 0.7} for place in known},
        }
    )


def hold(document):
    """Try what the settings of a loaded document say."""
    held = Held()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # of what Schemathesis does
        for event in from_schema(document).execute():
            if isinstance(event, events.ScenarioFinished):
                _note(event.recorder, held)
            elif isinstance(event, events.NonFatalError | events.FatalError):
                held.broken.append(str(getattr(event, "value", None) or event.exception))
    return held


def _note(recorder, held):
    for exchange in recorder.interactions.values():
        held.statuses[exchange.response.status_code if exchange.response else 0] += 1
    for checks in recorder.checks.values():
        for check in checks:
            held.checks += 1
            if check.failure_info is not None:
                failure = check.failure_info.failure
                asked = check.failure_info.code_sample[:2000]
                held.broken.append(f"{check.name}: {failure.title}: {failure.message}\n{asked}")
