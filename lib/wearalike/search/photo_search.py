"""A shopper's photo to products: every item found in it, and the products most alike each.

A photo's item has no category, unless the shopper names one. It takes the weights of the category
that most of its ten nearest in shape have, unless the shopper gives others. Those ten also say how
far each kind is, on average over theirs; a leaf classifier says it in their place.

docs/evidence/quality.md has the figures of both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wearalike import search
from wearalike.catalog import feed_distances
from wearalike.catalog.kinds import MAX_KIND_DISTANCE
from wearalike.catalog.xml_validation import did_you_mean
from wearalike.encoding import encoders
from wearalike.imaging import decode
from wearalike.search import gallery_store, inverted_multi_index
from wearalike.search.condition_masks import match_conditions
from wearalike.search.gallery import Gallery
from wearalike.search.page_rules import CompiledRules
from wearalike.search.photo_audience import VOTERS_PER_ITEM, guess_gender
from wearalike.search.photo_items import (
    PhotoNetworks,
    detect_and_encode,
    load_photo_networks,
    row_corners,
)
from wearalike.search.photo_kinds import expected_kind_distances, voted_kind_distances
from wearalike.search.photo_query import (
    DetectedItem,
    PhotoQuery,
    PhotoResult,
    SimilarProduct,
    Weights,
)
from wearalike.search.product_attributes import build_photo_page
from wearalike.search.ranked_lists import filtered_list_rules
from wearalike.search.reasons import describe_likeness
from wearalike.settings import Settings
from wearalike.tables import Gender


class UnknownCategory(ValueError):
    """A photo query names a category that the run's taxonomy lacks."""


class PhotoSearch:
    """A run that can be searched by photo; several threads may use it.

    Example:
        >>> photos = PhotoSearch(settings, "2026-11-21")
        >>> result = photos.search(Path("photo.jpg").read_bytes(), PhotoQuery(k=5))
        >>> [(item.super_category, len(item.results)) for item in result.items]
    """

    def __init__(
        self,
        settings: Settings,
        run: str,
        detector: str | None = None,
        load_gallery: Callable[[str], gallery_store.GalleryWithProducts] | None = None,
        networks: PhotoNetworks | None = None,
        exact_search_max_products: int | None = None,
    ) -> None:
        """Load models and codes.

        Args:
            settings: The settings.
            run: The run to search.
            detector: Name or version of a trained detector; default: the promoted one, else the
                packaged one.
            load_gallery: Returns the gallery of a super-category; default: it is read from the run.
            networks: Those of another search, used where their versions are the same.
            exact_search_max_products: With more eligible products in a super-category, an item is
                compared with a shortlist of them; None: always with all.

        Raises:
            TableNotFound: The run lacks a table.
            BadModel: A model file is damaged or missing.
            BadIndex: An index file is not the run's.
            ValueError: The detector does not classify what it finds.
        """
        root = settings.data_dir
        self.run = run
        self._merchandising_rules = gallery_store.load_merchandising_rules(root, run)
        self.networks = load_photo_networks(settings, run, detector, networks)
        if load_gallery is None:
            load_gallery = partial(gallery_store.load_gallery_with_products, root, run)
        self._galleries = {
            name: load_gallery(name) for name in gallery_store.list_super_categories(root, run)
        }
        self._category_kinds = feed_distances.read_feed_distances(root, run).kinds
        self._exact_search_max_products = exact_search_max_products
        self._shortlists = {
            name: inverted_multi_index.build_inverted_multi_index(held.gallery.codes)
            for name, held in self._galleries.items()
            if not self._is_searched_exactly(len(held.gallery))
        }

    def warm_up(self) -> None:
        """Use networks and galleries once: the first photo is then as fast as the next."""
        self.networks.warm_up()
        code = np.zeros(4, np.uint64)
        for name in self._galleries:
            row = {"super_category": name, "confidence": 0.0, "x0": 0, "y0": 0, "x1": 1, "y1": 1}
            self._search_item(row, code, None, PhotoQuery())

    def search(self, content: bytes, photo_query: PhotoQuery | None = None) -> PhotoResult:
        """Return the products most alike the items of a photo.

        Args:
            content: Bytes of the photo's file.
            photo_query: The shopper's wishes; default: `PhotoQuery()`.

        Raises:
            BadPixels: The file is no picture that can be decoded.
            UnknownCategory: The taxonomy of the run lacks the category asked for.
        """
        photo_query = photo_query or PhotoQuery()
        self._check_category(photo_query.category)
        header = decode.read_header(content)
        photo_id = hashlib.sha256(content).hexdigest()
        # Decode to the end: a truncated file is refused, not a photo without items.
        decode.decode_image(content, self.networks.detector.side_px)
        rows, codes, chances = detect_and_encode(self.networks, content)
        query_id = self._query_id(photo_id, photo_query)
        is_gender_guessed = False
        if photo_query.guesses_gender and photo_query.gender is None:
            guess = self._guess_gender(rows, codes, photo_query)
            photo_query = replace(photo_query, gender=guess)
            is_gender_guessed = guess is not None
        return PhotoResult(
            query_id,
            self.run,
            photo_id,
            header.width_px,
            header.height_px,
            self.networks.detector.version,
            self.networks.encoder.version,
            tuple(
                self._search_item(row, code, item_chances, photo_query)
                for row, code, item_chances in zip(rows, codes, chances, strict=True)
            ),
            photo_query.gender,
            is_gender_guessed,
        )

    def _guess_gender(
        self, rows: list[dict[str, Any]], codes: NDArray[np.uint64], photo_query: PhotoQuery
    ) -> Gender | None:
        """Return for whom the products nearest to the items are made; None if they disagree."""
        rules = search.ListRules(k=VOTERS_PER_ITEM, min_score=0, max_per_brand=VOTERS_PER_ITEM)
        genders: list[str | None] = []
        for row, code in zip(rows, codes, strict=True):
            super_category = str(row["super_category"])
            held = self._galleries.get(super_category)
            if held is None:
                continue
            gallery = held.gallery
            eligible = search.eligible_candidates(gallery, photo_query.age_group, None)
            nearest = self._shortlist_candidates(
                super_category, np.flatnonzero(eligible), code, 1, 1
            )
            if len(nearest):
                ranked = search.search_code(gallery, nearest, code, 1, 1, rules)
                genders += gallery.gender[ranked.results].tolist()
        return guess_gender(genders)

    def _check_category(self, category: str | None) -> None:
        """Raise UnknownCategory for a category that is no leaf of the run's taxonomy."""
        known = self._category_kinds.kind_of_category if self._category_kinds else {}
        if category is not None and category not in known:
            raise UnknownCategory(
                f"category {category!r}: no leaf of the taxonomy of run {self.run}"
                f"{did_you_mean(category, known)}"
            )

    def _query_id(self, photo_id: str, photo_query: PhotoQuery) -> str:
        """Return an id that is equal for equal queries."""
        versions = [self.networks.detector.version, self.networks.encoder.version]
        encoder = self.networks.encoder
        if isinstance(encoder, encoders.LeafEncoder):
            versions.append(encoder.leaves_version)
        wishes = asdict(photo_query)
        if not photo_query.guesses_gender:
            # Queries from before it could be asked for keep their ids.
            del wishes["guesses_gender"]
        if not photo_query.keeps_kind:
            del wishes["keeps_kind"]
        query = [self.run, photo_id, *versions, wishes]
        return hashlib.sha256(json.dumps(query).encode()).hexdigest()[:32]

    def _search_item(
        self,
        row: dict[str, Any],
        code: NDArray[np.uint64],
        chances: NDArray[np.float32] | None,
        photo_query: PhotoQuery,
    ) -> DetectedItem:
        """Return a detected item with the products most alike it."""
        super_category = str(row["super_category"])
        detected = (*row_corners(row), float(row["confidence"]), super_category)
        held = self._galleries.get(super_category)
        eligible = np.empty(0, np.int64)
        if held is not None:
            eligible = np.flatnonzero(
                search.eligible_candidates(held.gallery, photo_query.age_group, photo_query.gender)
            )
        if held is None or not len(eligible):
            weights = photo_query.named_weights or Weights(1, 1)
            return DetectedItem(*detected, None, *weights._replace(kind=0), ())
        gallery = held.gallery
        like_row = self._row_of_category(gallery, photo_query.category)
        expected = None
        if like_row is None:
            near = self._shortlist_candidates(super_category, eligible, code, 1, 0)
            (voters,) = search.find_voters(gallery, near, code[None])
            like_row = search.elect_category(gallery, voters)
            expected = self._expected_distances(gallery, chances, voters)
        category = str(gallery.attributes.category[like_row])
        weights = photo_query.weigh(
            Weights(
                int(gallery.shape_weight[like_row]),
                int(gallery.colour_weight[like_row]),
                int(gallery.kind_weight[like_row]),
            )
        )
        if self._category_kinds is None:
            weights = weights._replace(kind=0)
        page = build_photo_page(category, photo_query.on_shop, photo_query.on_brand)
        compiled_rules = CompiledRules(self._merchandising_rules, gallery.attributes, page)
        shown = eligible[compiled_rules.rules_for_page(0).may_show(eligible)]
        if photo_query.filters:
            shown = shown[match_conditions(photo_query.filters, gallery.attributes)[shown]]
        if not len(shown):
            return DetectedItem(*detected, category, *weights, ())
        candidates = self._shortlist_candidates(super_category, shown, code, *weights[:2])
        kinds = search.QueryKinds.of_row(gallery, like_row, weights.kind)
        if expected is not None:
            kinds = search.QueryKinds(weights.kind, expected)
        if weights.kind:
            # The shortlist looks at codes alone: of the same kind farther ones may be wanted.
            of_kind = _nearest_in_kind(gallery, shown, kinds.distances)
            same = self._shortlist_candidates(super_category, of_kind, code, *weights[:2])
            candidates = np.union1d(candidates, same)
        rules = filtered_list_rules(search.ListRules(k=photo_query.k), photo_query.filters)
        ranked = search.search_code(gallery, candidates, code, *weights[:2], rules, kinds)
        likeliest = None
        if self._category_kinds is not None:
            of_category = gallery.kind_table.distances[gallery.kind[like_row]]
            likeliest = of_category[gallery.kind[ranked.results]]
        results = _build_similar_products(held, ranked, weights, likeliest)
        return DetectedItem(*detected, category, *weights, results)

    def _row_of_category(self, gallery: Gallery, category: str | None) -> int | None:
        """Return a row of the category, or else of its kind; None if there is none."""
        if category is None or self._category_kinds is None:
            return None
        rows = np.flatnonzero(gallery.attributes.category == category)
        if not len(rows):
            kind = self._category_kinds.kind(category)
            is_kind = np.array(gallery.kind_table.names) == kind
            rows = np.flatnonzero(is_kind[gallery.kind])
        return int(rows[0]) if len(rows) else None

    def _expected_distances(
        self, gallery: Gallery, chances: NDArray[np.float32] | None, voters: NDArray[np.int64]
    ) -> NDArray[np.int32] | None:
        """Return how far an item is from each kind of a gallery; None if the run has no kinds."""
        if self._category_kinds is None:
            return None
        if chances is None or not isinstance(self.networks.encoder, encoders.LeafEncoder):
            return voted_kind_distances(gallery, voters)
        return expected_kind_distances(
            self._category_kinds, self.networks.encoder.kinds, chances, gallery.kind_table.names
        )

    def _is_searched_exactly(self, product_count: int) -> bool:
        limit = self._exact_search_max_products
        return limit is None or product_count <= limit

    def _shortlist_candidates(
        self,
        super_category: str,
        eligible: NDArray[np.int64],
        code: NDArray[np.uint64],
        shape_weight: int,
        colour_weight: int,
    ) -> NDArray[np.int64]:
        """Return the eligible rows, or those that could be near the code if there are many."""
        if self._is_searched_exactly(len(eligible)):
            return eligible
        min_count = inverted_multi_index.min_shortlist_size(len(eligible))
        cells = self._shortlists[super_category]
        return cells.shortlist(code, shape_weight, colour_weight, eligible, min_count)


def _build_similar_products(
    held: gallery_store.GalleryWithProducts,
    ranked: search.RankedList,
    weights: Weights,
    likeliest: NDArray[np.int32] | None,
) -> tuple[SimilarProduct, ...]:
    """Return the products of a list with their scores and reasons, best first.

    Args:
        held: The products of the super-category.
        ranked: The list.
        weights: Weights that it was searched with.
        likeliest: int32 (results,). Distances from the kind of the item's category, of which
            reasons speak; None if its kind is not known.
    """
    distance = (
        weights.shape * ranked.shape + weights.colour * ranked.colour + weights.kind * ranked.kind
    )
    kind: list[int] | list[None] = [None] * len(ranked.kind)
    said = kind
    if likeliest is not None:
        kind, said = ranked.kind.tolist(), likeliest.tolist()
    shape, colour = ranked.shape.tolist(), ranked.colour.tolist()
    columns: dict[str, Sequence[Any]] = {
        "score": search.score(distance, sum(weights)).tolist(),
        "shape_score": search.score(ranked.shape, 1).tolist(),
        "colour_score": search.score(ranked.colour, 1).tolist(),
        "shape_distance": shape,
        "colour_distance": colour,
        "kind_score": kind if likeliest is None else search.score(ranked.kind, 1).tolist(),
        "kind_distance": kind,
        "reason": list(map(partial(describe_likeness, language="en"), said, colour, shape)),
        "reason_ru": list(map(partial(describe_likeness, language="ru"), said, colour, shape)),
    }
    return tuple(
        SimilarProduct(**{name: values[i] for name, values in columns.items()}, **product)
        for i, product in enumerate(held.display_rows(ranked.results))
    )


def _nearest_in_kind(
    gallery: Gallery, rows: NDArray[np.int64], distances: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Return those of the rows whose kind is nearest.

    Args:
        gallery: The products.
        rows: int64 (m,). Rows of the gallery.
        distances: int32 (kinds,). The distance to each kind of the gallery.
    """
    of_row = distances[gallery.kind[rows]]
    return rows[of_row == of_row.min(initial=MAX_KIND_DISTANCE)]
