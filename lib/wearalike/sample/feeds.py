"""The sample shops' feeds in the dialects that real shops speak: Yandex YML, Google Merchant RSS, Admitad XML."""

from __future__ import annotations

from collections.abc import Sequence

from lxml import etree
from lxml.builder import E, ElementMaker

from wearalike.sample.article_types import HUES
from wearalike.sample.catalogue import Flaw, Picture, Product, Shop, Worn

_G = "http://base.google.com/ns/1.0"
_RUSSIAN_SECTIONS = {"bags": "Сумки", "accessories": "Аксессуары"}
_RUSSIAN_GENDERS = {"female": "Женский", "male": "Мужской", "unisex": "Унисекс"}


def feed(shop: Shop, products: Sequence[Product], day: int, address: str) -> tuple[bytes, str]:
    """(the shop's feed, its content type). address: where the shop is served, without a slash at the end."""
    if shop.dialect == "google_rss":
        return _rss(shop, products, address), "application/rss+xml"
    return (_yml if shop.dialect == "yml" else _admitad)(
        shop, products, day, address
    ), "application/xml"


def picture_name(picture: Picture | Worn) -> str:
    if isinstance(picture, Worn):
        return f"worn-{picture.number}.jpg"
    return (
        f"{picture.offer_id}.jpg"
        if picture.view == 0
        else f"{picture.offer_id}-{picture.view + 1}.jpg"
    )


def _picture_urls(product: Product, address: str) -> list[str]:
    return [f"{address}/{product.shop.id}/img/{picture_name(p)}" for p in product.pictures]


def _money(cents: int) -> str:
    return f"{cents / 100:.2f}".removesuffix(".00")


def _price(product: Product) -> str:
    return "по запросу" if product.flaw is Flaw.BAD_PRICE else _money(product.price_cents)


def _yml(shop: Shop, products: Sequence[Product], day: int, address: str) -> bytes:
    """Windows-1251, a category tree by whom it is for, simplified and vendor.model offers mixed as real shops mix them."""
    tree, offers = _Tree(), E.offers()
    for product in products:
        section = product.article.section
        top = (
            _RUSSIAN_SECTIONS.get(section)
            or {"female": "Женщинам", "male": "Мужчинам"}[product.gender]
        )
        offers.append(_yml_offer(product, tree.id_of(top, product.article.many_ru), address))
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


def _yml_offer(product: Product, category_id: str, address: str) -> etree._Element:
    description = E.description()
    description.text = etree.CDATA(f"<p>{product.title}. {product.brand} — «хит» сезона</p>")
    is_simple = int(product.offer_id) % 3 > 0
    offer = E.offer(
        E.url(f"{address}/{product.shop.id}/p/{product.offer_id}?utm_source=feed&utm_medium=cpc"),
        E.price(_price(product)),
        *_old_price(product),
        E.currencyId(product.shop.currency),
        E.categoryId(category_id),
        *map(E.picture, _picture_urls(product, address)),
        *([E.name(product.title)] if is_simple else []),
        E.vendor(product.brand),
        *([] if is_simple else [E.model(product.title)]),
        description,
        *([E.rec(",".join(product.worn_with))] if product.worn_with else []),
        E.param(HUES[product.colour].russian("m"), name="Цвет"),
        E.param(_RUSSIAN_GENDERS[product.gender], name="Пол"),
        E.param("Взрослый", name="Возраст"),
        id=product.offer_id,
        group_id=product.group_id,
        available="true" if product.is_in_stock else "false",
    )
    if not is_simple:
        offer.set("type", "vendor.model")
    return offer


def _rss(shop: Shop, products: Sequence[Product], address: str) -> bytes:
    g = ElementMaker(namespace=_G, nsmap={"g": _G})
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
            g.price(f"{_price(product)} {shop.currency}"),
            g.condition("new"),
            g.brand(product.brand),
            g.product_type(f"{whose}{article.section.capitalize()} > {article.many_en}"),
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


def _admitad(shop: Shop, products: Sequence[Product], day: int, address: str) -> bytes:
    """Categories do not say for whom; the offers do. One offer is marked deleted."""
    tree, offers = _Tree(), E.offers(E.offer(id="999", deleted="true"))
    for product in products:
        offers.append(
            E.offer(
                E.name(product.title),
                E.url(f"{address}/{shop.id}/p/{product.offer_id}"),
                E.price(_price(product)),
                *_old_price(product),
                E.currencyId(shop.currency),
                E.categoryId(
                    tree.id_of(product.article.section.capitalize(), product.article.many_en)
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
    card = E.categoryId(tree.id_of("Gift cards"))
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


def _old_price(product: Product) -> list[etree._Element]:
    return [] if product.old_price_cents is None else [E.oldprice(_money(product.old_price_cents))]


class _Tree:
    """A shop's category tree, numbered as its categories are first asked for."""

    def __init__(self) -> None:
        self.element = E.categories()
        self._ids: dict[tuple[str, ...], str] = {}

    def id_of(self, *path: str) -> str:
        if path not in self._ids:
            parent = {"parentId": self.id_of(*path[:-1])} if path[1:] else {}
            self._ids[path] = str(len(self._ids) + 1)
            self.element.append(E.category(path[-1], id=self._ids[path], **parent))
        return self._ids[path]
