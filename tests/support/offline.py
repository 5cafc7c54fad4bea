"""A whole run in a network of only loopback; test_offline.py starts it with `unshare`.

    python offline.py FOLDER SECRET

The shops want credentials in each part of an address, and the warehouse wants a password. Then both
fail: feeds answer 404, and the warehouse is gone. All output goes into FOLDER/said. The exit codes
and the number of packets without a route are printed as JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from tests.support.postgres_server import start_server  # noqa: E402

from wearalike.sample.catalogue import SHOPS  # noqa: E402
from wearalike.sample.server import ShopResponses, serve_responses, settings_text  # noqa: E402


def main(folder: Path, secret: str) -> None:
    _raise_loopback()
    stalls, is_open = ShopResponses(day=1), [True]

    def answer(path: str, address: str) -> tuple[bytes, str] | None:
        if path.endswith("feed.xml"):
            if not is_open[0] or (SHOPS[1].id in path and secret not in path):
                return None
            path = path.replace(f"/{secret}", "")
        return stalls.respond(path, address)

    env = {**os.environ, "SEALED": secret}
    config = ["--config", str(folder / "wearalike.toml")]
    with (folder / "said").open("wb") as said:

        def run(*command: str) -> int:
            return subprocess.run(
                [sys.executable, "-m", *command, *config],
                env=env,
                stdout=said,
                stderr=said,
                timeout=1400,
            ).returncode

        with serve_responses(answer) as address:
            host = address.partition("//")[2]
            feeds = [
                f"{address}/{SHOPS[0].id}/feed.xml?feed=${{SEALED}}",
                f"{address}/{SHOPS[1].id}/${{SEALED}}/feed.xml",
            ]
            feeds.append(f"http://me:{secret}@{host}/{SHOPS[2].id}/feed.xml")
            text = settings_text(
                {shop.id: feed for shop, feed in zip(SHOPS, feeds, strict=True)},
                folder / "root",
                REPOSITORY / "mappings",
            )
            (folder / "wearalike.toml").write_text(text, encoding="utf-8")
            with start_server() as postgres:
                env["WEARALIKE_WAREHOUSE"] = postgres.replace("postgres@", f"postgres:{secret}@")
                codes = [run("wearalike", "run", "--run", "night-1")]
            is_open[0] = False
            codes.append(run("wearalike.pipeline", "publish_tables", "--run", "night-1", "--force"))
            codes.append(run("wearalike.pipeline", "ingest_feeds", "--run", "night-2"))
    print(json.dumps({"codes": codes, "no_route": _count_unroutable_packets()}))


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(
            any_socket, 0x8914, struct.pack("16sh", b"lo", 0x41)
        )  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING


def _count_unroutable_packets() -> int:
    """Return how many packets, DNS queries included, had no route out of this network."""
    names, values = (
        line.split()
        for line in Path("/proc/net/snmp").read_text().splitlines()
        if line.startswith("Ip:")
    )
    sixth = next(
        line.split()[1]
        for line in Path("/proc/net/snmp6").read_text().splitlines()
        if line.startswith("Ip6OutNoRoutes")
    )
    return int(values[names.index("OutNoRoutes")]) + int(sixth)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
