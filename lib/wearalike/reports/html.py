"""The one Jinja environment: every HTML page of the library is rendered here.

Templates lie in the folder `templates/` of the package that shows them, and their names are unique.
All values are escaped, so that no word of a feed becomes markup. An unknown variable is an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2

LIBRARY_DIR = Path(__file__).resolve().parents[1]


def render(
    template: str, filters: Mapping[str, Callable[..., Any]] | None = None, /, **context: Any
) -> str:
    """Render a template of the library.

    Args:
        template: File name, e.g. "run_page.html".
        filters: Filters of this page alone, by name, beside those of `environment`.
        context: Variables of the template.

    Returns:
        The page, HTML.

    Raises:
        jinja2.TemplateNotFound: No package has such a template.
        jinja2.UndefinedError: The template uses a variable that `context` lacks.

    Example:
        >>> render("problem.html", heading="Not found", ...)
    """
    jinja = environment()
    if filters:
        jinja = jinja.overlay()
        jinja.filters = {**jinja.filters, **filters}
    return jinja.get_template(template).render(**context)


@cache
def environment() -> jinja2.Environment:
    """Return the environment, with the filters count, share, ratio, words, money and shop_link.

    Its test `finite` is true for a number that is neither NaN nor infinite.
    """
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(sorted(LIBRARY_DIR.glob("*/templates"))),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {
        "count": lambda value: "" if value is None else f"{value:,.0f}",
        "share": lambda value: "" if value is None else f"{value:.2f}",
        "ratio": lambda value: "" if value is None else f"{value:.3f}",
        "words": lambda name: str(name).replace("_", " "),
        "money": format_price,
        "shop_link": safe_shop_url,
    }
    jinja.tests["finite"] = lambda value: value is not None and math.isfinite(value)
    return jinja


def format_price(cents: int, currency: str) -> str:
    """Return a price such as "1,999 RUB"; hundredths are shown only where there are any."""
    return f"{cents / 100:,.2f}".removesuffix(".00") + f" {currency}"


def safe_shop_url(address: str | None) -> str | None:
    """Return the address if a link may lead there: http or https with a host; else None.

    This keeps out `javascript:` and other schemes that a feed may hold.
    """
    if not address:
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and parts.netloc else None
