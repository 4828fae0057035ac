"""What a client may cost: bytes, seconds, and how many at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Limits of the service.

    Attributes:
        body_bytes: Of a request's body, other than an upload's.
        upload_bytes: Of an upload's body.
        requests: Answered at once, other than streams of media; beyond them 503.
        streams: Of media, at once.
        searches: Waiting or being answered.
        asides: Other work for the model or the decoder, waiting or being done.
        batch: Searches answered in one pass over the vectors.
        head_bytes: Of a request's head, or of what stands between the portions of its body.
        body_seconds: In which a body must have come, other than an upload's.
        upload_seconds: In which an upload must have come.
        idle_seconds: Between two portions of a body.
        search_seconds: After which a search is given up.
        uploads: Kept at once.
        uploads_bytes: Kept at once.
        upload_lifetime: Seconds that an upload is kept after its last use.
        connections: Open at once; beyond them 503.
        keep_alive_seconds: That a connection may be silent between two requests.
    """

    body_bytes: int = 256 * 1024
    upload_bytes: int = 256 * 1024**2
    requests: int = 64
    streams: int = 64
    searches: int = 48
    asides: int = 8
    batch: int = 32
    head_bytes: int = 16 * 1024
    body_seconds: float = 20.0
    upload_seconds: float = 300.0
    idle_seconds: float = 20.0
    search_seconds: float = 60.0
    uploads: int = 64
    uploads_bytes: int = 2 * 1024**3
    upload_lifetime: float = 900.0
    connections: int = 1024
    keep_alive_seconds: int = 10
