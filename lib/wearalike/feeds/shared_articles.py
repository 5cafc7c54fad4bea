"""Find the articles that several shops sell, by their global numbers."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from wearalike.feeds.articles import ArticleEvidence, JoinedOffers

SHARED_COLUMNS = ["product_id", "shop_id", "article_id", "gtins"]
# A number of more articles was made up.
MAX_ARTICLES_A_NUMBER = 20
# GS1 leaves numbers that begin so to each shop: they tell nothing outside it. In 14 digits the
# first is that of a packing unit.
_SHARED_SQL = f"""
WITH numbered AS (
    SELECT coalesce(article_id, product_id) AS article, shop_id, unnest(gtins) AS gtin
    FROM offers WHERE len(gtins) > 0
)
SELECT list(DISTINCT article ORDER BY article) FROM numbered
WHERE NOT regexp_matches(gtin, '^.(02|04|2)')
GROUP BY gtin
HAVING count(DISTINCT shop_id) > 1 AND count(DISTINCT article) <= {MAX_ARTICLES_A_NUMBER}
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class SharedArticles:
    """The articles of several shops.

    Attributes:
        articles: Text (n,). The articles, each as its shop's offers name it.
        shared: Text (n,). The article of all shops that each belongs to.
    """

    articles: pa.StringArray
    shared: pa.StringArray

    def rename(self, offers: pa.Table) -> pa.Table:
        """Return offers with the articles that other shops share.

        Args:
            offers: tables.OFFERS.
        """
        own = pc.coalesce(offers["article_id"], offers["product_id"])
        rows = pc.index_in(own, self.articles)
        if rows.null_count == len(rows):
            return offers
        renamed = pc.coalesce(self.shared.take(rows.combine_chunks()), offers["article_id"])
        evidence = [
            found if row is None else [*(found or []), *_gtin_if_new(found)]
            for row, found in zip(
                rows.to_pylist(), offers["article_evidence"].to_pylist(), strict=True
            )
        ]
        columns = {
            "article_id": renamed,
            "article_evidence": pa.array(evidence, offers.schema.field("article_evidence").type),
        }
        for name, values in columns.items():
            place = offers.schema.get_field_index(name)
            offers = offers.set_column(place, offers.schema.field(name), values)
        return offers


def _gtin_if_new(found: list[str] | None) -> list[str]:
    """Return the evidence that an offer lacks to be shared."""
    return [] if found and ArticleEvidence.GTIN in found else [str(ArticleEvidence.GTIN)]


def find_shared_articles(offers: ds.Dataset) -> SharedArticles:
    """Return the articles that several shops sell under one GTIN, EAN or UPC.

    Args:
        offers: tables.OFFERS of all shops, at least its SHARED_COLUMNS.
    """
    joined = JoinedOffers()
    with duckdb.connect() as database:
        database.register("offers", offers)
        for (articles,) in database.execute(_SHARED_SQL).fetchall():
            joined.join(articles, ArticleEvidence.GTIN)
    names = sorted(joined.evidence)
    return SharedArticles(
        pa.array(names, pa.string()), pa.array(map(joined.find, names), pa.string())
    )
