"""Draw the views of a step: several of each product, siblings, and products of one kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.training.encoder.descriptor_bank import DescriptorBank

# Products of one kind that are drawn at a time, and the fewest a kind must have.
_PRODUCTS_PER_KIND = 16
_MIN_PRODUCTS_OF_KIND = 8

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ProductIndex:
    """Where the views, the kinds and the siblings of products are.

    Attributes:
        views: Rows of the views of each product.
        kinds: Products of each kind that has enough of them.
        siblings: Other products of each product's article.
    """

    views: tuple[Rows, ...]
    kinds: tuple[Rows, ...]
    siblings: tuple[Rows, ...]


def index_products(bank: DescriptorBank) -> ProductIndex:
    """Index the products of a bank."""
    articles = bank.article_of_product
    products_count = len(articles)
    kinds = _members(bank.kind_of_product, int(bank.kind_of_product.max()) + 1)
    by_article = _members(articles, int(articles.max()) + 1)
    siblings = (by_article[articles[p]] for p in range(products_count))
    return ProductIndex(
        _members(bank.product, products_count),
        tuple(kind for kind in kinds if len(kind) >= _MIN_PRODUCTS_OF_KIND),
        tuple(of_article[of_article != p] for p, of_article in enumerate(siblings)),
    )


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
    products = list(rng.choice(len(index.views), products_count // 2))
    while index.kinds and len(products) < products_count:
        kind = index.kinds[int(rng.integers(len(index.kinds)))]
        products += list(rng.choice(kind, min(_PRODUCTS_PER_KIND, len(kind)), replace=False))
    rows: list[int] = []
    for product in dict.fromkeys(products):
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
