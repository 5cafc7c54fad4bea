"""Feed bytes to offers.

reading   a file's bytes to blocks of well-formed UTF-8: unpacked, decoded, mended
values    a shop's words to ours: text, money, addresses, people
offers    the records every dialect ends in, and what makes an offer unusable
yml       Yandex YML and Admitad's XML      google   Google Merchant, RSS 2.0 and Atom 1.0
parsing   a feed to its offers, one by one, memory flat
intake    one shop's feed to its rows of a run: fresh, stale or missing
"""

from wearalike.feeds.ingest import ADVICE, IngestResult, LastGoodFeed, OfferMapper, ingest_shop
from wearalike.feeds.normalize import OfferReason
from wearalike.feeds.offers import Offer, RefusedOffer, WithdrawnOffer
from wearalike.feeds.parser import FeedReader, read_offers
from wearalike.feeds.sanitize import BadFeed, FeedReason, FeedWarning

__all__ = [
    "ADVICE",
    "BadFeed",
    "FeedReader",
    "FeedReason",
    "FeedWarning",
    "IngestResult",
    "LastGoodFeed",
    "Offer",
    "OfferMapper",
    "OfferReason",
    "RefusedOffer",
    "WithdrawnOffer",
    "ingest_shop",
    "read_offers",
]
