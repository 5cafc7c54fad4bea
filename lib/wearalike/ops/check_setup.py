"""The doctor's checks of Spark's master, of rules against products, and of refused pictures."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Set
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from wearalike import catalog
from wearalike.catalog.merchandising_rules import MerchandisingRule, MerchandisingRuleKind
from wearalike.catalog.taxonomy import Taxonomy
from wearalike.catalog.xml_validation import did_you_mean
from wearalike.net.http_client import FetchReason
from wearalike.ops.check_result import (
    CheckResult,
    CheckStatus,
    Environment,
    failed_result,
    ok_result,
)
from wearalike.settings import today
from wearalike.storage import run_tables
from wearalike.tables import IMAGES, PRODUCTS

_CONNECT_TIMEOUT_S = 5.0
_DEFAULT_PORTS = {"spark": 7077, "k8s": 443}
# Where YARN's client finds its cluster.
_YARN_VARIABLES = ("HADOOP_CONF_DIR", "YARN_CONF_DIR")
# Hosts of refused pictures that are named.
_MAX_SHOWN_HOSTS = 5


def check_spark(environment: Environment) -> Iterator[CheckResult]:
    """Check that something listens where the settings say that Spark's master is."""
    master = environment.settings.spark_master
    kind, _, rest = master.partition("://")
    if kind == "yarn":
        if any(environment.env.get(name) for name in _YARN_VARIABLES):
            yield ok_result("spark", "yarn, with the cluster's configuration")
        else:
            yield failed_result(
                "spark", "yarn, but no configuration of it", f"set {' or '.join(_YARN_VARIABLES)}"
            )
        return
    if kind not in _DEFAULT_PORTS:
        yield ok_result("spark", f"{master}: in this machine")
        return
    # A standby cluster names several masters; one of them answers.
    addresses = re.sub(r"^https?://", "", rest).split(",")
    errors = [_connection_error(address, _DEFAULT_PORTS[kind]) for address in addresses]
    if None in errors:
        yield ok_result("spark", f"{master} answers")
        return
    yield failed_result(
        "spark",
        f"{master}: {'; '.join(filter(None, errors))}",
        "start Spark's master, or set spark_master in the settings, e.g. to local[*]",
    )


def _connection_error(address: str, default_port: int) -> str | None:
    """Return why nothing can be connected to at HOST[:PORT]; None if it can."""
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname or "", parts.port or default_port
        socket.create_connection((host, port), _CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        return f"{address}: {getattr(error, 'strerror', None) or error}".lower()
    return None


def check_rules(environment: Environment) -> Iterator[CheckResult]:
    """Check that today's rules speak of brands, shops and products that the last run has."""
    place = environment.settings
    runs = run_tables.list_runs(place.data_dir, PRODUCTS)
    if not runs:
        return
    try:
        taxonomy = catalog.read_taxonomy(place.mappings / "taxonomy.xml")
        rules = catalog.read_rules(catalog.rules_path(place), taxonomy)
    except (OSError, catalog.BadMapping):
        return  # check_mappings reports the mistakes
    active = [rule for rule in rules if rule.is_active_on(today())]
    if not active:
        return
    columns = ["product_id", "shop_id", "brand", "super_category"]
    products = run_tables.read_table(place.data_dir, PRODUCTS, runs[-1], columns)
    faults = [fault for rule in active for fault in _rule_faults(rule, products, taxonomy)]
    for fault in faults:
        yield CheckResult(
            "rules",
            CheckStatus.WARN,
            f"{fault} in run {runs[-1]}",
            "mend the rule; `wearalike rules preview` shows which lists it alters",
        )
    if not faults:
        yield ok_result("rules", f"{len(active)} of today: all speak of products of {runs[-1]}")


def _rule_faults(rule: MerchandisingRule, products: pa.Table, taxonomy: Taxonomy) -> Iterator[str]:
    """Yield the reasons why a rule can do nothing."""
    name = f"rule {rule.id}"
    if rule.brand is not None:
        brands = {b.lower(): b for b in pc.unique(products["brand"]).drop_null().to_pylist()}
        if rule.brand.lower() not in brands:
            guess = did_you_mean(rule.brand, brands.values())
            yield f"{name}: no product has the brand {rule.brand!r}{guess}"
    shops: Set[str] = set(pc.unique(products["shop_id"]).to_pylist())
    for shop in {rule.shop, rule.on_shop} - {None}:
        if shop not in shops:
            yield f"{name}: no product of the shop {shop!r}{did_you_mean(str(shop), shops)}"
    wanted = pa.array([rule.product, rule.on_product], pa.string())
    named = products.filter(pc.is_in(products["product_id"], wanted))
    supers = dict(
        zip(named["product_id"].to_pylist(), named["super_category"].to_pylist(), strict=True)
    )
    for product in (rule.product, rule.on_product):
        if product is not None and product not in supers:
            yield f"{name}: no product {product!r}"
    if rule.kind != MerchandisingRuleKind.PIN or rule.product not in supers:
        return
    pinned = supers[rule.product]
    pages = set()
    if rule.on_product in supers:
        pages.add(supers[rule.on_product])
    if rule.on_category is not None:
        prefix = f"{rule.on_category}."
        pages |= {
            str(leaf.super_category)
            for leaf in taxonomy.leaves.values()
            if leaf.id == rule.on_category or leaf.id.startswith(prefix)
        }
    if pages and pinned not in pages:
        yield (
            f"{name}: {rule.product} is of {pinned}, and its pages are of "
            f"{', '.join(sorted(pages))}, where it is never shown"
        )


def check_pictures(environment: Environment) -> Iterator[CheckResult]:
    """Check whether the last run refused pictures because their hosts have private addresses."""
    root = environment.settings.data_dir
    runs = run_tables.list_runs(root, IMAGES)
    if not runs:
        return
    refused = run_tables.read_refused(root, runs[-1])
    is_private = pc.and_(
        pc.equal(refused["stage"], IMAGES.name),
        pc.equal(refused["reason"], str(FetchReason.PRIVATE_ADDRESS)),
    )
    private = refused.filter(is_private).to_pylist()
    if not private:
        return
    hosts = {str(urlsplit(str(row["detail"]).split(": ")[0]).hostname) for row in private}
    shops = ", ".join(sorted({str(row["shop_id"]) for row in private}))
    shown = ", ".join(sorted(hosts)[:_MAX_SHOWN_HOSTS])
    yield CheckResult(
        "pictures",
        CheckStatus.WARN,
        f"{len(private):,} of {shops} refused in run {runs[-1]}: private addresses of {shown}",
        "a host in your own network: allowed_networks = ['10.1.2.0/24'] in the [[shops]] table",
    )
