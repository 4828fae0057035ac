"""Files to arrays: probing and decoding of untrusted video, audio and images."""

from trichord.media.decoded import Decoded, DecodeWork, samples_in
from trichord.media.decoder import Decoder
from trichord.media.plan import DecodePlan, DecodeRequest, FramePlan, Limits, Span
from trichord.media.probe import STATUSES, USABLE, AudioStream, Probe, Status, VideoStream
from trichord.media.signature import file_signature

__all__ = [
    "STATUSES",
    "USABLE",
    "AudioStream",
    "DecodePlan",
    "DecodeRequest",
    "DecodeWork",
    "Decoded",
    "Decoder",
    "FramePlan",
    "Limits",
    "Probe",
    "Span",
    "Status",
    "VideoStream",
    "file_signature",
    "samples_in",
]
