"""The pages, rendered here and quick: search, a product, side by side, a photo, quality, judging.

Every word of a feed is escaped by the templates, an address of a shop is a link only where it is http(s), and nothing is loaded
from anywhere but this server. Mounted elsewhere, the pages honour root_path.

frame     what every page has: templates, addresses, headers, who may post
products  search, and a product with what is alike it
compare   distances and models side by side
photo     a photo, and what is alike each item in it
quality   the runs in numbers
judging   pairs to judge, and what came of it
"""

from wearalike.server.pages.routes import add_pages

__all__ = ["add_pages"]
