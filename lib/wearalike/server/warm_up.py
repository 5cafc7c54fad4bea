"""Keep the published run loaded, so that no shopper waits for networks and codes."""

from __future__ import annotations

import logging
import threading
import time
from enum import StrEnum
from pathlib import Path

from wearalike.imaging import sandbox
from wearalike.imaging.decode import BadPixels
from wearalike.search.photo_query import PhotoQuery
from wearalike.search.photo_search import PhotoSearch
from wearalike.server.live_search import LiveSearch
from wearalike.server.loaded_run import RunNotSearchable
from wearalike.server.photos import DecodedPhoto
from wearalike.server.snapshot import NotPublished, PublishedRepository, Snapshot
from wearalike.server.thumbnails import ProductImage, ProductImageIndex
from wearalike.storage import content_cache
from wearalike.storage.object_store import StoreFault
from wearalike.tables import SuperCategory
from wearalike.warehouse.base import Unreachable

log = logging.getLogger(__name__)
# The published pointer is looked at this often.
WATCH_INTERVAL_S = 2.0
# Products of each super-category whose pictures are tried for a sample.
SAMPLES_TRIED = 3


class PhotoState(StrEnum):
    """How soon photos can be searched."""

    COLD = "cold"  # the first photo loads networks and codes
    LOADING = "loading"
    WARM = "warm"
    UNAVAILABLE = "unavailable"  # the log says why


class SearchWarmer:
    """Watch the published pointer from a thread, and load each run before it is asked for.

    Args:
        root: The data folder.
        published: The published runs.
        live: Searches them.
        decoders: Decode photos.

    Attributes:
        state: How soon photos can be searched.
        sample: A product's image in which much is found; None if there is none, or none yet.
    """

    def __init__(
        self,
        root: Path,
        published: PublishedRepository,
        live: LiveSearch,
        decoders: sandbox.DecoderPool,
    ) -> None:
        self.state = PhotoState.COLD
        self.sample: ProductImage | None = None
        self._root = root
        self._images = ProductImageIndex(root)
        self._published = published
        self._live = live
        self._decoders = decoders
        self._seen_signature: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="warm-up", daemon=True)

    def start(self) -> None:
        """Load the published run in the background, and each that follows it."""
        self.state = PhotoState.LOADING
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it loads is loaded first.

        The interpreter cannot end while a thread is inside PyTorch. `stop_signals` ends a process
        that takes too long.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                # Loading takes long: the snapshot is not held meanwhile.
                with self._published.snapshot() as s:
                    pass
            except (NotPublished, Unreachable):
                pass  # requests say so themselves; a run may be published at any time
            except Exception:
                # The thread goes on: the warehouse may answer again.
                log.exception("the published run cannot be read")
            else:
                if s.signature != self._seen_signature:
                    self._warm_up(s)
            self._stop.wait(WATCH_INTERVAL_S)

    def _warm_up(self, s: Snapshot) -> None:
        """Load a published run; if that fails, wait for another."""
        began_s = time.monotonic()
        self._seen_signature = s.signature
        self.sample = None
        try:
            search = self._live.warm_up(s).load_photo_search()
        except RunNotSearchable as error:
            log.warning("photos cannot be searched: %s", error)
            self.state = PhotoState.UNAVAILABLE
            return
        except Exception:
            # The thread goes on: the next run may load. The state says what this one does.
            log.exception("run %s cannot be loaded", s.run)
            self.state = PhotoState.UNAVAILABLE
            return
        try:
            self.sample = self._find_sample(s.run, search)
        except Exception:
            # Photos can be searched without a sample.
            log.exception("no sample photo of run %s", s.run)
        took_s = time.monotonic() - began_s
        log.info("run %s is loaded in %.1f s; photos can be searched", s.run, took_s)
        self.state = PhotoState.WARM

    def _find_sample(self, run: str, search: PhotoSearch) -> ProductImage | None:
        """Return the image in which most items are found that much is alike; None for none.

        It starts the decoders, too.
        """
        with self._published.snapshot() as s:
            if s.run != run:
                return None
            products = [
                product["product_id"]
                for super_category in SuperCategory
                for product in s.search(super_category=super_category, limit=SAMPLES_TRIED)
            ]
        images = self._images.find_images(run, products)
        best, most_found = None, 0
        for image in filter(None, map(images.get, products)):
            path = content_cache.image_path(self._root, image.image_id)
            try:
                content_cache.fetch_images(self._root, [image.image_id])
                decoded = DecodedPhoto(path.read_bytes(), self._decoders)
            except (OSError, StoreFault, BadPixels, sandbox.DecoderDied):
                continue
            items = decoded.search(search, PhotoQuery()).items
            found = sum(item.has_much_alike for item in items)
            if found > most_found:
                best, most_found = image, found
            if found > 1 or self._stop.is_set():
                break
        return best
