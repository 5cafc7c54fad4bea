"""Feed bytes to offers.

- `errors`: why a feed is refused, and the repairs that are counted
- `unpack`: a file to chunks of bytes, gzip removed
- `encoding`: chunks in any encoding to UTF-8
- `xml_repair`: text that would stop an XML parser, repaired
- `sanitize`: a feed file to blocks of well-formed UTF-8, by the three above
- `dialect`: the interface of a dialect, and the raw offers it returns
- `yml`: Yandex YML and Admitad's XML
- `google`: Google Merchant, RSS 2.0 and Atom 1.0
- `normalize`: a shop's words to ours (text, genders, ages, availability)
- `addresses`: addresses of pages and pictures as shops write them
- `money`, `currency_signs`: amounts, currencies and days in the notations of shops
- `offer_price`: the price of an offer on the run's day, and the higher one before
- `offers`: a raw offer to a usable one
- `feed_date`: the day on which a feed was made
- `parser`: a feed to its offers, one by one, with flat memory
- `staging`: the offers of a feed on disk, deduplicated
- `volume_checks`: limits on how much a feed may shrink, grow or fail to map
- `ingest`: one shop's feed to its rows of a run, fresh, stale or missing
"""

from wearalike.feeds.dialect import WithdrawnOffer
from wearalike.feeds.errors import ADVICE, BadFeed, FeedReason, FeedWarning
from wearalike.feeds.feed_date import MAX_FEED_AGE_DAYS
from wearalike.feeds.ingest import UNUSED_REFUSED, IngestResult, ingest_shop
from wearalike.feeds.normalize import OfferReason
from wearalike.feeds.offers import Offer, RefusedOffer
from wearalike.feeds.parser import FeedReader, read_offers
from wearalike.feeds.staging import LastGoodFeed
from wearalike.feeds.volume_checks import OfferMapper

__all__ = [
    "ADVICE",
    "MAX_FEED_AGE_DAYS",
    "UNUSED_REFUSED",
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
