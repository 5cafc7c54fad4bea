"""Import Ultralytics without its side effects on the process, the file system and the network."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator

import torch
from PIL import Image

_LOCK = threading.RLock()


@contextlib.contextmanager
def isolated_ultralytics_import() -> Iterator[None]:
    """Undo the global changes of `import ultralytics` when the block ends.

    Inside the block these globals of the process differ from their usual values:

    - Environment variables tell Ultralytics that it is offline, installs nothing and logs nothing.
      Its settings and Matplotlib's go to a temporary folder, which is deleted afterwards.
    - Ultralytics replaces `PIL.Image.open` and `torch.save` by its own functions. Its `Image.open`
      asks for another package if bytes are no picture. Both are put back.

    A lock keeps a second thread out of the block, so that it never saves a replaced function as
    the original. Threads that use `Image.open` or the environment without this block are not
    locked out: they may meet the replaced ones while the first import runs, about a second.
    """
    with _LOCK, tempfile.TemporaryDirectory() as folder:
        image_open = Image.open
        torch_save = torch.save
        switches = {
            "YOLO_OFFLINE": "1",
            "YOLO_AUTOINSTALL": "false",
            "YOLO_VERBOSE": "false",
            "YOLO_CONFIG_DIR": folder,
            "MPLCONFIGDIR": folder,
        }
        before = {name: os.environ.get(name) for name in switches}
        os.environ.update(switches)
        try:
            yield
        finally:
            Image.open = image_open
            torch.save = torch_save
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
