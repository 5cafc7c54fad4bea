"""The sample shops of the demo: three shops, three feed dialects, 100 offers each, on loopback.

- `sketch`: the outlines a garment is drawn with, and choices that follow from a name
- `materials`: the colours of leather, metal and rubber
- `garment_parts`: sleeves, collars and other parts that garments share
- `garments`, `footwear`, `bags`, `accessories`: sketches of the things
- `models_wearing`: the people who wear them
- `cloth`, `background`, `shading`: patterns, grounds, light and shadow
- `painting`: sketches to pictures
- `article_types`: the kinds of things on sale
- `pictures`: the pictures of offers and outfits
- `catalogue`: the offers of each shop on a day
- `feeds`: offers to feeds
- `server`: feeds and pictures over HTTP
- `photos`: a fourth shop, made of a folder of photos
"""

from wearalike.sample.server import serve_shops, settings_text, write_settings

__all__ = ["serve_shops", "settings_text", "write_settings"]
