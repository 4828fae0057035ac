"""Limits of the service: bytes, seconds, and numbers at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Limits of the service.

    Attributes:
        body_bytes: Size of a request's body, except uploads.
        upload_bytes: Size of an upload's body.
        requests: Requests at once, except media streams; beyond them 503.
        streams: Media streams at once.
        searches: Searches that wait or run.
        asides: Other work for the model or the decoder that waits or runs.
        batch: Searches in one pass over the vectors.
        head_bytes: Size of a request's head, or of the data between chunks of its body.
        body_seconds: Time to receive a body, except uploads.
        upload_seconds: Time to receive an upload.
        idle_seconds: Time between two chunks of a body.
        search_seconds: Timeout of a search.
        uploads: Uploads kept at once.
        uploads_bytes: Size of all kept uploads.
        upload_lifetime: Seconds that an upload is kept after its last use.
        connections: Open connections; beyond them 503.
        keep_alive_seconds: Time that a connection may be idle between two requests.
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
