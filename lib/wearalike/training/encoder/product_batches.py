"""Draw the views of a step: several of each product, siblings, and products of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.training.encoder.descriptor_bank import DescriptorBank
from wearalike.training.encoder.view_plan import CLEAN_VIEW

# Products or articles of one kind that are drawn at a time, and the fewest a kind must have.
_MEMBERS_PER_KIND = 16
_MIN_PRODUCTS_OF_KIND = 8

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ProductIndex:
    """Where the views, the kinds and the siblings of products are.

    Attributes:
        views: Rows of the views of each product.
        kinds: Products of each kind that has enough of them.
        siblings: Other products of each product's article.
        clean_views: Rows of the clean views of each product.
        articles: Products of each article that has clean views of two or more.
        articles_of_kinds: Positions in `articles`, for each kind that has enough of them.
    """

    views: tuple[Rows, ...]
    kinds: tuple[Rows, ...]
    siblings: tuple[Rows, ...]
    clean_views: tuple[Rows, ...]
    articles: tuple[Rows, ...]
    articles_of_kinds: tuple[Rows, ...]


def index_products(bank: DescriptorBank) -> ProductIndex:
    """Index the products of a bank."""
    article_of_product = bank.article_of_product
    products_count = len(article_of_product)
    by_article = _members(article_of_product, int(article_of_product.max()) + 1)
    siblings = (by_article[article_of_product[p]] for p in range(products_count))
    clean_rows = np.flatnonzero(bank.view == CLEAN_VIEW)
    clean = _members(bank.product[clean_rows], products_count)
    has_clean_view = np.array([len(rows) > 0 for rows in clean])
    seen = (products[has_clean_view[products]] for products in by_article)
    articles = tuple(products for products in seen if len(products) > 1)
    kind_of_article = bank.kind_of_product[
        np.array([products[0] for products in articles], np.int64)
    ]
    kinds_count = int(bank.kind_of_product.max()) + 1
    return ProductIndex(
        views=_members(bank.product, products_count),
        kinds=_keep_large(_members(bank.kind_of_product, kinds_count)),
        siblings=tuple(of_article[of_article != p] for p, of_article in enumerate(siblings)),
        clean_views=tuple(clean_rows[rows] for rows in clean),
        articles=articles,
        articles_of_kinds=_keep_large(_members(kind_of_article, kinds_count)),
    )


def _keep_large(kinds: Sequence[Rows]) -> tuple[Rows, ...]:
    """Return the kinds that have enough members."""
    return tuple(kind for kind in kinds if len(kind) >= _MIN_PRODUCTS_OF_KIND)


def _members(classes: NDArray[np.int64], count: int) -> tuple[Rows, ...]:
    """Return the positions of each class 0..count-1, ascending."""
    order = np.argsort(classes, kind="stable")
    edges = np.searchsorted(classes[order], np.arange(count + 1))
    return tuple(order[edges[i] : edges[i + 1]] for i in range(count))


def draw_batch(
    index: ProductIndex, products_count: int, views_count: int, rng: np.random.Generator
) -> Rows:
    """Draw the views of a step.

    Args:
        index: The products.
        products_count: Products to draw: half from all, half of a few kinds.
        views_count: Views of each product.
        rng: Source of randomness.

    Returns:
        int64 (n,). Rows of the bank, ascending, each once.
    """
    rows: list[int] = []
    for product in _draw_members(len(index.views), index.kinds, products_count, rng):
        own = index.views[product]
        if not len(own):
            continue
        rows += list(rng.choice(own, min(views_count, len(own)), replace=False))
        siblings = index.siblings[product]
        if len(siblings):
            of_sibling = index.views[int(rng.choice(siblings))]
            if len(of_sibling):
                rows.append(int(rng.choice(of_sibling)))
    return np.unique(np.array(rows))


def draw_siblings(index: ProductIndex, articles_count: int, rng: np.random.Generator) -> Rows:
    """Draw clean views of two products of some articles.

    Args:
        index: The products.
        articles_count: Articles to draw: half from all, half of a few kinds.
        rng: Source of randomness.

    Returns:
        int64 (n,). Rows of the bank, article by article; none without siblings.
    """
    if not index.articles:
        return np.zeros(0, np.int64)
    rows = []
    for number in _draw_members(len(index.articles), index.articles_of_kinds, articles_count, rng):
        for product in rng.choice(index.articles[number], 2, replace=False):
            rows.append(int(rng.choice(index.clean_views[product])))
    return np.array(rows, np.int64)


def _draw_members(
    members_count: int, kinds: Sequence[Rows], count: int, rng: np.random.Generator
) -> list[int]:
    """Draw half of `count` from all members, half of a few kinds. Returns each once."""
    drawn = rng.choice(members_count, count // 2).tolist()
    while kinds and len(drawn) < count:
        kind = kinds[int(rng.integers(len(kinds)))]
        drawn += rng.choice(kind, min(_MEMBERS_PER_KIND, len(kind)), replace=False).tolist()
    return list(dict.fromkeys(drawn))
