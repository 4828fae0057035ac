"""Subtitle tracks of an open file: text as FFmpeg's decoders give it, in the form of ASS."""

from dataclasses import dataclass

from trichord.media.failure import MediaError, refuse_out_of_memory
from trichord.media.media_file import MediaFile
from trichord.media.pyav import Packet, Track

MOST_LETTERS = 2 * 1024**2
"""Letters of all cues of a file at most: an answer of a child has 4 MiB at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubtitleTrack:
    """A subtitle track.

    Attributes:
        codec: Such as 'subrip'.
        language: As the container has it, such as 'eng'; empty if it has none.
        bitmap: Whether its subtitles are pictures, or of a codec without a decoder: they have no text.
        cues: Start and end in seconds of the file, and text with the codes of ASS.
    """

    codec: str
    language: str
    bitmap: bool
    cues: tuple[tuple[float, float, str], ...] = ()


def subtitle_tracks(source: MediaFile) -> list[SubtitleTrack]:
    """All subtitle tracks of a file; reads it through if one has text.

    Raises:
        MediaError: It has more text than is allowed.
    """
    from av.stream import Discard

    if source.av is None:  # a picture
        return []
    streams = list(source.av.streams.subtitles)
    texts = {one.index: one for one in streams if _has_text(one)}
    cues: dict[int, list[tuple[float, float, str]]] = {index: [] for index in texts}
    for one in texts.values():
        one.discard = Discard.default
        source.clocks[one.index] = one.time_base.as_integer_ratio()
    for one in source.tracks():
        one.discard = Discard.all
    if texts:
        _read(source, list(texts.values()), cues)
    return [
        SubtitleTrack(
            codec=_codec(one),
            language=str(one.metadata.get("language", "")),
            bitmap=one.index not in texts,
            cues=tuple(cues.get(one.index, ())),
        )
        for one in streams
    ]


def _codec(stream: Track) -> str:
    context = stream.codec_context
    return context.codec.canonical_name if context is not None else "unknown"


def _has_text(stream: Track) -> bool:
    from av.codec.codec import Properties

    context = stream.codec_context
    return context is not None and bool(context.codec.properties & Properties.TEXT_SUB.value)


def _read(
    source: MediaFile, streams: list[Track], cues: dict[int, list[tuple[float, float, str]]]
) -> None:
    from av.error import FFmpegError

    letters = 0
    try:
        for packet in source.packets(streams):
            for start, end, text in _cues_of(source, packet):
                cues[packet.stream.index].append((start, end, text))
                letters += len(text) + 50  # the times take that much in an answer
                if letters > MOST_LETTERS:
                    raise MediaError("too_big", f"subtitles of more than {MOST_LETTERS} letters")
    except FFmpegError as error:  # the rest is unreadable; use what comes before it
        refuse_out_of_memory(error)


def _cues_of(source: MediaFile, packet: Packet) -> list[tuple[float, float, str]]:
    from av.error import FFmpegError

    start = source.seconds(packet.pts, packet.stream)
    if start is None or not packet.size:
        return []
    try:
        decoded = packet.stream.codec_context.decode2(packet)
    except FFmpegError as error:
        refuse_out_of_memory(error)
        return []
    if decoded is None:
        return []
    numerator, denominator = source.clocks[packet.stream.index]
    end = start + (packet.duration or 0) * numerator / denominator
    if end <= start:
        end = start + decoded.end_display_time / 1000
    texts = [one.ass for one in decoded if one.type in (b"ass", b"text")]
    # "number,layer,style,name,margins left, right, vertical,effect,text"
    words = [text.decode("utf-8", "replace").split(",", 8)[-1] for text in texts]
    return [(start, end, text) for text in words if text]
