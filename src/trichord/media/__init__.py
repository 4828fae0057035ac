"""Files to arrays: probing and decoding of untrusted video, sound and pictures."""

from trichord.media.decoded import Decoded, Work, samples_in
from trichord.media.decoder import Decoder
from trichord.media.plan import DecodePlan, FramePlan, Limits, Request, Span
from trichord.media.probe import STATUSES, USABLE, AudioStream, Probe, Status, VideoStream
from trichord.media.signature import file_signature

__all__ = [
    "STATUSES",
    "USABLE",
    "AudioStream",
    "DecodePlan",
    "Decoded",
    "Decoder",
    "FramePlan",
    "Limits",
    "Probe",
    "Request",
    "Span",
    "Status",
    "VideoStream",
    "Work",
    "file_signature",
    "samples_in",
]
