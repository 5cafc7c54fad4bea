"""Feeds in zip archives: one feed, within limits, or a true reason."""

import gzip
import io
import struct
import zipfile

import pytest
from tests.feeds.test_feeds import offer, read_bytes, refusal, yml
from tests.feeds.test_table_feed import ROW, table

from wearalike.feeds import FeedReason
from wearalike.feeds.offer_count import count_offers
from wearalike.feeds.zip_member import MAX_DIRECTORY_BYTES

WHOLE = yml(offer()).encode()


def pack(members, compression=zipfile.ZIP_DEFLATED, comment=b""):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.comment = comment
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
def test_a_feed_in_a_zip_is_read(tmp_path, compression):
    for content in (WHOLE, gzip.compress(WHOLE)):
        _, (found,) = read_bytes(tmp_path, pack([("feed.xml", content)], compression, b"by hand"))
        assert found.offer_id == "1"


def test_the_name_of_a_feed_in_a_zip_and_what_systems_add_do_not_matter(tmp_path):
    members = [("a/", b""), ("__MACOSX/._x", b"1"), ("a/.DS_Store", b"2"), ("../../etc/x", WHOLE)]
    _, (found,) = read_bytes(tmp_path, pack(members))
    assert found.offer_id == "1" and list(tmp_path.iterdir()) == [tmp_path / "feed"]
    _, (coat,) = read_bytes(tmp_path, pack([("feed.tsv", table([ROW], "\t"))]))
    assert coat.title == ROW["title"]


def encrypted(archive):
    """The archive with the marks of encryption set in both of its headers."""
    marked = bytearray(archive)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        marked[marked.index(mark) + place] |= 1
    return bytes(marked)


def with_method(archive, method):
    """The archive with another method of packing in both of its headers."""
    changed = bytearray(archive)
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", changed, changed.index(mark) + place, method)
    return bytes(changed)


ZIP = pack([("feed.xml", WHOLE)])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pack([]), FeedReason.ARCHIVE),
        (pack([("a/", b"")]), FeedReason.ARCHIVE),
        (pack([("a.xml", WHOLE), ("b.xml", WHOLE)]), FeedReason.ARCHIVE),
        (pack([("a.zip", ZIP)]), FeedReason.ARCHIVE),
        (gzip.compress(ZIP), FeedReason.ARCHIVE),
        # Its name says that it is UTF-8, and is not.
        (pack([("ж.xml", WHOLE)]).replace("ж".encode(), b"\xff\xfe"), FeedReason.BROKEN),
        (encrypted(ZIP), FeedReason.ARCHIVE),
        (with_method(ZIP, 9), FeedReason.ARCHIVE),
        (pack([("a.gz", gzip.compress(gzip.compress(WHOLE)))]), FeedReason.TOO_LARGE),
        (ZIP[:-30], FeedReason.TRUNCATED),
        (ZIP[:100], FeedReason.TRUNCATED),
        (pack([("feed.xml", WHOLE[:-9])]), FeedReason.TRUNCATED),
        (ZIP[:60] + b"xxxx" + ZIP[64:], FeedReason.BROKEN),
        (pack([(f"{n}.xml", b"") for n in range(MAX_DIRECTORY_BYTES // 50)]), FeedReason.ARCHIVE),
        (pack([("feed.xml", b"")]), FeedReason.EMPTY),
    ],
)
def test_a_zip_of_no_use_says_why(tmp_path, content, reason):
    (tmp_path / "counted.xml").write_bytes(content)
    assert count_offers(tmp_path / "counted.xml", 1 << 20) >= 0, "to count offers ends no night"
    assert refusal(tmp_path, content) is reason


def test_a_bomb_in_a_zip_is_refused_before_it_unpacks(tmp_path):
    bomb = WHOLE[:-30] + b" " * 60_000_000
    assert refusal(tmp_path, pack([("feed.xml", bomb)])) is FeedReason.TOO_LARGE
    inner = gzip.compress(bomb, 9)
    assert refusal(tmp_path, pack([("feed.xml.gz", inner)])) is FeedReason.TOO_LARGE
