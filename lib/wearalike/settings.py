"""Read the settings: data folder, warehouse, device, shops. Nothing is read on import."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    Strict,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from wearalike import quality_settings
from wearalike.experiment_settings import ExperimentSettings, ListVariantSettings
from wearalike.quality_settings import GateSettings, ListSettings, ModelSettings
from wearalike.retention_settings import RetentionSettings
from wearalike.storage_settings import StorageSettings
from wearalike.validation import describe_error, describe_unknown_key, first_error

# The settings file where neither an option nor the environment names one.
DEFAULT_FILE = Path("wearalike.toml")
# A deployment has it in a folder, which containers mount.
DEPLOYMENT_FILE = Path("settings/wearalike.toml")
SHOP_ID_PATTERN = re.compile(r"[a-z0-9_-]{1,64}")
# The environment variable that overrides each key of the file.
ENVIRONMENT_VARIABLES = {
    key: f"WEARALIKE_{key.upper()}"
    for key in ("data_dir", "warehouse", "device", "spark_master", "mappings", "looks", "poses")
}
# Lists of [serve] that the environment overrides, comma-separated, e.g. in a container.
SERVER_VARIABLES = {
    key: f"WEARALIKE_SERVE_{key.upper()}" for key in ("allowed_hosts", "trusted_proxies")
}
RUN_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SPARK_MASTER_PATTERN = re.compile(
    r"local(\[(\*|[1-9]\d*)(, *\d+)?\])?|local-cluster\[ *\d+ *, *\d+ *, *\d+ *\]|yarn|(spark|k8s)://\S+"
)
CURRENCY_PATTERN = re.compile(r"[A-Z]{3}")

# TOML tells numbers from texts and truth values; a wrong one is refused, not converted.
_Int = Annotated[int, Strict()]
_Count = Annotated[int, Strict(), Field(ge=1)]
_Ratio = Annotated[float, Strict(), Field(ge=0)]
_Share = Annotated[float, Strict(), Field(ge=0, le=1)]
_Flag = Annotated[bool, Strict()]
_Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
_FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def today() -> date:
    """Return today's date in UTC, by which runs are named."""
    return datetime.now(UTC).date()


def day_of_run(run: str) -> date:
    """Return the day of a run: the date YYYY-MM-DD at the start of its name, else today in UTC."""
    try:
        return date.fromisoformat(run[:10])
    except ValueError:
        return today()


class BadSettings(ValueError):
    """The settings file or an environment variable has a value that cannot be used."""


def _check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    """Return networks as they are. Raise ValueError for one that is none."""
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            fault = f", got {network!r}"
            with contextlib.suppress(ValueError):
                meant = ipaddress.ip_network(network, strict=False)
                fault = f": {error}; did you mean {meant}"
            raise ValueError(f"wanted networks such as 10.1.2.0/24{fault}") from error
    return networks


def check_spark_master(master: str) -> str:
    """Return the address of a Spark master as it is.

    Raises:
        ValueError: Spark knows no such master.
    """
    if not _SPARK_MASTER_PATTERN.fullmatch(master):
        raise ValueError(
            f"wanted local[*], local[N], spark://host:port, yarn or k8s://..., got {master!r}"
        )
    return master


class ShopSettings(BaseModel):
    """One shop as the operator describes it.

    Attributes:
        id: The shop's id, [a-z0-9_-]{1,64}.
        feed: Address of the feed. `${NAME}` in it is read from the environment, so that credentials
            stay out of files.
        supplements: Addresses of supplemental feeds, such as one of stock. Their rows are joined by
            id, and their values replace those of the feed; later ones go first.
        dialect: "yml", "admitad", "google_rss", "google_atom" or "google_table" (TSV or CSV of
            Google or Meta); None lets the feed say.
        min_offers: A feed with fewer usable offers is not used; the last good offers stay.
        max_drop_ratio: A feed that loses a larger share of offers against the last good feed, or of
            those with a mapped category, is not used.
        max_growth_ratio: A feed that gains a larger share, and more than 100 offers, is not used: 1
            is twice as many.
        min_products_kept_ratio: 0..1. The gate's threshold for this shop; None: that of [gate].
        max_refused_offers_ratio: 0..1. The gate's threshold for this shop; None: that of [gate].
        max_feed_age_days: Days; the gate's threshold for this shop; None: that of [gate].
        available_false: Meaning of YML's available="false" at this shop: "on_order" or
            "out_of_stock".
        default_currency: ISO 4217 code of prices that name no currency, or name it by a sign of
            several, as "kr".
        decimal_mark: "." or "," in the prices of this shop; None lets each price say. A price such
            as "1.299 €" says nothing, and is read as 1.30.
        excluded_conditions: Conditions whose offers are refused: "new", "refurbished" or "used".
        exclude_adult: Offers that the feed marks for adults are refused.
        excluded_destinations: Offers that the feed excludes from one of these destinations are
            refused, e.g. "Shopping_ads".
        is_delta: The feed holds only what changed since the last good run (Admitad's last_import).
        allowed_networks: Networks (CIDR) that may be connected to although they are not public.
        allowed_ports: Ports that may be connected to. Empty: 80 and 443, and any port of an allowed
            network.
        max_connections_per_host: Connections to one host at the same time.
        min_request_interval_s: Least time between two requests to one host, seconds.
        max_feed_bytes: Largest feed that is read, after decompression.
        max_image_bytes: Largest image that is read.
        contact: An address or a page that the User-Agent names, so that the shop can ask who asks.
        keeps_cookies: Send cookies back to the host that set them, within one chain of redirects.
        secrets: Values that came into `feed` from the environment. Not a key of the file.
    """

    model_config = _FROZEN

    id: Annotated[str, Field(pattern=f"^{SHOP_ID_PATTERN.pattern}$")]
    feed: SecretStr
    supplements: tuple[SecretStr, ...] = ()
    dialect: Literal["yml", "admitad", "google_rss", "google_atom", "google_table"] | None = None
    min_offers: Annotated[_Int, Field(ge=0)] = 1
    max_drop_ratio: _Ratio = 0.5
    max_growth_ratio: _Ratio = 1.0
    min_products_kept_ratio: _Share | None = None
    max_refused_offers_ratio: _Share | None = None
    max_feed_age_days: Annotated[_Int, Field(ge=0, le=10**4)] | None = None
    available_false: Literal["on_order", "out_of_stock"] = "on_order"
    default_currency: Annotated[str, Field(pattern=f"^{CURRENCY_PATTERN.pattern}$")] | None = None
    decimal_mark: Literal[".", ","] | None = None
    excluded_conditions: tuple[Literal["new", "refurbished", "used"], ...] = ()
    exclude_adult: _Flag = False
    excluded_destinations: tuple[str, ...] = ()
    is_delta: _Flag = False
    allowed_networks: tuple[str, ...] = ()
    allowed_ports: tuple[_Port, ...] = ()
    max_connections_per_host: _Count = 8
    min_request_interval_s: _Ratio = 0.0
    max_feed_bytes: _Count = 8_000_000_000
    max_image_bytes: _Count = 16 << 20
    contact: Annotated[str, Field(pattern=r"^[!-'*-~]{0,200}$")] = ""
    keeps_cookies: _Flag = False
    secrets: tuple[str, ...] = Field(default=(), repr=False, exclude=True)

    @field_validator("allowed_networks")
    @classmethod
    def _check_allowed_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return _check_networks(networks)

    @model_validator(mode="after")
    def _check_supplements(self) -> Self:
        if self.is_delta and self.supplements:
            # A delta feed lacks the offers that a supplement may change.
            raise ValueError("supplements need a whole feed; is_delta is true")
        return self

    def redact_secrets(self, text: str) -> str:
        """Return the text with the shop's secrets replaced by ***, quoted or not."""
        for secret in self.secrets:
            for shown in (secret, quote(secret), quote(secret, safe="")):
                text = text.replace(shown, "***")
        return text


class ServerSettings(BaseModel):
    """The limits of `wearalike serve`.

    Attributes:
        requests_a_minute: Limit for one client, requests of any kind.
        searches_a_minute: Limit for one client, requests that search: a photo's, or a list's at
            other weights.
        connections_a_client: Limit for one client, connections at a time.
        allowed_hosts: Names by which browsers may ask, e.g. "similar.shop.example". localhost and
            addresses are always allowed; "*" allows every name.
        trusted_proxies: Addresses and networks (CIDR) of proxies, whose X-Forwarded-For names the
            client.
        allowed_origins: Sites whose pages may ask the API from a browser, e.g.
            "https://shop.example".
        exact_search_max_products: Products of a super-category up to which a photo is compared with
            each. Beyond it a shortlist is searched, which may miss some.
        warm_photos: Load networks and codes for photos at the start and after each publication,
            before a photo is sent. False saves 1.5 GB where nobody sends one.
        public_url: Address at which people open the viewer, e.g. "https://similar.shop.example".
            Lists beside a run's page lead there; empty for none.
    """

    model_config = _FROZEN

    requests_a_minute: _Count = 3000
    searches_a_minute: _Count = 600
    connections_a_client: _Count = 64
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    allowed_origins: tuple[str, ...] = ()
    exact_search_max_products: _Count = 10_000_000
    warm_photos: _Flag = True
    public_url: str = ""

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, address: str) -> str:
        parts = urlsplit(address)
        if address and (parts.scheme not in ("http", "https") or not parts.netloc):
            raise ValueError(f"wanted an address such as https://host, got {address!r}")
        return address

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        return _check_networks(proxies)


class SparkSettings(BaseModel):
    """The size from which a stage starts Spark, where Spark's master is this machine.

    Smaller work is done in the stage's own process, with the same rows. A cluster's master always
    means Spark.

    Attributes:
        min_offers: Offers from which `ingest_feeds` starts Spark, of the last good feeds or in the
            feeds that come; 0 always.
        min_products: Products with a code from which `match_products` starts Spark; 0 always.
    """

    model_config = _FROZEN

    min_offers: Annotated[_Int, Field(ge=0)] = 200_000
    min_products: Annotated[_Int, Field(ge=0)] = 50_000


class Settings(BaseSettings):
    """The settings of a deployment. Made in code, it reads neither file nor environment.

    Attributes:
        data_dir: Folder of all tables and caches, or an object store: s3://, gs:// or az://. Then
            it is a folder of this machine here, the cache of [storage].
        warehouse: "duckdb:<folder>" or "postgresql://...". Default: DuckDB in the data folder.
        device: "auto", "cpu" or "cuda".
        spark_master: Spark's master.
        mappings: Folder of taxonomy.xml and shops/.
        looks: "auto" completes looks from every source; "worn" only from the products' own
            pictures; "off".
        poses: "auto" tells backs and whole figures by poses where the package mediapipe is
            installed; "on" stops a run without it; "off".
        compared_encoders: Encoders that describe the items of each run once it is published, for
            the page Compare, e.g. ["hsv", "contour", "vgg16=vgg16.pth"]; none by default. A run
            does not need them. Those that have to be fitted are fitted once, on the first run.
        shops: The shops.
        serve: The limits of the server.
        models: The models of a run.
        lists: The lists of recommendations.
        gate: The gate's thresholds.
        keep: How long the data folder keeps what no run needs; None: nothing is removed unasked.
        spark: The size from which stages start Spark.
        experiment: Variants of the lists, published beside them; None: no variant.
        storage: The local side of a data_dir that is an object store.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, env_prefix="WEARALIKE_"
    )

    data_dir: Path = Path("build/wearalike")
    warehouse: SecretStr = Field(
        default_factory=lambda values: SecretStr(f"duckdb:{values['data_dir'] / 'warehouse'}")
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    spark_master: str = "local[*]"
    mappings: Path = Path("mappings")
    looks: Literal["auto", "worn", "off"] = "auto"
    poses: Literal["auto", "on", "off"] = "auto"
    compared_encoders: tuple[str, ...] = ()
    shops: tuple[ShopSettings, ...] = ()
    serve: ServerSettings = ServerSettings()
    models: ModelSettings = ModelSettings()
    lists: ListSettings = ListSettings()
    gate: GateSettings = GateSettings()
    keep: RetentionSettings | None = None
    spark: SparkSettings = SparkSettings()
    experiment: ExperimentSettings | None = None
    storage: StorageSettings = StorageSettings()

    @model_validator(mode="before")
    @classmethod
    def _split_object_store(cls, values: Any) -> Any:
        """Take the address of an object store out of `data_dir`; its place takes the cache."""
        data_dir, storage = values.get("data_dir"), values.get("storage", {})
        if not isinstance(storage, dict) or not _is_address(data_dir):
            return values
        cache = storage.get("cache", StorageSettings.model_fields["cache"].default)
        return {**values, "data_dir": cache, "storage": {**storage, "url": str(data_dir)}}

    @field_validator("spark_master")
    @classmethod
    def _check_spark_master(cls, master: str) -> str:
        return check_spark_master(master)

    @field_validator("shops")
    @classmethod
    def _check_shop_ids(cls, shops: tuple[ShopSettings, ...]) -> tuple[ShopSettings, ...]:
        ids = [shop.id for shop in shops]
        if twice := sorted({shop_id for shop_id in ids if ids.count(shop_id) > 1}):
            raise ValueError(f"shop {twice[0]!r} is given twice")
        return shops

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,
        **named_others: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the constructor alone; `read_settings` gives it the other sources."""
        return (init_settings,)

    def encoder_weights(self) -> dict[str, Path | None]:
        """Return the compared encoders, each with its file of weights or None."""
        entries = [entry.partition("=") for entry in self.compared_encoders]
        return {name: Path(file) if has_file else None for name, has_file, file in entries}

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


def find_default_file() -> Path:
    """Return ./wearalike.toml, else ./settings/wearalike.toml if it is there."""
    is_of_deployment = DEPLOYMENT_FILE.is_file() and not DEFAULT_FILE.is_file()
    return DEPLOYMENT_FILE if is_of_deployment else DEFAULT_FILE


def read_settings(
    config: Path | None = None, env: Mapping[str, str] = os.environ, *, needs_feeds: bool = True
) -> Settings:
    """Read the settings from a TOML file; environment variables override it.

    Args:
        config: The file. Default: $WEARALIKE_CONFIG, else `find_default_file` if it is there.
            Relative paths in it start at the file.
        env: The environment; ENVIRONMENT_VARIABLES, SERVER_VARIABLES and those of
            `quality_settings` override the file.
        needs_feeds: False leaves ${NAME} in a feed's address as it is where the environment has no
            NAME: a server asks no feed, and is given no credentials of feeds.

    Raises:
        BadSettings: An unknown key, or a value of the wrong kind. The text names file and key.
    """
    named = config or (Path(env["WEARALIKE_CONFIG"]) if env.get("WEARALIKE_CONFIG") else None)
    path = named or find_default_file()
    if named and not path.is_file():
        hint = "; wanted the file in it" if path.is_dir() else ""
        raise BadSettings(f"{named}: no such settings file{hint}")
    from_file = _FileSource(path, env, needs_feeds)()
    from_environment = _EnvironmentSource(env)()
    try:
        sections = quality_settings.read_environment(env)
    except ValueError as error:
        raise BadSettings(str(error)) from None
    server_lists = {
        key: [part.strip() for part in env[variable].split(",")]
        for key, variable in SERVER_VARIABLES.items()
        if env.get(variable)
    }
    for name, values in {**sections, "serve": server_lists}.items():
        if not values:
            continue
        section = from_file.get(name, {})
        # A value that is no table stays: Settings refuses it below.
        from_file[name] = {**section, **values} if isinstance(section, dict) else section
    try:
        found = Settings(**{**from_file, **from_environment})
    except ValidationError as error:
        first = first_error(error)
        raise BadSettings(_describe_error(path, first, from_file, from_environment)) from None
    if found.storage.url and "warehouse" not in found.model_fields_set:
        # By default it would lie in a cache, which may be lost at any time.
        raise BadSettings(
            f"{path}: warehouse is missing: with data_dir {found.storage.url} name a database, "
            "postgresql://..., or duckdb: and a folder of the machine that publishes and serves"
        )
    return found


class _FileSource(TomlConfigSettingsSource):
    """The settings file: its paths start at the file, and its feeds' ${NAME}s are filled in."""

    def __init__(self, path: Path, env: Mapping[str, str], needs_feeds: bool) -> None:
        self._path, self._env, self._needs_feeds = path, env, needs_feeds
        try:
            super().__init__(Settings, toml_file=path)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadSettings(f"{path}: not TOML: {error}") from error

    def __call__(self) -> dict[str, Any]:
        """Return the file's values, not yet validated."""
        values = dict(self.toml_data)
        if self._path.is_file():
            values.setdefault("mappings", str(Settings.model_fields["mappings"].default))
        folder = self._path.resolve().parent
        for key in ("data_dir", "mappings"):
            if isinstance(values.get(key), str) and not _is_address(values[key]):
                values[key] = Path(os.path.normpath(folder / values[key]))
        storage = values.get("storage")
        if isinstance(storage, dict) and "url" in storage:
            fault = describe_unknown_key("url", StorageSettings)
            raise BadSettings(f"{self._path}: storage: {fault}")
        if storage is None or (isinstance(storage, dict) and isinstance(storage.get("cache"), str)):
            cache = (storage or {}).get("cache", StorageSettings.model_fields["cache"].default)
            values["storage"] = {**(storage or {}), "cache": folder / cache}
        if isinstance(values.get("compared_encoders"), list):
            values["compared_encoders"] = [
                _resolve_weights(folder, entry) if isinstance(entry, str) else entry
                for entry in values["compared_encoders"]
            ]
        if isinstance(values.get("shops"), list):
            values["shops"] = [
                self._fill_in_feed(number, entry) if isinstance(entry, dict) else entry
                for number, entry in enumerate(values["shops"], 1)
            ]
        return values

    def _fill_in_feed(self, number: int, entry: dict[str, Any]) -> dict[str, Any]:
        where = f"{self._path}: shop {entry.get('id', number)!r}"
        if "secrets" in entry:
            raise BadSettings(f"{where}: {describe_unknown_key('secrets', ShopSettings)}")
        if not isinstance(entry.get("feed"), str):
            return entry
        feed, secrets = self._expand(where, "feed", entry["feed"])
        filled = {**entry, "feed": feed}
        if isinstance(entry.get("supplements"), list):
            filled["supplements"] = []
            for address in entry["supplements"]:
                found: tuple[str, ...] = ()
                if isinstance(address, str):
                    address, found = self._expand(where, "supplements", address)
                filled["supplements"].append(address)
                secrets += found
        return {**filled, "secrets": tuple(sorted(set(secrets), key=len, reverse=True))}

    def _expand(self, where: str, key: str, text: str) -> tuple[str, tuple[str, ...]]:
        """Return an address with its ${NAME}s filled in, unless no feed is needed; its secrets."""
        env = self._env
        if not self._needs_feeds:
            env = {name: f"${{{name}}}" for name in _named_variables(text)} | dict(env)
        return _expand_environment(where, key, text, env)


def _resolve_weights(folder: Path, entry: str) -> str:
    """Return an entry of compared_encoders; the file in NAME=FILE starts at the folder."""
    name, has_file, file = entry.partition("=")
    return f"{name}={folder / file}" if has_file else entry


def _is_address(data_dir: Any) -> bool:
    """Return True for a data_dir that is no folder."""
    return isinstance(data_dir, str) and "://" in data_dir


class _EnvironmentSource(EnvSettingsSource):
    """The variables of ENVIRONMENT_VARIABLES that are set and not empty."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # The library looks variables up in lower case.
        return {
            name.lower(): self._env[name]
            for name in ENVIRONMENT_VARIABLES.values()
            if self._env.get(name)
        }


def _describe_error(
    path: Path, error: Any, from_file: Mapping[str, Any], from_environment: Mapping[str, Any]
) -> str:
    """Return a validation error as one sentence with file or variable, key, wanted and found."""
    first, *rest = error["loc"]
    if first in from_environment:
        return f"${ENVIRONMENT_VARIABLES[first]}: {describe_error(error, Settings, error['loc'])}"
    if first == "shops" and error["type"] == "value_error" and not rest:
        return f"{path}: {error['ctx']['error']}"
    if first == "shops" and error["type"] == "value_error" and len(rest) == 1:
        shop_id = from_file["shops"][rest[0]].get("id", rest[0] + 1)
        return f"{path}: shop {shop_id!r}: {error['ctx']['error']}"
    if first == "shops" and len(rest) < 2:
        return f"{path}: shops: wanted [[shops]] tables, one a shop"
    if first == "shops":
        shop_id = from_file["shops"][rest[0]].get("id", rest[0] + 1)
        return f"{path}: shop {shop_id!r}: {describe_error(error, ShopSettings, rest[1:])}"
    sections: dict[str, type[BaseModel]] = {
        "serve": ServerSettings,
        "keep": RetentionSettings,
        "spark": SparkSettings,
        "experiment": ExperimentSettings,
        "storage": StorageSettings,
        **quality_settings.SECTIONS,
    }
    if first == "experiment" and rest[:1] == ["variants"] and len(rest) > 1:
        return f"{path}: experiment: variant {rest[1]!r}: {_describe_variant(error, rest[2:])}"
    if first == "experiment" and not rest and error["type"] == "value_error":
        return f"{path}: experiment: {error['ctx']['error']}"
    if first in sections and not rest:
        return f"{path}: {first}: wanted a [{first}] table, got {error['input']!r}"
    if first in sections:
        return f"{path}: {first}: {describe_error(error, sections[first], rest)}"
    return f"{path}: {describe_error(error, Settings, error['loc'])}"


def _describe_variant(error: Any, rest: list[Any]) -> str:
    """Return an error in a variant of the lists; `rest` is the path to the value from it."""
    if rest:
        return describe_error(error, ListVariantSettings, rest)
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"wanted a table of share, weights, rules and encoder, got {error['input']!r}"


# A shorter value is no secret, and redacting it would leave no text readable.
_MIN_SECRET_CHARS = 4


def _expand_environment(
    where: str, key: str, text: str, env: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """Return the text with its ${NAME}s filled in, and its secrets."""
    names = _named_variables(text)
    if missing := [name for name in names if name not in env]:
        raise BadSettings(f"{where}: {key}: the environment has no {missing[0]}")
    values = sorted(
        {env[name] for name in names if len(env[name]) >= _MIN_SECRET_CHARS}, key=len, reverse=True
    )
    return re.sub(r"\$\{(\w+)\}", lambda match: env[match[1]], text), tuple(values)


def _named_variables(text: str) -> list[str]:
    """Return the names of the ${NAME}s in a text."""
    return re.findall(r"\$\{(\w+)\}", text)
