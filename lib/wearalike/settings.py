"""Read the settings: data folder, warehouse, device, shops. Nothing is read on import."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

SHOP_ID_PATTERN = re.compile(r"[a-z0-9_-]{1,64}")
# The environment variable that overrides each key of the file.
ENVIRONMENT_VARIABLES = {
    key: f"WEARALIKE_{key.upper()}"
    for key in ("data_dir", "warehouse", "device", "spark_master", "mappings", "looks")
}
RUN_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class BadSettings(ValueError):
    """The settings file or an environment variable has a value that cannot be used."""


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """One shop as the operator describes it.

    Attributes:
        id: The shop's id, [a-z0-9_-]{1,64}.
        feed: Address of the feed. `${NAME}` in it is read from the environment, so that credentials
            stay out of files.
        dialect: "yml", "admitad", "google_rss" or "google_atom"; None lets the feed say.
        min_offers: A feed with fewer usable offers is not used; the last good offers stay.
        max_drop_ratio: 0..1. A feed that loses a larger share of offers against the last good feed,
            or of those with a mapped category, is not used.
        max_growth_ratio: A feed that gains a larger share, and more than 100 offers, is not used: 1
            is twice as many.
        available_false: Meaning of YML's available="false" at this shop: "on_order" or
            "out_of_stock".
        is_delta: The feed holds only what changed since the last good run (Admitad's last_import).
        allowed_networks: Networks (CIDR) that may be connected to although they are not public.
        allowed_ports: Ports that may be connected to. Empty: 80 and 443, and any port of an allowed
            network.
        max_connections_per_host: Connections to one host at the same time.
        min_request_interval_s: Least time between two requests to one host, seconds.
        max_feed_bytes: Largest feed that is read, after decompression.
        max_image_bytes: Largest image that is read.
        secrets: Values that came into `feed` from the environment. Not a key of the file.
    """

    id: str
    feed: str = field(repr=False)  # may hold a password
    dialect: str | None = None
    min_offers: int = 1
    max_drop_ratio: float = 0.5
    max_growth_ratio: float = 1.0
    available_false: str = "on_order"
    is_delta: bool = False
    allowed_networks: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = ()
    max_connections_per_host: int = 8
    min_request_interval_s: float = 0.0
    max_feed_bytes: int = 8_000_000_000
    max_image_bytes: int = 16_000_000
    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def redact_secrets(self, text: str) -> str:
        """Return the text with the shop's secrets replaced by ***, quoted or not."""
        for secret in self.secrets:
            for shown in (secret, quote(secret), quote(secret, safe="")):
                text = text.replace(shown, "***")
        return text


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The limits of `wearalike serve`.

    Attributes:
        requests_a_minute: Limit for one client, requests of any kind.
        searches_a_minute: Limit for one client, requests that search: a photo's, or a list's at
            other weights.
        allowed_origins: Sites whose pages may ask the API from a browser, e.g.
            "https://shop.example".
        exact_search_max_products: Products of a super-category up to which a photo is compared with
            each. Beyond it a shortlist is searched, which may miss some.
    """

    requests_a_minute: int = 3000
    searches_a_minute: int = 600
    allowed_origins: tuple[str, ...] = ()
    exact_search_max_products: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a deployment.

    Attributes:
        data_dir: Folder of all tables and caches.
        warehouse: "duckdb:<folder>" or "postgresql://...".
        device: "auto", "cpu" or "cuda".
        spark_master: Spark's master.
        mappings: Folder of taxonomy.xml and shops/.
        looks: "auto" completes looks where a detector that names classes can run; "off".
        shops: The shops.
        serve: The limits of the server.
    """

    data_dir: Path
    warehouse: str = field(repr=False)  # may hold a password
    device: str = "auto"
    spark_master: str = "local[*]"
    mappings: Path = Path("mappings")
    looks: str = "auto"
    shops: tuple[ShopSettings, ...] = field(default_factory=tuple)
    serve: ServerSettings = field(default_factory=ServerSettings)

    def shop(self, shop_id: str) -> ShopSettings:
        """Return a shop by its id.

        Raises:
            BadSettings: The settings have no such shop.
        """
        for shop in self.shops:
            if shop.id == shop_id:
                return shop
        names = ", ".join(shop.id for shop in self.shops) or "none"
        raise BadSettings(f"no shop {shop_id!r}; the settings name {names}")


def read_settings(config: Path | None = None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from a TOML file; environment variables override it.

    Args:
        config: The file. Default: $WEARALIKE_CONFIG, else ./wearalike.toml if it is there. Relative
            paths in it start at the file.
        env: The environment; ENVIRONMENT_VARIABLES override the file.

    Raises:
        BadSettings: An unknown key, or a value of the wrong kind. The text names file and key.
    """
    named = config or (Path(env["WEARALIKE_CONFIG"]) if env.get("WEARALIKE_CONFIG") else None)
    path = named or Path("wearalike.toml")
    raw: dict[str, Any] = {}
    if path.is_file():
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadSettings(f"{path}: not TOML: {error}") from error
    elif named:
        raise BadSettings(f"{named}: no such settings file")
    overrides = {key: env[name] for key, name in ENVIRONMENT_VARIABLES.items() if env.get(name)}
    here = path.resolve().parent
    values = {
        k: str(here / v) if k in ("data_dir", "mappings") and isinstance(v, str) else v
        for k, v in raw.items()
        if k not in _TABLE_KEYS
    }
    values |= overrides
    known = {f.name for f in fields(Settings)}
    if unknown := sorted(set(values) - known):
        raise BadSettings(f"{path}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
    for key, value in values.items():
        if not isinstance(value, str):
            # An address may hold a password, so it is not repeated.
            shown = type(value).__name__ if key == "warehouse" else repr(value)
            raise BadSettings(f"{path}: {key}: wanted a text, got {shown}")
    if values.get("device", "auto") not in ("auto", "cpu", "cuda"):
        raise BadSettings(f"{path}: device: wanted auto, cpu or cuda, got {values['device']!r}")
    if values.get("looks", "auto") not in ("auto", "off"):
        raise BadSettings(f"{path}: looks: wanted auto or off, got {values['looks']!r}")
    root = Path(values.get("data_dir", "build/wearalike"))
    entries = raw.get("shops", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise BadSettings(f"{path}: shops: wanted [[shops]] tables, one a shop")
    shops = tuple(_parse_shop(path, number, entry, env) for number, entry in enumerate(entries, 1))
    if twice := sorted({s.id for s in shops if sum(t.id == s.id for t in shops) > 1}):
        raise BadSettings(f"{path}: shop {twice[0]!r} is given twice")
    return Settings(
        data_dir=root,
        warehouse=values.get("warehouse", f"duckdb:{root / 'warehouse'}"),
        device=values.get("device", "auto"),
        spark_master=values.get("spark_master", "local[*]"),
        mappings=Path(values.get("mappings", "mappings")),
        looks=values.get("looks", "auto"),
        shops=shops,
        serve=_parse_server(path, raw.get("serve", {})),
    )


_TABLE_KEYS = ("shops", "serve")
_TYPES_BY_ANNOTATION: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "str | None": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
}
_ALLOWED_VALUES = {
    "dialect": ("yml", "admitad", "google_rss", "google_atom"),
    "available_false": ("on_order", "out_of_stock"),
}


def settings_fields(
    kind: type[Settings] | type[ShopSettings] | type[ServerSettings],
) -> list[Field[Any]]:
    """Return the keys that a settings file may have for this class."""
    return [key for key in fields(kind) if key.name != "secrets"]


def _parse_shop(
    path: Path, number: int, entry: dict[str, Any], env: Mapping[str, str]
) -> ShopSettings:
    where = f"{path}: shop {entry.get('id', number)!r}"
    values = _parse_values(where, ShopSettings, entry)
    for key in ("id", "feed"):
        if key not in entry:
            raise BadSettings(f"{where}: {key} is missing")
    if not SHOP_ID_PATTERN.fullmatch(values["id"]):
        raise BadSettings(f"{where}: id: wanted [a-z0-9_-]{{1,64}}, got {values['id']!r}")
    feed, secrets = _expand_environment(where, values["feed"], env)
    return replace(ShopSettings(**values), feed=feed, secrets=secrets)


def _parse_server(path: Path, entry: Any) -> ServerSettings:
    if not isinstance(entry, dict):
        raise BadSettings(f"{path}: serve: wanted a [serve] table, got {entry!r}")
    values = _parse_values(f"{path}: serve", ServerSettings, entry)
    for key in ("requests_a_minute", "searches_a_minute", "exact_search_max_products"):
        if values.get(key, 1) < 1:
            raise BadSettings(f"{path}: serve: {key}: wanted 1 or more, got {values[key]}")
    return ServerSettings(**values)


def _parse_values(
    where: str, kind: type[ShopSettings] | type[ServerSettings], entry: dict[str, Any]
) -> dict[str, Any]:
    """Return the entry's values as the dataclass wants them.

    Raises BadSettings for a key that it does not have or a value of another type.
    """
    by_name = {key.name: key for key in settings_fields(kind)}
    if unknown := sorted(set(entry) - set(by_name)):
        raise BadSettings(
            f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(by_name))}"
        )
    values: dict[str, Any] = {}
    for key, value in entry.items():
        wanted = str(by_name[key].type)
        if wanted.startswith("tuple"):
            element = int if "int" in wanted else str
            if not isinstance(value, list) or not all(isinstance(v, element) for v in value):
                raise BadSettings(
                    f"{where}: {key}: wanted a list of {element.__name__}, got {value!r}"
                )
            value = tuple(value)
        elif not isinstance(value, _TYPES_BY_ANNOTATION[wanted]) or (
            isinstance(value, bool) and wanted != "bool"
        ):
            raise BadSettings(f"{where}: {key}: wanted {wanted}, got {value!r}")
        if key in _ALLOWED_VALUES and value not in _ALLOWED_VALUES[key]:
            raise BadSettings(
                f"{where}: {key}: wanted one of {', '.join(_ALLOWED_VALUES[key])}, got {value!r}"
            )
        values[key] = value
    return values


# A shorter value is no secret, and redacting it would leave no text readable.
_MIN_SECRET_CHARS = 4


def _expand_environment(
    where: str, text: str, env: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """Return the text with its ${NAME}s filled in, and its secrets."""
    names = re.findall(r"\$\{(\w+)\}", text)
    if missing := [name for name in names if name not in env]:
        raise BadSettings(f"{where}: feed: the environment has no {missing[0]}")
    values = sorted(
        {env[name] for name in names if len(env[name]) >= _MIN_SECRET_CHARS}, key=len, reverse=True
    )
    return re.sub(r"\$\{(\w+)\}", lambda match: env[match[1]], text), tuple(values)
