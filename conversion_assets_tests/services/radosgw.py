"""Ceph's S3 gateway on the smallest cluster there is: one monitor, one object store in memory."""

from __future__ import annotations

import contextlib
import secrets
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conversion_assets_tests.services.processes import HOST, answers, folder, free_port, program, run, serving

CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{port}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = {home}/keyring
run dir = {home}
crash dir = {home}
log file =
log to stderr = true
pid file =
admin socket =
mon data = {home}/mon
mon allow pool size one = true
mon data avail crit = 1
paxos propose interval = 0.05
osd data = {home}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
rgw data = {home}/rgw
"""
KEYS = {
    "mon.": ("mon", "allow *"),
    "client.admin": ("mon", "allow *", "osd", "allow *"),
    "client.rgw.a": ("mon", "allow rw", "osd", "allow rwx"),
    "osd.0": ("mon", "allow profile osd", "osd", "allow *"),
}
GONE_WITH_THE_FOLDER = signal.SIGKILL


@dataclass(frozen=True)
class S3Server:
    """Where an S3 server listens, and a user who may make buckets.

    Attributes:
        endpoint_url: its address; buckets are named in the path.
        key: access key id.
        secret: secret access key.
    """

    endpoint_url: str
    key: str
    secret: str = field(repr=False)


@contextlib.contextmanager
def radosgw(logs: Path) -> Iterator[S3Server]:
    """Run a Ceph cluster with its S3 gateway; it forgets everything at the end."""
    for name in ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin"):
        program(name)
    with folder() as home, _monitor(home, logs), _object_store(home, logs):
        port = free_port()
        server = S3Server(f"http://{HOST}:{port}", secrets.token_hex(10), secrets.token_hex(20))
        frontend = f"beast endpoint={HOST}:{port}"
        with serving(
            [*_ceph(home, "radosgw"), "-f", "-n", "client.rgw.a", "--rgw-frontends", frontend],
            log=logs / "radosgw.log",
            ready=answers(server.endpoint_url),
            stop=GONE_WITH_THE_FOLDER,
        ):
            user = ["--uid", "test", "--display-name", "test"]
            keys = ["--access-key", server.key, "--secret-key", server.secret]
            run([*_ceph(home, "radosgw-admin"), "user", "create", *user, *keys])
            yield server


@contextlib.contextmanager
def _monitor(home: Path, logs: Path) -> Iterator[None]:
    port = free_port()
    (home / "ceph.conf").write_text(CONFIGURATION.format(fsid=uuid.uuid4(), port=port, home=home))
    _make_keyring(home)
    monitor = [*_ceph(home, "ceph-mon"), "-i", "a", "--public-addr", f"v2:{HOST}:{port}"]
    (home / "mon").mkdir()
    run([*monitor, "--mkfs", "--keyring", str(home / "keyring")])
    with serving(
        [*monitor, "-f"],
        log=logs / "ceph-mon.log",
        ready=lambda: bool(run([*_ceph(home, "ceph"), "--connect-timeout", "60", "mon", "stat"])),
        stop=GONE_WITH_THE_FOLDER,
    ):
        yield


@contextlib.contextmanager
def _object_store(home: Path, logs: Path) -> Iterator[None]:
    identity = str(uuid.uuid4())
    store = [*_ceph(home, "ceph-osd"), "-i", "0"]
    (home / "osd").mkdir()
    run([*_ceph(home, "ceph"), "osd", "new", identity])
    run([*store, "--mkfs", "--osd-uuid", identity])
    with serving(
        [*store, "-f"],
        log=logs / "ceph-osd.log",
        ready=lambda: " 1 up" in run([*_ceph(home, "ceph"), "osd", "stat"]),
        stop=GONE_WITH_THE_FOLDER,
    ):
        yield


def _make_keyring(home: Path) -> None:
    keyring = home / "keyring"
    keyring.touch(mode=0o600)
    for name, rights in KEYS.items():
        pairs = zip(rights[::2], rights[1::2], strict=True)
        capabilities = [part for service, right in pairs for part in ("--cap", service, right)]
        run([program("ceph-authtool"), keyring, "--gen-key", "-n", name, *capabilities])


def _ceph(home: Path, name: str) -> list[str]:
    return [program(name), "-c", str(home / "ceph.conf")]
