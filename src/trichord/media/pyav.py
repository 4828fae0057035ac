"""PyAV's objects, whose own types cover too little of them to be useful."""

from typing import Any

Packet = Any
Frame = Any
Track = Any
