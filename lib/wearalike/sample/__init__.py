"""The drawn sample shops that the demo runs on: three shops in three feed dialects, 100 offers each, served on loopback.

sketch      what a garment is drawn with: outlines, and choices that follow from a name
garments    sketches of clothes
things      sketches of shoes, bags and accessories
figures     who wears them
painting    sketches to pictures
articles    the kinds of things there are
catalogue   what each shop sells on a day
feeds       offers to feeds
server      feeds and pictures over HTTP
"""

from wearalike.sample.server import serve_shops, settings_text, write_settings

__all__ = ["serve_shops", "settings_text", "write_settings"]
