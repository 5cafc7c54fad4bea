"""Feeds: every field of every offer normalised, beside a bare reading of the same fields."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from lxml import etree
from tests.benchmarks.measure import (
    RUNS,
    BenchOptions,
    BenchResult,
    exponent,
    median_seconds,
    seconds,
)

from wearalike import feeds
from wearalike.settings import ShopSettings

OFFERS, OFFERS_FULL = 50_000, 1_000_000
SHOP = ShopSettings(id="shop", feed="http://shop.example/")
# The fields of an offer that become columns, by their tags.
TAGS = (
    "name",
    "url",
    "price",
    "oldprice",
    "currencyId",
    "categoryId",
    "picture",
    "vendor",
    "vendorCode",
    "description",
    "param",
)

_FEED_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<yml_catalog date="2026-11-21 10:00"><shop><name>Shop</name>\
<currencies><currency id="RUB" rate="1"/></currencies>
<categories><category id="1">Женщинам</category>\
<category id="2" parentId="1">Платья</category></categories><offers>
"""
_OFFER_TEMPLATE = """<offer id="{n}" available="true" group_id="g{group}"><url>https://shop.example/p/{n}?a=1&amp;b=2</url>
<price>{price}.50</price><oldprice>{old}</oldprice><currencyId>RUB</currencyId><categoryId>2</categoryId>
<picture>https://shop.example/i/{n}-1.jpg</picture><picture>https://shop.example/i/{n}-2.jpg</picture>
<name>Платье миди «Лето» {n}</name><vendor>Ромашка {brand}</vendor><vendorCode>RM-{n}</vendorCode>
<description>Лёгкое платье из хлопка с короткими рукавами, на каждый день &amp; \
на праздник.</description>
<param name="Цвет">красный</param><param name="Размер" unit="RU">44</param>\
<param name="Размер" unit="RU">46</param>
<param name="Материал">хлопок</param><param name="Пол">женский</param>\
<param name="Возраст">взрослый</param></offer>
"""


def write_feed(folder: Path, offers: int) -> Path:
    path = folder / f"{offers}.xml"
    with path.open("w", encoding="utf-8") as file:
        file.write(_FEED_HEAD)
        for n in range(offers):
            file.write(
                _OFFER_TEMPLATE.format(
                    n=n, group=n // 3, price=1000 + n % 5000, old=7000 + n % 100, brand=n % 500
                )
            )
        file.write("</offers></shop></yml_catalog>\n")
    return path


def read_ours(path: Path) -> int:
    return sum(isinstance(record, feeds.Offer) for record in feeds.read_offers(path, SHOP))


def read_bare(path: Path) -> int:
    count = 0
    for _, offer in etree.iterparse(str(path), tag="offer"):
        read = [offer.get("id"), offer.get("available"), offer.get("group_id")]
        read += [
            (child.tag, child.get("name"), child.get("unit"), child.text)
            for child in offer
            if child.tag in TAGS
        ]
        count += bool(read)
        offer.clear()
        while offer.getprevious() is not None:
            del offer.getparent()[0]
    return count


def rate(options: BenchOptions) -> BenchResult:
    offers = OFFERS_FULL if options.full else OFFERS
    with tempfile.TemporaryDirectory() as folder:
        sizes = [offers // 4, offers // 2, offers]
        paths = [write_feed(Path(folder), size) for size in sizes]
        if not read_ours(paths[-1]) == read_bare(paths[-1]) == offers:
            raise RuntimeError(f"{offers} offers were written, and not as many read")
        growth = exponent(sizes, [seconds(lambda path=path: read_ours(path)) for path in paths])
        ours_s, peer_s = median_seconds(
            [lambda: read_ours(paths[-1]), lambda: read_bare(paths[-1])]
        )
    version = ".".join(map(str, etree.LXML_VERSION[:3]))
    settings = (
        f"lxml {version} iterparse, the same fields' texts and no more, one core, "
        f"{offers} offers of YML"
    )
    ratio = peer_s / ours_s
    return BenchResult(
        "feeds",
        offers / ours_s,
        offers / peer_s,
        "offers/s",
        ratio,
        "≥ 0.5",
        ratio >= 0.5,
        RUNS,
        settings,
        growth,
    )


_PEAK_SCRIPT = """
import sys
from pathlib import Path
from tests.benchmarks import feeds
from tests.benchmarks.measure import peak_bytes
feeds.read_ours(Path(sys.argv[1]))
print(peak_bytes())
"""


def memory(options: BenchOptions) -> BenchResult:
    """The whole process, interpreter and all."""
    offers = OFFERS_FULL if options.full else OFFERS
    sizes = [offers // 4, offers // 2, offers]
    with tempfile.TemporaryDirectory() as folder:
        commands = [
            [sys.executable, "-c", _PEAK_SCRIPT, str(write_feed(Path(folder), size))]
            for size in sizes
        ]
        peaks = [
            float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1e6
            for command in commands
        ]
    settings = f"300 MB, whatever the feed's size; {offers} offers"
    return BenchResult(
        "feeds, memory",
        peaks[-1],
        300,
        "MB",
        peaks[-1] / 300,
        "≤ 1",
        peaks[-1] <= 300,
        1,
        settings,
        exponent(sizes, peaks),
    )


BENCHES = (rate, memory)
