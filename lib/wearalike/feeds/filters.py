"""Refuse the offers that a shop's settings exclude, by condition, adult content or destination."""

from __future__ import annotations

from wearalike.feeds.dialect import RawOffer
from wearalike.feeds.normalize import InvalidOffer, OfferReason
from wearalike.feeds.stock import is_true
from wearalike.feeds.vocabulary import Vocabulary
from wearalike.settings import ShopSettings


def check_filters(raw: RawOffer, shop: ShopSettings, vocabulary: Vocabulary) -> None:
    """Refuse an offer that the shop's settings exclude.

    Args:
        raw: The offer in the shop's words.
        shop: The shop.
        vocabulary: Reads the words of conditions; counts those that it does not know.

    Raises:
        InvalidOffer: EXCLUDED.
    """
    for text in raw.conditions:
        condition = vocabulary.read_condition(text or "")
        if condition and condition in shop.excluded_conditions:
            raise InvalidOffer(
                OfferReason.EXCLUDED, f"condition {condition}; excluded_conditions names it"
            )
    if shop.exclude_adult and any(is_true(text) for text in raw.adult):
        raise InvalidOffer(OfferReason.EXCLUDED, "for adults; exclude_adult is true")
    excluded = {_fold(name) for name in shop.excluded_destinations}
    for text in raw.excluded_destinations:
        for part in (text or "").split(","):
            if _fold(part) in excluded:
                raise InvalidOffer(
                    OfferReason.EXCLUDED,
                    f"excluded_destination {part.strip()[:80]!r}; excluded_destinations names it",
                )


def _fold(name: str) -> str:
    """Return the name of a destination as it is compared."""
    return name.strip().casefold().replace("_", " ")
