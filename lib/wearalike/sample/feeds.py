"""Render the sample shops' feeds as real shops do: Yandex YML, Google Merchant RSS, Admitad XML."""

from __future__ import annotations

from collections.abc import Sequence

from lxml import etree
from lxml.builder import E, ElementMaker

from wearalike.sample.article_types import HUES
from wearalike.sample.catalogue import OfferFlaw, SampleProduct, SampleShop
from wearalike.sample.pictures import OutfitPicture, Packshot

_GOOGLE_NAMESPACE = "http://base.google.com/ns/1.0"
_RUSSIAN_SECTIONS = {"bags": "Сумки", "accessories": "Аксессуары"}
_RUSSIAN_GENDERS = {"female": "Женский", "male": "Мужской", "unisex": "Унисекс"}


def render_feed(
    shop: SampleShop, products: Sequence[SampleProduct], day: int, address: str
) -> tuple[bytes, str]:
    """Render the feed of a shop.

    Args:
        shop: The shop.
        products: Its offers.
        day: The day of the feed, 1 or 2.
        address: The address of the server, without a slash at the end.

    Returns:
        (body, content type).
    """
    if shop.dialect == "google_rss":
        return _render_rss(shop, products, address), "application/rss+xml"
    render = _render_yml if shop.dialect == "yml" else _render_admitad
    return render(shop, products, day, address), "application/xml"


def picture_name(picture: Packshot | OutfitPicture) -> str:
    """Return the file name of a picture."""
    if isinstance(picture, OutfitPicture):
        return f"worn-{picture.number}.jpg"
    if picture.view == 0:
        return f"{picture.offer_id}.jpg"
    return f"{picture.offer_id}-{picture.view + 1}.jpg"


def _picture_urls(product: SampleProduct, address: str) -> list[str]:
    """Return the addresses of an offer's pictures."""
    return [f"{address}/{product.shop.id}/img/{picture_name(p)}" for p in product.pictures]


def _format_cents(cents: int) -> str:
    """Return an amount such as "15" or "15.50"."""
    return f"{cents / 100:.2f}".removesuffix(".00")


def _price_text(product: SampleProduct) -> str:
    """Return the price as the feed writes it."""
    return (
        "по запросу" if product.flaw is OfferFlaw.BAD_PRICE else _format_cents(product.price_cents)
    )


def _render_yml(
    shop: SampleShop, products: Sequence[SampleProduct], day: int, address: str
) -> bytes:
    """Return YML in windows-1251, with categories by audience and with both forms of offers."""
    tree, offers = _CategoryTree(), E.offers()
    for product in products:
        section = product.article.section
        top = (
            _RUSSIAN_SECTIONS.get(section)
            or {"female": "Женщинам", "male": "Мужчинам"}[product.gender]
        )
        offers.append(
            _yml_offer_element(product, tree.category_id(top, product.article.plural_ru), address)
        )
    catalogue = E.yml_catalog(
        E.shop(
            E.name(shop.name),
            E.company(f"ООО «{shop.name}»"),
            E.url(f"{address}/{shop.id}/"),
            E.currencies(E.currency(id=shop.currency, rate="1")),
            tree.element,
            offers,
        ),
        date=f"2026-11-{20 + day} 04:30",
    )
    return etree.tostring(
        catalogue,
        encoding="windows-1251",
        xml_declaration=True,
        doctype='<!DOCTYPE yml_catalog SYSTEM "shops.dtd">',
        pretty_print=True,
    )


def _yml_offer_element(product: SampleProduct, category_id: str, address: str) -> etree._Element:
    """Return an offer, two of three in the simplified form, the others as vendor.model."""
    description = E.description()
    description.text = etree.CDATA(f"<p>{product.title}. {product.brand} — «хит» сезона</p>")
    is_simple = int(product.offer_id) % 3 > 0
    offer = E.offer(
        E.url(f"{address}/{product.shop.id}/p/{product.offer_id}?utm_source=feed&utm_medium=cpc"),
        E.price(_price_text(product)),
        *_old_price_elements(product),
        E.currencyId(product.shop.currency),
        E.categoryId(category_id),
        *map(E.picture, _picture_urls(product, address)),
        *([E.name(product.title)] if is_simple else []),
        E.vendor(product.brand),
        *([] if is_simple else [E.model(product.title)]),
        description,
        *([E.rec(",".join(product.worn_with))] if product.worn_with else []),
        E.param(HUES[product.colour].russian_adjective("m"), name="Цвет"),
        E.param(_RUSSIAN_GENDERS[product.gender], name="Пол"),
        E.param("Взрослый", name="Возраст"),
        id=product.offer_id,
        group_id=product.group_id,
        available="true" if product.is_in_stock else "false",
    )
    if not is_simple:
        offer.set("type", "vendor.model")
    return offer


def _render_rss(shop: SampleShop, products: Sequence[SampleProduct], address: str) -> bytes:
    """Return a Google Merchant feed."""
    g = ElementMaker(namespace=_GOOGLE_NAMESPACE, nsmap={"g": _GOOGLE_NAMESPACE})
    channel = E.channel(
        E.title(shop.name), E.link(f"{address}/{shop.id}/"), E.description(f"{shop.name} catalogue")
    )
    for product in products:
        article, urls = product.article, _picture_urls(product, address)
        whose = (
            {"female": "Women > ", "male": "Men > "}[product.gender]
            if article.section in ("clothing", "shoes")
            else ""
        )
        item = E.item(
            g.id(product.offer_id),
            E.title(product.title),
            E.description(f"{product.title} by {product.brand}"),
            E.link(f"{address}/{shop.id}/p/{product.offer_id}"),
            *map(g.image_link, urls[:1]),
            *map(g.additional_image_link, urls[1:]),
            g.availability("in_stock" if product.is_in_stock else "out_of_stock"),
            g.price(f"{_price_text(product)} {shop.currency}"),
            g.condition("new"),
            g.brand(product.brand),
            g.product_type(f"{whose}{article.section.capitalize()} > {article.plural_en}"),
            g.google_product_category("166"),
            g.item_group_id(product.group_id),
            g.gender(product.gender),
            g.age_group("adult"),
            g.color(product.colour),
        )
        channel.append(item)
    return etree.tostring(
        E.rss(channel, version="2.0"), encoding="UTF-8", xml_declaration=True, pretty_print=True
    )


def _render_admitad(
    shop: SampleShop, products: Sequence[SampleProduct], day: int, address: str
) -> bytes:
    """Return XML whose offers, not categories, name the audience; one offer is marked deleted."""
    tree, offers = _CategoryTree(), E.offers(E.offer(id="999", deleted="true"))
    for product in products:
        offers.append(
            E.offer(
                E.name(product.title),
                E.url(f"{address}/{shop.id}/p/{product.offer_id}"),
                E.price(_price_text(product)),
                *_old_price_elements(product),
                E.currencyId(shop.currency),
                E.categoryId(
                    tree.category_id(
                        product.article.section.capitalize(), product.article.plural_en
                    )
                ),
                *map(E.picture, _picture_urls(product, address)),
                E.vendor(product.brand),
                E.gender(product.gender),
                E.Color(product.colour),
                E.available("In Stock" if product.is_in_stock else "Out of stock"),
                E.modified_time(str(1_795_000_000 + 86_400 * day)),
                id=product.offer_id,
                group_id=product.group_id,
                available="true" if product.is_in_stock else "false",
            )
        )
    card = E.categoryId(tree.category_id("Gift cards"))
    gift = (
        E.name("Gift card"),
        E.url(f"{address}/{shop.id}/p/gift"),
        E.price("50"),
        E.currencyId(shop.currency),
        card,
    )
    offers.append(
        E.offer(*gift, E.picture(f"{address}/{shop.id}/img/gift.jpg"), id="gift", available="true")
    )
    catalogue = E.yml_catalog(
        E.shop(E.name(shop.name), E.url(f"{address}/{shop.id}/"), tree.element, offers),
        date=f"2026-11-{20 + day} 04:30",
    )
    return etree.tostring(catalogue, encoding="UTF-8", xml_declaration=True, pretty_print=True)


def _old_price_elements(product: SampleProduct) -> list[etree._Element]:
    """Return the old price, if there is one."""
    if product.old_price_cents is None:
        return []
    return [E.oldprice(_format_cents(product.old_price_cents))]


class _CategoryTree:
    """A shop's category tree, numbered in the order of first use."""

    def __init__(self) -> None:
        self.element = E.categories()
        self._ids: dict[tuple[str, ...], str] = {}

    def category_id(self, *path: str) -> str:
        """Return the id of a category; add it and its parents if they are new."""
        if path not in self._ids:
            parent = {"parentId": self.category_id(*path[:-1])} if path[1:] else {}
            self._ids[path] = str(len(self._ids) + 1)
            self.element.append(E.category(path[-1], id=self._ids[path], **parent))
        return self._ids[path]
