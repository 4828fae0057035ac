"""One small file of each format that people's folders hold, written by PyAV and Pillow.

Movies last 4 s and show counted pictures at 25 a second; sounds last 3 s; pictures are red at the left
and blue at the right. So what is read can be compared with what was written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from footage import counted_picture, make_movie, make_sound, noise
from PIL import Image

MOVIE_SECONDS, SOUND_SECONDS = 4.0, 3.0
SIZE = (64, 48)
Writer = Callable[[Path], object]


@dataclass(frozen=True)
class FormatFile:
    """A file: its kind, what is in it, and how it is written."""

    kind: str
    content: str
    write: Writer


FILES: dict[str, FormatFile] = {}


def movie(name, video, audio=None, *, rate=48_000, layout="mono", said="", **how):
    """Add a movie."""

    def write(path):
        channels = av.AudioLayout(layout).nb_channels
        sound = None if audio is None else noise(MOVIE_SECONDS, rate, channels)
        how_it_is = {"size": SIZE, "seconds": MOVIE_SECONDS, "fps": 25, **how}
        make_movie(
            path, sound=sound, rate=rate, layout=layout, video=video, audio=audio, **how_it_is
        )

    content = " + ".join(part for part in (video, audio) if part)
    FILES[name] = FormatFile("movie", f"{content}{said and ', '}{said}", write)


def sound(name, codec, *, rate=48_000, layout="mono", said="", **how):
    """Add a sound."""

    def write(path):
        channels = av.AudioLayout(layout).nb_channels
        make_sound(path, noise(SOUND_SECONDS, rate, channels), rate, codec, layout, **how)

    content = f"{codec}, {rate / 1000:g} kHz, {layout}"
    FILES[name] = FormatFile("sound", f"{content}{said and ', '}{said}", write)


def halves(mode="RGB", width=80, height=60):
    """Red at the left, blue at the right; light and dark where there are no colours."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("blue", (width // 2, 0, width, height))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "1":  # a threshold: Pillow's own way is a pattern of dots
        return image.convert("L").point(lambda light: 255 * (light > 50)).convert("1")
    if mode == "F":
        return image.convert("L").convert("F")
    return image.convert(mode)


def picture(name, said="", mode="RGB", **options):
    """Add a picture."""

    def write(path):
        with_plugins()
        halves(mode).save(path, **options)

    FILES[name] = FormatFile("picture", said, write)


def with_plugins():
    """Let Pillow write HEIC, HEIF and JPEG XL."""
    import pillow_heif
    import pillow_jxl  # noqa: F401

    pillow_heif.register_heif_opener()


def pages(name, said, **options):
    """Add a picture of several, the first of them the usual one."""
    more = [Image.new("RGB", (80, 60), "lime")]
    FILES[name] = FormatFile(
        "picture", said, lambda path: halves().save(path, append_images=more, **options)
    )


def animation(name, **options):
    """Add an animation of one second, ten pictures of counted pictures."""

    def write(path):
        first, *rest = (Image.fromarray(counted_picture(number, *SIZE)) for number in range(10))
        first.save(path, save_all=True, append_images=rest, duration=100, loop=0, **options)

    FILES[name] = FormatFile("animation", "ten pictures in a second", write)


def other(name, said, content):
    """Add a file that is no media, or of a format that is not read."""
    FILES[name] = FormatFile("other", said, lambda path: path.write_bytes(content))


# Movies by container.
movie("h264-aac.mp4", "libx264", "aac")
movie("h264-mp3.mp4", "libx264", "libmp3lame")
movie("h264-ac3.mp4", "libx264", "ac3", layout="5.1")
movie("h264-opus.mp4", "libx264", "libopus")
movie("h264-flac.mp4", "libx264", "flac")
movie("h264-alac.mp4", "libx264", "alac")
movie("h264-silent-film.mp4", "libx264")
movie(
    "fragmented.mp4", "libx264", "aac", said="in fragments",
    options={"movflags": "frag_keyframe+empty_moov"},
)  # fmt: skip
movie("faststart.mp4", "libx264", "aac", said="index first", options={"movflags": "faststart"})
movie("one-keyframe.mp4", "libx264", "aac", said="one keyframe", group=1000)
movie("hevc-aac.mp4", "libx265", "aac")
movie("hevc-10bit.mp4", "libx265", "aac", said="10 bits", pixels="yuv420p10le")
movie("av1-opus.mp4", "libsvtav1", "libopus")
movie("vp9-opus.mp4", "libvpx-vp9", "libopus")
movie("mpeg4-aac.mp4", "mpeg4", "aac")
movie("mjpeg-aac.mp4", "mjpeg", "aac", pixels="yuvj420p")
movie("h264.m4v", "libx264", "aac")
movie("h264.f4v", "libx264", "aac")
movie("smooth.ismv", "libx264", "aac")
movie("phone.3gp", "h263", "libopencore_amrnb", rate=8000, size=(176, 144))
movie("phone.3g2", "mpeg4", "aac")
movie("h264-pcm.mov", "libx264", "pcm_s16le")
movie("prores.mov", "prores_ks", "pcm_s24le", pixels="yuv422p10le")
movie("dnxhr.mov", "dnxhd", "pcm_s16le", pixels="yuv422p", size=(256, 144),
      setup=lambda stream: setattr(stream, "options", {"profile": "dnxhr_sq"}))  # fmt: skip
movie("mjpeg-alaw.mov", "mjpeg", "pcm_alaw", pixels="yuvj420p")
movie("png.mov", "png", pixels="rgb24")
movie("animation.mov", "qtrle", pixels="rgb24")
movie("cinepak.mov", "cinepak", "adpcm_ima_qt", rate=44_100, pixels="rgb24")
movie("sorenson.mov", "svq1", pixels="yuv410p")
movie("jpeg2000.mov", "jpeg2000", pixels="yuv420p")
movie("raw.mov", "rawvideo", "pcm_s16be", pixels="uyvy422")
movie("v210.mov", "v210", "pcm_s24le", pixels="yuv422p10le")
movie("dv.mov", "dvvideo", "pcm_s16le", layout="stereo", size=(720, 576))
movie("h264-flac.mkv", "libx264", "flac")
movie("h264-mp3.mkv", "libx264", "libmp3lame")
movie("h264-10bit.mkv", "libx264", "aac", said="10 bits", pixels="yuv420p10le")
movie("h264-444.mkv", "libx264", "aac", said="4:4:4", pixels="yuv444p")
movie("h264-rgb.mkv", "libx264rgb", "aac", pixels="rgb24")
movie("hevc-eac3.mkv", "libx265", "eac3", layout="5.1")
movie("av1-opus.mkv", "libsvtav1", "libopus")
movie("mpeg2-ac3.mkv", "mpeg2video", "ac3", layout="stereo")
movie("mpeg4-mp3.mkv", "mpeg4", "libmp3lame")
movie("ffv1-flac.mkv", "ffv1", "flac", said="lossless")
movie("ffv1-16bit.mkv", "ffv1", "pcm_s24le", said="16 bits", pixels="yuv444p16le")
movie("vp8-opus.webm", "libvpx", "libopus")
movie("vp9-opus.webm", "libvpx-vp9", "libopus")
movie("vp9-vorbis.webm", "libvpx-vp9", "vorbis", layout="stereo")
movie("av1-opus.webm", "libsvtav1", "libopus")
movie("live.webm", "libvpx", "libopus", said="recorded live, no length", options={"live": "1"})
movie("xvid-mp3.avi", "mpeg4", "libmp3lame")
movie("divx3-mp3.avi", "msmpeg4", "libmp3lame")
movie("h264-aac.avi", "libx264", "aac")
movie("old-camera.avi", "mjpeg", "pcm_u8", rate=11_025, pixels="yuvj420p")
movie("huffyuv.avi", "huffyuv", "pcm_s16le", pixels="yuv422p")
movie("ffvhuff.avi", "ffvhuff", "pcm_s16le", pixels="yuv420p")
movie("cinepak.avi", "cinepak", "pcm_s16le", pixels="rgb24")
movie("video1.avi", "msvideo1", "pcm_u8", rate=22_050, pixels="rgb555le")
movie("raw.avi", "rawvideo", "pcm_s16le", pixels="bgr24")
movie("dv.avi", "dvvideo", "pcm_s16le", layout="stereo", size=(720, 576))
movie("screen.avi", "zmbv", "pcm_s16le", pixels="bgr0")
movie("mp2.avi", "mpeg4", "mp2")
movie("wmv1.wmv", "wmv1", "wmav1", layout="stereo", rate=44_100)
movie("wmv2.wmv", "wmv2", "wmav2", layout="stereo", rate=44_100)
movie("msmpeg4.asf", "msmpeg4v2", "wmav2", layout="stereo", rate=44_100)
movie("sorenson.flv", "flv", "libmp3lame", rate=44_100)
movie("h264.flv", "libx264", "aac")
movie("screen.flv", "flashsv", "libmp3lame", rate=44_100, pixels="bgr24")
movie("h264-aac.ts", "libx264", "aac")
movie("h264-ac3.ts", "libx264", "ac3", layout="5.1")
movie("mpeg2-mp2.ts", "mpeg2video", "mp2", layout="stereo")
movie("hevc-aac.ts", "libx265", "aac")
movie("camera.m2ts", "libx264", "ac3", layout="stereo", options={"mpegts_m2ts_mode": "1"},
      container_format="mpegts")  # fmt: skip
movie("camera.mts", "libx264", "ac3", container_format="mpegts", layout="stereo")
movie("dvd.vob", "mpeg2video", "ac3", layout="stereo")
movie("svcd.mpg", "mpeg2video", "mp2", layout="stereo")
movie("vcd.mpg", "mpeg1video", "mp2", layout="stereo", container_format="mpeg")
movie("elementary.m2v", "mpeg2video")
movie("elementary.m1v", "mpeg1video", container_format="mpeg1video")
movie("broadcast.mxf", "mpeg2video", "pcm_s16le")
movie("tape.dv", "dvvideo", "pcm_s16le", layout="stereo", size=(720, 576))
movie("old.rm", "rv10", "ac3", layout="stereo")
movie("rv20.rm", "rv20", "ac3", layout="stereo")
movie("vp8.ogv", "libvpx", "libopus")
movie("tiny.mp4", "libx264", "aac", said="16 x 16 pixels", size=(16, 16))
movie("slides.mp4", "libx264", "aac", said="one picture a second", fps=1)
movie("fast.mp4", "libx264", "aac", said="120 pictures a second", fps=120)

# Sounds by container.
sound("u8.wav", "pcm_u8", rate=8000)
sound("s16.wav", "pcm_s16le")
sound("s16-stereo.wav", "pcm_s16le", layout="stereo")
sound("s16-5.1.wav", "pcm_s16le", layout="5.1")
sound("s16-7.1.wav", "pcm_s16le", layout="7.1")
sound("s24.wav", "pcm_s24le")
sound("s24-96k.wav", "pcm_s24le", rate=96_000)
sound("s32.wav", "pcm_s32le")
sound("f32.wav", "pcm_f32le")
sound("f64.wav", "pcm_f64le")
sound("alaw.wav", "pcm_alaw", rate=8000)
sound("mulaw.wav", "pcm_mulaw", rate=8000)
sound("adpcm-ms.wav", "adpcm_ms")
sound("adpcm-ima.wav", "adpcm_ima_wav")
sound("adpcm-yamaha.wav", "adpcm_yamaha")
sound("g726.wav", "g726", rate=8000)
sound("mp3.wav", "libmp3lame")
sound("rf64.wav", "pcm_s16le", said="RF64", options={"rf64": "always"})
sound("long.w64", "pcm_s16le")
sound("s16.aiff", "pcm_s16be")
sound("s24.aif", "pcm_s24be")
sound("alaw.aifc", "pcm_alaw", rate=8000, format="aiff")
sound("sun.au", "pcm_s16be")
sound("mulaw.au", "pcm_mulaw", rate=8000)
sound("memo.caf", "alac", rate=44_100)
sound("pcm.caf", "pcm_s16le")
sound("aac.m4a", "aac")
sound("alac.m4a", "alac")
sound("book.m4b", "aac", format="ipod")
sound("tone.m4r", "aac", format="ipod")
sound("note.3ga", "libopencore_amrnb", rate=8000, format="3gp")
sound("mono.mp3", "libmp3lame", rate=44_100)
sound("stereo.mp3", "libmp3lame", rate=44_100, layout="stereo")
sound("low.mp3", "libmp3lame", rate=8000)
sound("no-index.mp3", "libmp3lame", rate=44_100, said="no Xing header", options={"write_xing": "0"})
sound("layer2.mp2", "mp2")
sound("raw.aac", "aac", format="adts")
sound("dolby.ac3", "ac3", layout="5.1")
sound("dolby.eac3", "eac3", layout="5.1")
sound("s16.flac", "flac")
sound("stereo.flac", "flac", rate=96_000, layout="stereo")
sound("vorbis.ogg", "vorbis", layout="stereo")
sound("opus.opus", "libopus")
sound("flac.oga", "flac")
sound("pack.wv", "wavpack")
sound("audio.tta", "tta")
sound("v1.wma", "wmav1", rate=44_100)
sound("v2.wma", "wmav2", rate=44_100, layout="stereo")
sound("voice.amr", "libopencore_amrnb", rate=8000)
sound("audio.mka", "flac", format="matroska")
sound("audio.weba", "libopus", format="webm")
sound("sound.mov", "pcm_s16le", said="no picture")
sound("sound.ts", "aac", said="no picture", format="mpegts")

# Pictures.
picture("photo.jpg", "JPEG")
picture("progressive.jpeg", "JPEG, progressive", progressive=True)
picture("gray.jpg", "JPEG, gray", mode="L")
picture("cmyk.jpg", "JPEG, CMYK", mode="CMYK")
pages("two.mpo", "JPEG of two pictures (MPO)", format="MPO", save_all=True)
picture("rgb.png", "PNG")
picture("palette.png", "PNG, palette", mode="P")
picture("black-white.png", "PNG, 1 bit", mode="1")
picture("gray16.png", "PNG, 16 bits, gray", mode="I;16")
picture("alpha.png", "PNG with transparency", mode="RGBA")
picture("lossy.webp", "WebP")
picture("lossless.webp", "WebP, lossless", lossless=True)
picture("rgb.bmp", "BMP")
picture("palette.bmp", "BMP, palette", mode="P")
picture("still.gif", "GIF of one picture", mode="P")
picture("still.avif", "AVIF")
picture("phone.heic", "HEIC")
picture("still.heif", "HEIF", format="HEIF")
picture("still.jxl", "JPEG XL")
picture("still.jp2", "JPEG 2000")
picture("codestream.j2k", "JPEG 2000, bare")
picture("plain.tif", "TIFF")
picture("lzw.tiff", "TIFF, LZW", compression="tiff_lzw")
picture("deflate.tif", "TIFF, Deflate", compression="tiff_adobe_deflate")
picture("jpeg.tif", "TIFF, JPEG", compression="jpeg")
picture("cmyk.tif", "TIFF, CMYK", mode="CMYK")
picture("gray16.tif", "TIFF, 16 bits, gray", mode="I;16")
picture("float.tif", "TIFF, floats", mode="F")
picture("big.tif", "BigTIFF", big_tiff=True)
pages("pages.tif", "TIFF of two pages", save_all=True)
picture("rgb.ppm", "PPM")
picture("gray.pgm", "PGM", mode="L")
picture("bits.pbm", "PBM", mode="1")
picture("rgb.tga", "TGA")
picture("packed.tga", "TGA, packed", compression="tga_rle")
picture("rgb.qoi", "QOI")
animation("moving.gif")
animation("moving.png")
animation("moving.webp", lossless=True)
animation("moving.avif")

# What is not read has a status too.
picture("icon.ico", "ICO")
picture("old.pcx", "PCX")
picture("texture.dds", "DDS")
movie("bare.h264", "libx264", container_format="h264")
movie("frames.ivf", "libvpx")
movie("broadcast.y4m", "wrapped_avframe", container_format="yuv4mpegpipe")
sound("voice.g722", "g722", rate=16_000)
sound("creative.voc", "pcm_u8", rate=22_050)
other("subtitles.srt", "a text", b"1\n00:00:00,000 --> 00:00:02,000\nhello\n")
other("list.m3u8", "a playlist", b"#EXTM3U\n#EXTINF:3,\nmovie.mp4\n")
other("page.html", "a text", b"<!doctype html><title>x</title>")
other("drawing.svg", "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"/>')
other("paper.pdf", "PDF", b"%PDF-1.7\n")
other("archive.zip", "ZIP", b"PK\x03\x04" + bytes(64))
other("nothing.mp4", "no bytes", b"")
