"""Feed bytes to offers.

- `errors`: why a feed is refused, and the repairs that are counted
- `unpack`, `zip_member`: a file to chunks of bytes, gzip and zip removed
- `encoding`: chunks in any encoding to UTF-8
- `xml_repair`: text that would stop an XML parser, repaired
- `sanitize`: a feed file to blocks of well-formed UTF-8, by the three above
- `dialect`: the interface of a dialect, and the raw offers it returns
- `category_tree`: the categories that a YML feed declares
- `yml`: Yandex YML and Admitad's XML
- `google`: Google Merchant, RSS 2.0 and Atom 1.0
- `fields`, `yml_fields`, `google_fields`, `declared`: every field of the dialects, read or ignored
- `collected`: the texts of an offer by slot, while its elements are read
- `table_feed`, `table_rows`: TSV and CSV to rows, so that a broken row costs itself alone
- `category_path`, `store_stock`: paths of categories, and the stock of several stores
- `supplement`: the texts of supplemental feeds, joined by id
- `normalize`: markup to plain text
- `vocabulary`: a shop's words to ours, by attributes.xml; counts those that nothing knows
- `values`: lists of colours, sizes and materials; numbers of articles
- `money`, `currency_signs`: amounts and currencies in the notations of shops
- `dates`: days in the notations of shops
- `offer_price`: the price of an offer on the run's day, and the higher one before
- `stock`: words, numbers and dates to whether an offer can be bought
- `filters`: the offers that a shop's settings exclude
- `addresses`: addresses of pages and pictures as shops write them
- `offers`: a raw offer to a usable one
- `feed_date`: the day on which a feed was made
- `xml_elements`: the elements of an XML feed, one by one
- `parser`: a feed to its offers, one by one, with flat memory
- `articles`, `shared_articles`: the offers that are one article, in a shop and in several
- `sizes_left`: the sizes in which an article is left
- `fetch`: the files of several shops' feeds, before they are read
- `feed_faults`: what an error means for one feed
- `offer_count`: about how many offers a fetched feed has
- `staging`: the offers of a feed on disk, deduplicated
- `volume_checks`: limits on how much a feed may shrink, grow or fail to map
- `ingest`: one shop's feed to its rows of a run, fresh, stale or missing
"""

from wearalike.feeds.declared import FIELDS
from wearalike.feeds.dialect import WithdrawnOffer
from wearalike.feeds.errors import ADVICE, BadFeed, FeedReason, FeedWarning
from wearalike.feeds.feed_date import MAX_FEED_AGE_DAYS
from wearalike.feeds.fetch import FetchedFeed, fetch_feeds
from wearalike.feeds.ingest import UNUSED_REFUSED, IngestResult, ingest_shop
from wearalike.feeds.normalize import OfferReason
from wearalike.feeds.offer_count import count_offers
from wearalike.feeds.offers import Offer, RefusedOffer
from wearalike.feeds.parser import FeedReader, read_offers
from wearalike.feeds.shared_articles import find_shared_articles
from wearalike.feeds.sizes_left import SizesLeft
from wearalike.feeds.staging import LastGoodFeed
from wearalike.feeds.volume_checks import OfferMapper

__all__ = [
    "ADVICE",
    "FIELDS",
    "MAX_FEED_AGE_DAYS",
    "UNUSED_REFUSED",
    "BadFeed",
    "FeedReader",
    "FeedReason",
    "FeedWarning",
    "FetchedFeed",
    "IngestResult",
    "LastGoodFeed",
    "Offer",
    "OfferMapper",
    "OfferReason",
    "RefusedOffer",
    "SizesLeft",
    "WithdrawnOffer",
    "count_offers",
    "fetch_feeds",
    "find_shared_articles",
    "ingest_shop",
    "read_offers",
]
