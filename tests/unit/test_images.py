"""Images as strangers send them: read or refused in words, never anything else, and tiles by the reference's rule."""

from __future__ import annotations

import base64
import io
import logging
import resource
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from reranker_runtime.errors import InvalidRequest
from reranker_runtime.images.decode import decode
from reranker_runtime.images.limits import Limits
from reranker_runtime.images.tiles import Tiling, count, tiles

WHERE = "passages.3.image"
AT = ("passages", 3, "image")
LIMITS = Limits()
SMALL = Tiling(size=16, most=4, thumbnail=True, dynamic=True)
PNG = b"\x89PNG\r\n\x1a\n"
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64(data)}"


def refusal(image: object, limits: Limits = LIMITS) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode(image, AT, limits)
    assert caught.value.status == 422
    assert caught.value.detail == {"passage": 3}
    assert caught.value.message.startswith(f"{WHERE}: ")
    assert "0x" not in caught.value.message, "an address of Pillow's own error"
    return caught.value.message


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


def png(width: int, height: int, pixels: bytes, *, bits: int = 8, colour: int = 0, before: bytes = b"") -> bytes:
    head = struct.pack(">LLBBBBB", width, height, bits, colour, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + before + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int, int], tail: bytes = bytes(64)) -> bytes:
    """Little-endian, one directory: tag, type, number of values, value or place."""
    listed = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<LH", 8, len(entries)) + listed + bytes(4) + tail


# 2 x 2 grey pixels without compression, right behind the header.
GREY = ((256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, 8), (262, 3, 1, 1))
STRIP = ((273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 2), (279, 4, 1, 4))
ODD_TIFF = tiff(*GREY, *STRIP[:1], (274, 3, 2, 1), *STRIP[1:])
PREMULTIPLIED = tiff(*GREY[:2], (258, 3, 2, 8 | 8 << 16), GREY[3], STRIP[0], (277, 3, 1, 2), *STRIP[2:], (338, 3, 1, 1))
JPEG = saved(NOISE, "JPEG", progressive=True)
SCAN = JPEG.index(b"\xff\xda")
RLE_BMP = (
    b"BM" + struct.pack("<LLL", 0, 0, 1078) + struct.pack("<LLLHHLLLLLL", 40, 7000, 7000, 1, 8, 1, 0, 0, 0, 256, 0)
)
RLE_BMP += b"\1\2\3\0" * 256 + b"\0\0" * 7000
SEEDS = {
    "PNG": saved(NOISE, "PNG"),
    "palette PNG": saved(NOISE.convert("P"), "PNG", transparency=b"\0\1\2"),
    "animated PNG": saved(NOISE, "PNG", save_all=True, append_images=[NOISE.rotate(180)]),
    "JPEG": saved(NOISE, "JPEG"),
    "progressive JPEG": JPEG,
    "CMYK JPEG": saved(NOISE.convert("CMYK"), "JPEG"),
    "WebP": saved(NOISE, "WEBP"),
    "lossless WebP": saved(NOISE.convert("RGBA"), "WEBP", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
    "animated WebP": saved(NOISE, "WEBP", save_all=True, append_images=[NOISE.rotate(180)]),
    "GIF": saved(NOISE, "GIF"),
    "animated GIF": saved(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(180)], disposal=2),
    "BMP": saved(NOISE, "BMP"),
    "palette BMP": saved(NOISE.convert("P"), "BMP"),
    "TIFF": saved(NOISE, "TIFF"),
    "LZW TIFF": saved(NOISE, "TIFF", compression="tiff_lzw"),
    "JPEG TIFF": saved(NOISE, "TIFF", compression="jpeg"),
    "fax TIFF": saved(NOISE.convert("1"), "TIFF", compression="group4"),
    "BigTIFF": saved(NOISE, "TIFF", big_tiff=True),
}


def read_or_refused(data: bytes) -> None:
    try:
        image = decode(b64(data), AT)
    except InvalidRequest as error:
        said = error.message
    else:
        said = f"{WHERE}: read"
        assert tiles(image, SMALL).shape == (count(*image.size, SMALL), 16, 16, 3)
    assert said.startswith(f"{WHERE}: ")


@pytest.mark.parametrize("form", ["PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA"])
def test_lossless_formats_keep_every_pixel(form: str, mode: str) -> None:
    few = NOISE.convert("L").point(lambda grey: grey & 0xF0)  # what the palette of a GIF can hold
    image = (few if form == "GIF" else NOISE).convert(mode)
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    read = decode(url(saved(image, form, **options)), AT)
    kept = "RGBA" if mode == "RGBA" and form != "BMP" else "RGB"
    assert np.array_equal(np.asarray(read.convert(kept)), np.asarray(image.convert(kept)))


def test_jpeg_comes_close() -> None:
    grey = Image.new("RGB", (40, 30), (200, 100, 50))
    read = np.asarray(decode(url(saved(grey, "JPEG")), AT), dtype=int)
    assert np.abs(read - [200, 100, 50]).max() <= 3


@pytest.mark.parametrize("name", SEEDS)
def test_every_kind_is_read_whatever_type_is_stated(name: str) -> None:
    image = decode(url(SEEDS[name], "image/x-nonsense"), AT)
    assert image.size == NOISE.size
    assert image.info == {}
    assert tiles(image, SMALL).shape == (2 + 1, 16, 16, 3)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "TIFF"])
def test_of_several_frames_the_first_counts(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("white", "black")]
    options = {"lossless": True} if form == "WEBP" else {}
    read = decode(url(saved(frames[0], form, save_all=True, append_images=frames[1:], **options)), AT)
    assert np.asarray(read.convert("RGB")).min() == 255


@pytest.mark.parametrize(
    ("form", "kind"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("TIFF", "int32"), ("TIFF", "float32")]
)
def test_deep_grey_is_refused_rather_than_seen_as_white(form: str, kind: str) -> None:
    image = Image.fromarray(np.array([[0, 255], [256, 65535]], dtype=kind))
    assert "more than 8 bits a pixel" in refusal(url(saved(image, form)))
    assert "convert it to 8 bits" in refusal(url(saved(image, form)))


@pytest.mark.parametrize(("colour", "samples"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "grey and alpha", "RGBA"])
def test_16_bit_colours_are_halved(colour: int, samples: int) -> None:
    values = [0x0000, 0x7FFF, 0xFFFF, 0xFFFF][-samples:]
    data = png(1, 1, b"\0" + struct.pack(f">{samples}H", *values), bits=16, colour=colour)
    pixel = np.asarray(decode(url(data), AT)).ravel().tolist()
    want = [value >> 8 for value in values]
    assert pixel == (want if samples != 2 else [*want[:1] * (len(pixel) - 1), want[-1]])


def test_exif_turns_a_tiff_only() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(url(saved(NOISE, "JPEG", exif=exif)), AT).size == (30, 20)
    assert decode(url(saved(NOISE, "PNG", exif=exif)), AT).size == (30, 20)
    assert decode(url(saved(NOISE, "TIFF", exif=exif)), AT).size == (20, 30)


def test_text_in_a_png_is_not_taken_for_a_colour() -> None:
    lies = chunk(b"tEXt", b"transparency\0red")
    image = decode(url(png(2, 2, b"\0\7\7" * 2, before=lies)), AT)
    assert tiles(image, SMALL).max() == 7


FILE = saved(NOISE, "PNG") + b"\xfb\xff\xbf"  # what follows the end of a PNG is ignored; here, digits 62 and 63
BARE = b64(FILE)


@pytest.mark.parametrize(
    "image",
    [
        BARE,
        f"data:image/png;base64,{BARE}",
        f"DATA:;BASE64,{BARE}",
        f"data:image/png;charset=utf-8;base64,{BARE}",
        f"data:image/png;base64,{BARE.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}",
        f" \n{BARE}\n",
        base64.encodebytes(FILE).decode(),
        base64.encodebytes(FILE).decode().replace("\n", "\r\n"),
        b64(SEEDS["GIF"]).rstrip("="),
        b64(SEEDS["GIF"]) + "==",
        base64.urlsafe_b64encode(FILE).decode(),
    ],
    ids=["bare", "URL", "capitals", "charset", "percent", "spaces", "lines", "CRLF", "unpadded", "padded", "URL-safe"],
)
def test_base64_as_clients_write_it(image: str) -> None:
    assert decode(image, AT).size == NOISE.size


BAD: dict[str, tuple[object, str]] = {
    "no string": ({"url": BARE}, "must be a string; send the bytes"),
    "empty": ("", "is empty; send the bytes"),
    "blank": (" \n", "is empty"),
    "empty URL": ("data:image/png;base64,", "is empty"),
    "only padding": ("====", "is empty"),
    "http": ("http://example.com/a.png", "is a http: URL; URLs are never fetched"),
    "https": ("HTTPS://example.com/a.png", 'never fetched here, so send the bytes of the file as "data:'),
    "file": ("file:///etc/passwd", "is a file: URL; URLs are never fetched"),
    "s3": ("s3://bucket/key", "never fetched"),
    "no scheme": ("//example.com/a", "is a URL; URLs are never fetched"),
    "no comma": ("data:image/png;base64", "without a comma"),
    "not base64 URL": ("data:image/svg+xml,%3Csvg/%3E", 'does not say ";base64"'),
    "prose": ("a cat, on a mat", "is not base64"),
    "words": ("a cat on a mat", "is not an image in base64"),
    "text in base64": (
        b64(b"a cat, on a mat"),
        "is not an image in base64; PNG, JPEG, WebP, GIF, BMP and TIFF are read",
    ),
    "accents": ("\N{LATIN SMALL LETTER E WITH ACUTE}" * 8, "is not base64"),
    "lone surrogate": ("\ud800" * 8, "is not base64"),
    "padding inside": ("iVBO=w0K", "is not base64"),
    "impossible length": (BARE.rstrip("=")[:41], "characters are missing"),
    "PDF": (b64(b"%PDF-1.7 " + bytes(40)), "is a PDF; render the page as a PNG"),
    "SVG": (b64(b"<svg xmlns=''></svg>"), "is an SVG; render it"),
    "AVIF": (b64(bytes(3) + b"\x20ftypavif" + bytes(40)), "AVIF"),
    "EPS": (b64(b"%!PS-Adobe-3.0 EPSF-3.0" + bytes(40)), "is not an image in base64"),
    "RIFF sound": (b64(b"RIFF\0\0\0\0WAVE" + bytes(40)), "is not an image in base64"),
    "no pixels": (b64(png(0, 4, b"")), "cannot be read"),
    "no pixels in a GIF": (b64(b"GIF89a" + bytes(4) + b"\0\0\0," + bytes(20)), "has no pixels (0 x 0)"),
    "PNG bomb": (b64(png(40_000, 40_000, bytes(5001 * 1000), bits=1)), "is 40000 x 40000, more than 50,000,000 pixels"),
    "GIF bomb": (
        b64(
            b"GIF89a\1\0\1\0\0\0\0!\xf9\4\x08\0\0\0\0,"
            + struct.pack("<HHHHB", 9, 9, 60_000, 60_000, 0)
            + b"\x08\1\0\0;"
        ),
        "is 60009 x 60009, more than",
    ),
    "WebP bomb": (
        b64(b"RIFF\x1e\0\0\0WEBPVP8L\x10\0\0\0\x2f" + struct.pack("<L", 16383 | 16383 << 14) + bytes(20)),
        "is 16384 x 16384, more than",
    ),
    "extended WebP bomb": (b64(b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\xff" * 6), "16777216 x 16777216"),
    "BMP bomb": (b64(RLE_BMP[:18] + struct.pack("<LL", 2**31, 2**20) + RLE_BMP[26:]), "more than 50,000,000 pixels"),
    "TIFF bomb": (b64(tiff((256, 4, 1, 2**31), (257, 4, 1, 2**31), *GREY[2:], *STRIP)), "more than 50,000,000 pixels"),
    "JPEG bomb": (
        b64(JPEG.replace(struct.pack(">HH", 20, 30), b"\xff\xff\xff\xff", 1)),
        "is 65535 x 65535, more than 50,000,000 pixels; scale it down",
    ),
    "thread": (b64(png(1, 1_000_000, bytes(2_000_000))), "is 1 x 1000000: one side is more than 200 times the other"),
    "many scans": (b64(JPEG[:SCAN] + JPEG[SCAN:-2] * 200 + JPEG[-2:]), "more than 100 scans"),
    "many segments": (b64(JPEG[:2] + b"\xff\xe0\0\2" * 70_000 + JPEG[2:]), "more than 65,536 segments"),
    "many Exif": (b64(JPEG[:2] + b"\xff\xe1\0\x08Exif\0\0" * 20 + JPEG[2:]), "more than 16 Exif segments"),
    "many chunks": (b64(png(2, 2, bytes(6), before=chunk(b"abCd", b"") * 70_000)), "more than 65,536 chunks"),
    "many blocks": (b64(b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1a" * 70_000 + b"\0;"), "more than 65,536 blocks"),
    "many strips": (
        b64(tiff(*GREY, (273, 1, 400_000, 8), *STRIP[1:], tail=bytes(400_000))),
        "more than 300,000 strips",
    ),
    "many entries": (b64(b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 7 + b"\0"), "more than 65,536 entries"),
    "large tiles": (b64(tiff(*GREY, (322, 4, 1, 32768), (323, 4, 1, 32768), (324, 4, 1, 8))), "tiles of more than"),
    "directories": (
        b64(tiff(*GREY, *((34665, 4, 1, place) for place in range(400, 420)), *STRIP, tail=bytes(500))),
        "more than 8 directories",
    ),
    "run lengths": (b64(RLE_BMP), "run-length coded BMP; save it as PNG"),
    "unusual kind": (b64(PREMULTIPLIED), "of an unusual kind (La)"),
    "text bomb": (
        b64(png(2, 2, bytes(6), before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000))))),
        "is a PNG that cannot be read",
    ),
    "no data": (
        b64(PNG + chunk(b"IHDR", struct.pack(">LLBBBBB", 2, 2, 8, 0, 0, 0, 0)) + chunk(b"IEND", b"")),
        "PNG that",
    ),
    **{
        f"half a {name}": (b64(data[: len(data) // 2]), "damaged or cut short; send the whole file")
        for name, data in SEEDS.items()
    },
    **{f"start of a {name}": (b64(data[:12]), "damaged or cut short") for name, data in SEEDS.items()},
}


@pytest.mark.parametrize("name", BAD)
def test_the_refusal_says_what_is_wrong_and_what_to_do(name: str) -> None:
    image, words = BAD[name]
    assert words in refusal(image)


@pytest.mark.parametrize("name", [name for name in BAD if "bomb" in name or name == "thread"])
def test_what_is_too_large_is_refused_before_any_pixel_is_allocated(name: str) -> None:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Image.core.reset_stats()
    refusal(BAD[name][0])
    assert Image.core.get_stats()["new_count"] == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 64 * 1024, "KiB"


def test_a_file_larger_than_is_allowed_is_refused_before_it_is_decoded() -> None:
    assert "is larger than 1,000 bytes; scale it down" in refusal(url(bytes(1001)), Limits(bytes=1000))
    assert "is not an image" in refusal(url(bytes(1000)), Limits(bytes=1000))


def test_an_image_of_more_pixels_than_are_allowed_is_refused() -> None:
    data = url(saved(NOISE, "PNG"))
    width, height = NOISE.size
    assert f"more than {width * height - 1:,} pixels" in refusal(data, Limits(pixels=width * height - 1))
    assert decode(data, AT, Limits(pixels=width * height)).size == NOISE.size


@pytest.mark.parametrize("name", SEEDS)
def test_every_cut_is_read_or_refused(name: str) -> None:
    data = SEEDS[name]
    for end in range(1, len(data), max(3, len(data) // 150)):
        read_or_refused(data[:end])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_a_damaged_image_is_read_or_refused(name: str, data: st.DataObject) -> None:
    file = bytearray(SEEDS[name])
    head = st.integers(0, min(120, len(file) - 4)) | st.integers(0, len(file) - 4)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(head)
        new = data.draw(
            st.binary(min_size=1, max_size=4) | st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff"])
        )
        file[at : at + len(new)] = new
    read_or_refused(bytes(file))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", *sorted({data[:8] for data in SEEDS.values()}), b"RIFF\0\0\0\0WEBPVP8X"]), st.binary())
def test_random_bytes_are_read_or_refused(start: bytes, rest: bytes) -> None:
    read_or_refused(start + rest)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=WHERE):
        decode(text, AT)


def test_warnings_stay_inside_without_touching_the_process(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.warns(UserWarning, match="tag 274 had too many entries"):  # or this file shows nothing
        TiffImagePlugin.TiffImageFile(io.BytesIO(ODD_TIFF))
    fax = bytearray(SEEDS["fax TIFF"])
    fax[8:60] = b"\xff" * 52  # libtiff complains of every row, in C
    filters, start = list(warnings.filters), threading.Barrier(8)

    def work(number: int) -> tuple[int, int]:
        start.wait()
        for _ in range(20):
            read_or_refused(bytes(fax))
            image = decode(b64(ODD_TIFF), AT)
        return image.size

    with caplog.at_level(logging.INFO), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [(2, 2)] * 8
    assert warnings.filters == filters
    assert (caplog.records, capfd.readouterr().err) == ([], "")
    with pytest.warns(UserWarning, match="tag 274 had too many entries"):
        TiffImagePlugin.TiffImageFile(io.BytesIO(ODD_TIFF))


@pytest.mark.parametrize(
    ("width", "height", "most", "grid"),
    [
        # The score is min(tiles * 512^2 / area, 0.6) times how near the shapes are; an equal one does not win.
        (512, 512, 4, (1, 1)),  # 0.6 * 1; 2 x 2 has as much
        (1, 1, 4, (1, 1)),
        (1024, 1024, 4, (2, 2)),  # 1 x 1: 0.25 * 1; 2 x 2: 0.6 * 1
        (1024, 512, 4, (2, 1)),  # 1 x 1: 0.5 * 0.5; 2 x 1: 0.6 * 1
        (512, 1024, 4, (1, 2)),
        (1536, 512, 4, (3, 1)),  # 0.6 * 1, as all of its shape
        (512, 2048, 4, (1, 4)),
        (640, 480, 4, (1, 1)),  # 0.6 * 0.75; 2 x 1: 0.6 * 0.667; 2 x 2: 0.6 * 0.75
        (2480, 3508, 4, (2, 2)),  # A4 at 300 dpi: 0.1205 * 0.707; 1 x 4: 0.1205 * 0.354
        (2480, 3508, 6, (2, 3)),  # 0.181 * 0.943; 2 x 2: 0.1205 * 0.707
        (2000, 2000, 2, (1, 1)),  # 0.0655 * 1; 1 x 2: 0.131 * 0.5
        (4000, 100, 4, (4, 1)),
        (1024, 1024, 1, (1, 1)),
    ],
)
def test_the_grid(width: int, height: int, most: int, grid: tuple[int, int]) -> None:
    columns, rows = grid
    number = columns * rows
    assert count(width, height, Tiling(512, most, thumbnail=False, dynamic=True)) == number
    assert count(width, height, Tiling(512, most, thumbnail=True, dynamic=True)) == (number + 1 if number > 1 else 1)
    assert count(width, height, Tiling(512, most, thumbnail=True, dynamic=False)) == 1
    # The first and last pixels of a gradient tell which way the tiles lie.
    image = Image.fromarray(np.linspace(0, 255, width).astype(np.uint8)[None, :].repeat(height, 0))
    made = tiles(image, Tiling(512, most, thumbnail=False, dynamic=True))
    assert made.shape == (number, 512, 512, 3)
    assert made.dtype == np.uint8
    steps = [int(tile[0, 0, 0]) for tile in made]
    assert steps == sorted(steps[:columns]) * rows


def test_tiles_are_cut_row_by_row_and_the_thumbnail_comes_last() -> None:
    image = NOISE.resize((1024, 1024), Image.Resampling.NEAREST)
    pixels = np.asarray(image)
    made = tiles(image, Tiling(512, 4, thumbnail=True, dynamic=True))
    corners = [pixels[:512, :512], pixels[:512, 512:], pixels[512:, :512], pixels[512:, 512:]]
    assert np.array_equal(made[:4], np.stack(corners))
    assert np.array_equal(made[4], np.asarray(image.resize((512, 512), Image.Resampling.BICUBIC)))


def test_a_palette_is_scaled_before_it_becomes_colours() -> None:
    image = Image.fromarray(np.tile(np.array([[0, 255]], dtype=np.uint8), (9, 5))).convert("1").convert("P")
    assert image.mode == "P"
    assert set(np.unique(tiles(image, SMALL))) == {0, 255}, "bicubic would have made greys"


def test_alpha_is_dropped_after_it_has_weighed_the_colours() -> None:
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    assert tiles(clear, SMALL)[0, 0, 0].tolist() == [255, 0, 0], "not scaled, so only the alpha goes"
    assert tiles(clear.resize((20, 20), Image.Resampling.NEAREST), SMALL).max() == 0, "weighed by an alpha of 0"
    spotted = saved(NOISE.convert("P"), "PNG", transparency=b"\0\1\2")
    assert np.array_equal(tiles(Image.open(io.BytesIO(spotted)), SMALL), tiles(decode(url(spotted), AT), SMALL))


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 12), st.booleans())
def test_the_count_stays_within_the_limit(width: int, height: int, most: int, thumbnail: bool) -> None:
    number = count(width, height, Tiling(512, most, thumbnail=thumbnail, dynamic=True))
    assert 1 <= number <= most + thumbnail
