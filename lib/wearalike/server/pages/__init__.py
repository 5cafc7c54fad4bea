"""The pages, rendered on the server: search, product, photo, quality, judging, labelling.

Templates escape every word of a feed. A shop's address becomes a link only if it is http(s).
Pages load nothing from other servers. Mounted in another app, they honour root_path.

- base: shared by all pages: addresses, headers, the check of who may post
- products: search, and a product with its similar products
- history: when a product's recommendations came and went, and why
- compare: rankings by other weights and models, side by side
- photo: search by photo
- quality: metrics of the published run and of earlier ones
- figure_products, refusals: the products and refusals behind its figures
- part_filters: its filters, by shop, category and encoder
- judging: pairs to judge, and the results
- labelling: boxes of pictures, and where two people disagree
- routes: static files, thumbnails and error pages
"""

from wearalike.server.pages.routes import add_pages

__all__ = ["add_pages"]
