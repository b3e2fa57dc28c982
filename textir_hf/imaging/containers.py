"""What an image file says before any codec runs: how many parts and pages it has, and whether its data is complete."""

import struct
from collections.abc import Iterator

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

MAX_PARTS = 100_000  # chunks of a PNG, segments of a JPEG, strips or tiles of a TIFF
MAX_SCAN_PIXELS = 2_000_000_000  # a progressive JPEG's scans times its pixels; each scan passes over all of them
_MAX_PAGES = 100  # counted one by one
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_USED = (b"textir\0", b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")  # texts with settings or an orientation
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_HEADER = 1 << 20  # bytes of an AVIF or HEIC in which its properties are looked for
_TIFF_JPEG = 7
_TIFF_COMPRESSIONS = (1, 5, _TIFF_JPEG, 8, 32773, 32946, 50000)  # none, LZW, JPEG, Deflate, PackBits, Zstandard
_JPEG_SIZES = (0xC0, 0xC1, 0xC2)  # markers of the segment that has height and width


class UnfitImage(ValueError):
    """Why an image is refused: a sentence that continues the image's name."""


def check_parts(content: bytes) -> None:
    """Checks that a PNG or a JPEG has no more parts than a decoder can pass in a second.

    Args:
        content: The file.

    Raises:
        UnfitImage: It has more than `MAX_PARTS`.
    """
    walk = png_chunks if content.startswith(_PNG) else _jpeg_segments if content.startswith(_JPEG) else None
    if walk is not None and any(number > MAX_PARTS for number, _ in enumerate(walk(content), 1)):
        raise UnfitImage(f"has more than {MAX_PARTS} chunks. Save it anew.")


def png_chunks(content: bytes) -> Iterator[int]:
    """Where a PNG's chunks start."""
    position = len(_PNG)
    while position + 8 <= len(content):
        yield position
        position += 12 + struct.unpack_from(">I", content, position)[0]


def without_text(content: bytes) -> bytes:
    """A PNG without its text, except short ones that `open_image` uses; other files as they are."""
    if not content.startswith(_PNG):
        return content
    starts = list(png_chunks(content))
    chunks = [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]
    return _PNG + b"".join(c for c in chunks if c[4:8] not in _TEXT or (c[8:].startswith(_USED) and len(c) < 1 << 16))


def is_heic(content: bytes) -> bool:
    """Whether a file calls itself HEIC, as iPhones write it; an AVIF has the same container and other names."""
    names = content[8 : min(int.from_bytes(content[:4], "big"), 256)]
    return content[4:8] == b"ftyp" and any(names[i : i + 4] in _HEIC for i in range(0, len(names), 4))


def color_code(content: bytes) -> tuple[int, int] | None:
    """The numbers of ITU-T H.273 for an image's primaries and transfer function, if a PNG, AVIF or HEIC has them."""
    if content.startswith(_PNG):
        chunk = next((place for place in png_chunks(content) if content[place + 4 : place + 8] == b"cICP"), None)
        return None if chunk is None else struct.unpack_from(">BB", content, chunk + 8)
    box = content.find(b"colrnclx", 0, _HEADER) if content[4:8] == b"ftyp" else -1
    return None if box < 0 else struct.unpack_from(">HH", content, box + 8)


def _jpeg_segments(content: bytes) -> Iterator[int]:
    """Up to the first scan."""
    position = len(_JPEG)
    while position + 4 <= len(content) and content[position + 1] != 0xDA:
        yield position
        position += 2 + max(2, struct.unpack_from(">H", content, position + 2)[0])


def check_opened(image: Image.Image, content: bytes) -> None:
    """Checks what an opened image's header says about its data.

    Args:
        image: From `PIL.Image.open`, not decoded.
        content: The file.

    Raises:
        UnfitImage: It has several pages or frames, too many scans, or lacks some of its data.
    """
    count = 1 if image.format in ("MPO", "HEIF") else _count_pages(image)  # whose first frame is the photo itself
    if count > 1:
        number = f"more than {_MAX_PAGES}" if count > _MAX_PAGES else count
        unit = "pages" if image.format == "TIFF" else "frames"
        raise UnfitImage(f"has {number} {unit}, and one image is expected. Save one of them as PNG.")
    scans = content.count(b"\xff\xda") if content.startswith(_JPEG) else 1
    if scans * image.width * image.height > MAX_SCAN_PIXELS:
        raise UnfitImage(f"has {scans} scans, too many for {image.width}x{image.height} pixels. Save it as PNG.")
    if isinstance(image, TiffImageFile):
        _check_tiff(image.tag_v2, content)


def _count_pages(image: Image.Image) -> int:
    if image.format not in ("TIFF", "GIF"):
        return getattr(image, "n_frames", 1)
    count = 1
    try:
        while count <= _MAX_PAGES:
            image.seek(count)
            count += 1
    except EOFError:
        image.seek(0)
    return count


def _check_tiff(tags, content: bytes) -> None:
    """Decoders leave undefined what no strip covers, and what a damaged one lacks where its code has no end mark."""
    compression = tags.get(259, 1)
    if compression not in _TIFF_COMPRESSIONS:
        raise UnfitImage(f"is a TIFF of compression {compression}, whose damages go unnoticed. Save it with LZW.")
    width, height, tiled = tags[256], tags[257], 324 in tags
    offsets = tags.get(324 if tiled else 273) or ()
    columns, rows = (tags[322], tags[323]) if tiled else (width, min(tags.get(278, height), height))
    expected = -(-width // columns) * -(-height // rows)
    if tags.get(284) == 2:  # a plane for each channel
        expected *= tags.get(277, 1)
    found = sum(offset > 0 for offset in offsets)
    if found < expected:
        raise UnfitImage(f"holds {found} of its {expected} strips of pixels. The file is damaged.")
    if found > MAX_PARTS:
        raise UnfitImage(f"has more than {MAX_PARTS} strips. Save it as PNG.")
    if compression == _TIFF_JPEG:
        left = rows if tiled else height
        for strip in jpeg_strips(tags, content):
            if not _is_jpeg(strip, columns, min(rows, left)):
                raise UnfitImage("holds a damaged strip of pixels. Save it as PNG.")
            left = rows if tiled else left - rows if left > rows else height  # the next plane's first


def jpeg_strips(tags, content: bytes) -> list[bytes]:
    """The JPEGs in a TIFF, each with the tables that all share; none in one of another compression."""
    if tags.get(259, 1) != _TIFF_JPEG:
        return []
    places = zip(*(tags.get(tag) or () for tag in ((324, 325) if 324 in tags else (273, 279))), strict=True)
    tables = tags.get(347) or _JPEG + b"\xff\xd9"
    return [tables[:-2] + content[offset + 2 : offset + size] for offset, size in places]


def _is_jpeg(strip: bytes, width: int, height: int) -> bool:
    """Whether a strip is a JPEG of at least this size, up to its end mark."""
    for start in _jpeg_segments(strip):
        if strip[start + 1] in _JPEG_SIZES:
            found = struct.unpack_from(">HH", strip, start + 5)
            return strip.rstrip(b"\0").endswith(b"\xff\xd9") and found[0] >= height and found[1] >= width
    return False
