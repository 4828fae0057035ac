"""The process that carries out shards: a line each on its standard input, answers on its output.

It holds a model and nothing that could be lost, and may be killed at any time.
"""

import json
import os
import sys
from typing import TextIO

from trichord.bulk.hand import Hand
from trichord.bulk.shards import part_line, read_shard
from trichord.types import UserError


def main() -> None:
    """Carry out shards until the parent closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing else may write between answers
    try:
        with Hand() as hand:
            for line in sys.stdin:
                _carry_out(hand, line, answers)
    except BrokenPipeError:  # the parent is gone
        os._exit(1)


def _carry_out(hand: Hand, line: str, answers: TextIO) -> None:
    try:
        for part in hand.carry_out(read_shard(line)):
            _say(answers, {"part": part_line(part)})
        _say(answers, {"end": True})
    except UserError as error:
        _say(answers, {"error": str(error)})


def _say(answers: TextIO, answer: dict[str, object]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
