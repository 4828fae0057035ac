"""What `make torture` counted: studies/results/torture.json, and the page that shows it."""

import json
from pathlib import Path

from record import RESULTS, circumstances

FILE = RESULTS / "torture.json"
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "counts.md"
SECTIONS = {
    "test_training": "Training",
    "test_media": "Media",
    "test_archive": "Collections",
    "test_service": "The service",
    "test_tutorial": "The tutorial",
}
ON = "measured on"
HEAD = """# What was counted

<!-- Written by `make torture`; a test compares it with studies/results/torture.json. -->

`make torture` kills, floods and damages what the other pages make promises about, and counts the
results: [training](survival.md), [media](media.md),
[collections](../decisions/0008-one-table-disposable-structures.md), [the service](threat-model.md).
Each line is one test of `tests/torture`, which fails if a promise is broken. Seeds are fixed, but the
operating system decides when a kill arrives. The last column is the commit under test; `+` means
uncommitted changes.
"""


def known():
    """What earlier calls counted, by subject."""
    return json.loads(FILE.read_text()) if FILE.is_file() else {}


def keep(counted):
    """Add what was counted now, with the test file of each subject, and write the page anew."""
    now = {
        subject: {"test": test, **counts, ON: circumstances()}
        for subject, (test, counts) in counted.items()
    }
    whole = known() | now
    FILE.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page(whole))


def page(counted):
    """The page of what was counted."""
    parts = [HEAD]
    for test, title in SECTIONS.items():
        of_test = {subject: one for subject, one in counted.items() if one["test"] == test}
        if of_test:
            rows = [row(subject, one) for subject, one in of_test.items()]
            parts.append(
                "\n".join(
                    [f"## {title}\n", "| what | counted | commit |", "|---|---|---|", *rows, ""]
                )
            )
    machines = sorted({one[ON]["machine"] for one in counted.values()})
    parts.append(f"Machine: {'; '.join(machines)}.\n")
    return "\n".join(parts)


def row(subject, one):
    """A line of the table."""
    counts = ", ".join(
        f"{name.replace('_', ' ')} {count:,}"
        for name, count in one.items()
        if name not in ("test", ON)
    )
    on = one[ON]
    return f"| {subject} | {counts} | {on['commit']}{'+' if on['changed'] else ''} |"
