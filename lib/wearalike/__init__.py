"""wearalike: from shops' product feeds to published tables of visually similar products.

docs/concepts/architecture.md lists the packages and says how they depend on each other.
"""

__version__ = "0.1.0"
