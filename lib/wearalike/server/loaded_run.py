"""One published run in memory: its galleries, its rules and its photo search."""

from __future__ import annotations

import threading

from wearalike import search as search_module
from wearalike.evaluation.descriptors.described_gallery import DescriptorSearch
from wearalike.models import registry
from wearalike.search import gallery_store
from wearalike.search.photo_items import PhotoNetworks
from wearalike.search.photo_search import PhotoSearch
from wearalike.server.snapshot import PublishedRun
from wearalike.settings import Settings
from wearalike.storage import mirror, run_tables
from wearalike.storage.object_store import StoreFault
from wearalike.tables import INDEXES, MATCHES
from wearalike.warehouse import publish


class RunNotSearchable(LookupError):
    """The data folder lacks the published run's tables, or holds others under its name."""


class LoadedRun:
    """One published run, whose galleries and networks are loaded as they are needed.

    Args:
        settings: Settings of the deployment.
        publication: The run, and when it was published.
        signature: Signature of the tables that were published.
        networks: Networks of the run before, to be reused; None if none were loaded.

    Attributes:
        descriptors: Ranks the products by other models.

    Raises:
        RunNotSearchable: The data folder does not hold the published tables.
    """

    def __init__(
        self,
        settings: Settings,
        publication: PublishedRun,
        signature: str,
        networks: PhotoNetworks | None,
    ) -> None:
        self.publication = publication
        self.run = run = publication.run
        self.signature = signature
        self.networks = networks
        self._settings = settings
        try:
            mirror.open_cache(settings.data_dir, settings.storage)
        except StoreFault as error:
            raise RunNotSearchable(str(error)) from error
        self._check_signature()
        try:
            index_manifest = run_tables.read_manifest(settings.data_dir, INDEXES, run)
            match_manifest = run_tables.read_manifest(settings.data_dir, MATCHES, run)
        except run_tables.TableNotFound as error:
            raise RunNotSearchable(str(error)) from error
        self.detector: str = index_manifest["detector"]
        self.encoder: str = index_manifest["encoder"]
        self.merchandising_rules = gallery_store.load_merchandising_rules(settings.data_dir, run)
        parameters = dict(match_manifest["parameters"])
        parameters.pop("merchandise", None)
        self.rules = search_module.ListRules(**parameters)
        self._galleries: dict[str, gallery_store.GalleryWithProducts] = {}
        self._photo_search: PhotoSearch | None = None
        self.descriptors = DescriptorSearch(settings.data_dir, self._find_gallery)
        self._is_loading = False
        self._lock = threading.Lock()
        # A lock of its own: networks load for seconds, and lists must not wait for them.
        self._photo_search_lock = threading.Lock()

    def load_gallery(self, super_category: str) -> gallery_store.GalleryWithProducts | None:
        """Return the gallery of a super-category; None if none of its products has a code.

        Raises:
            RunNotSearchable: The data folder does not hold the published tables.
            BadIndex: An index file is corrupt.
        """
        root = self._settings.data_dir
        with self._lock:
            if super_category in self._galleries:
                return self._galleries[super_category]
            if super_category not in gallery_store.list_super_categories(root, self.run):
                return None
            gallery = gallery_store.load_gallery_with_products(root, self.run, super_category)
            self._galleries[super_category] = gallery
            self._check_signature()
            return gallery

    def _find_gallery(self, super_category: str) -> search_module.Gallery | None:
        """Return the codes and traits of a super-category; None if none has a code."""
        loaded = self.load_gallery(super_category)
        return None if loaded is None else loaded.gallery

    @property
    def has_photo_search(self) -> bool:
        """True once the photo search is loaded."""
        return self._photo_search is not None

    def begin_loading(self) -> bool:
        """Return whether the caller is the first who wants to load it in the background."""
        with self._lock:
            is_first, self._is_loading = not self._is_loading, True
            return is_first

    def load_photo_search(self) -> PhotoSearch:
        """Return the photo search, with its networks loaded.

        Raises:
            RunNotSearchable: A network cannot be loaded, or its package is not installed.
        """
        with self._photo_search_lock:
            if self._photo_search is None:
                try:
                    self._photo_search = PhotoSearch(
                        self._settings,
                        self.run,
                        load_gallery=self._require_gallery,
                        networks=self.networks,
                        exact_search_max_products=self._settings.serve.exact_search_max_products,
                    )
                except (ImportError, registry.BadModel) as error:
                    raise RunNotSearchable(f"photos: {error}") from error
                self.networks = self._photo_search.networks
            return self._photo_search

    def _require_gallery(self, super_category: str) -> gallery_store.GalleryWithProducts:
        """Return a gallery that the run listed. Raises RunNotSearchable if it is gone."""
        gallery = self.load_gallery(super_category)
        if gallery is None:
            raise RunNotSearchable(
                f"{self._settings.data_dir}: run {self.run} was built again and not published"
            )
        return gallery

    def _check_signature(self) -> None:
        """Raise RunNotSearchable if the data folder no longer holds the published tables."""
        try:
            found = publish.run_signature(self._settings.data_dir, self.run)
        except run_tables.TableNotFound as error:
            raise RunNotSearchable(
                f"{error}; the server searches the published run's tables in the data folder"
            ) from error
        if found != self.signature:
            raise RunNotSearchable(
                f"{self._settings.data_dir}: other tables of run {self.run} than those that were "
                "published; publish it again"
            )
