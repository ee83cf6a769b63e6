"""Checks of what lies on this host: key, database, disk and limits. They block and change nothing."""

import asyncio
import os
import shutil
import stat
from contextlib import closing
from pathlib import Path

from liqctl.chain.external_signer import SCHEME, SignerRefused, opened_signer
from liqctl.chain.wallet import WatchOnly, is_asked_for, load_signer
from liqctl.core.guards import (
    SETUP_ACCOUNTS_MAX,
    SIGNATURE_FEE_LAMPORTS,
    TOKEN_ACCOUNT_RENT_LAMPORTS,
    Limits,
)
from liqctl.errors import GuardError, LiqctlError, SettingsError
from liqctl.keeper.finding import Check, doubtful, failed, lamports, passed, refused, skipped
from liqctl.keeper.holds import STOP_FILE, stop_file_seen
from liqctl.ports import Store
from liqctl.store.connection import MEMORY, connect
from liqctl.store.open import is_postgres, open_store, server_place, sqlite_path
from liqctl.store.switch import KILL_SWITCH

MOUNTS = Path("/proc/self/mountinfo")
FREE_BYTES_MIN = 256 * 2**20
FREE_BYTES_LOW = 2 * 2**30
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone"}
)
FLEETING_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})
FULL = 2
DATABASE_CHECKS = ("database_durability", "database_cluster", "live_attempts", "kill_switch")
PLACE_CHECKS = ("disk_space", "database_place")
HARMLESS = b"\xffsolana offchain liqctl doctor"  # no transaction begins with this byte


def key_check(source: str) -> tuple[Check, str | None]:
    """Return what is to be said of a signing source, and the address that pays if it can sign.

    Nothing is asked of a person, and nothing of the secret is kept or told.
    """
    text = source.strip()
    if is_asked_for(text):
        hint = "it is asked for when `liqctl watch` starts"
        return doubtful("key", "not in a file, so it was not looked at", hint), None
    if text.startswith(SCHEME):
        return asyncio.run(_external_check(text))  # this thread has no loop of its own
    try:
        signer = load_signer(text)
    except SettingsError as error:
        return refused("key", error), None
    if isinstance(signer, WatchOnly):
        found = f"{signer.address} is a public key: watch only, nothing can be signed"
        return doubtful("key", found, "name a key file with --keypair"), None
    mode = ""
    path = Path(text.removeprefix("file:")).expanduser()
    if path.is_file():
        mode = f", its file has mode {stat.S_IMODE(path.stat().st_mode):04o} and is yours"
    return passed("key", f"signs as {signer.address}{mode}"), signer.address


async def _external_check(source: str) -> tuple[Check, str | None]:
    """Start an external signer and have it sign words that are no transaction."""
    try:
        async with opened_signer(source) as signer:
            address = signer.address
            try:
                await signer.sign(HARMLESS)
            except SignerRefused as error:
                hint = "what was asked is no transaction; it must sign those"
                return doubtful("key", f"of {address}: {error}", hint), address
    except (SettingsError, GuardError) as error:
        hint = "with -vv the log shows what it says on stderr"
        return refused("key", error, hint=hint), None
    return passed("key", f"an external signer signs as {address}; a trial was verified"), address


def database_checks(url: str, genesis: str | None, now_ms: int) -> list[Check]:
    """Return what there is to say of the database; it is opened read-only or not at all.

    `genesis` is that of the cluster, None when it is not known; `now_ms` is unix time.
    """
    cause = "the database cannot be opened"
    try:
        if is_postgres(url):
            return _of_server(url, genesis, now_ms)
        path = sqlite_path(url)
        if path == MEMORY:
            cause = "there is no file"
            raise SettingsError("in memory, where a restart forgets what was sent; name a file")
        file = Path(path).absolute()
        return [*_content(url, file, genesis, now_ms), *_around(file)]
    except LiqctlError as error:
        return [refused("database", error), *_skipped(cause, *DATABASE_CHECKS, *PLACE_CHECKS)]
    except OSError as error:
        found = f"{url} cannot be reached: {error.strerror}"
        hint = "correct the path or the permissions of its directory"
        rest = _skipped(cause, *DATABASE_CHECKS, *PLACE_CHECKS)
        return [failed("database", found, hint), *rest]


def _of_server(url: str, genesis: str | None, now_ms: int) -> list[Check]:
    place = server_place(url)
    on_server = _skipped("it is on a server", *PLACE_CHECKS)
    try:
        store = open_store(url, create=False, read_only=True)
    except SettingsError as error:
        absent = doubtful("database", str(error), "run `liqctl watch` once")
        return [absent, *_skipped("there are no tables yet", *DATABASE_CHECKS), *on_server]
    with closing(store):
        return [
            passed("database", f"{place} opens"),
            passed("database_durability", "PostgreSQL, synchronous_commit is on"),
            _home(store, genesis),
            _live(store, now_ms),
            _switch(store, None),
            *on_server,
        ]


def _content(url: str, file: Path, genesis: str | None, now_ms: int) -> list[Check]:
    if not file.exists():
        return [_absent(file), *_skipped("there is no database yet", *DATABASE_CHECKS)]
    try:
        with closing(open_store(url, create=False, read_only=True)) as store:
            return [
                _access(file),
                _durability(file),
                _home(store, genesis),
                _live(store, now_ms),
                _switch(store, file),
            ]
    except LiqctlError as error:
        cause = "the database cannot be opened"
        return [refused("database", error), *_skipped(cause, *DATABASE_CHECKS)]


def _around(file: Path) -> list[Check]:
    mounts = MOUNTS.read_text(encoding="utf-8") if MOUNTS.exists() else ""
    return [
        disk_check(shutil.disk_usage(_nearest(file.parent)).free),
        place_check(file_system_of(file.resolve(), mounts)),
    ]


def _absent(file: Path) -> Check:
    folder = _nearest(file.parent)
    if not os.access(folder, os.W_OK | os.X_OK):
        hint = "change its owner or mode, or name another file with --database"
        return failed("database", f"none yet, and {folder} is read-only for this user", hint)
    return passed("database", f"none yet: `liqctl watch` creates {file}")


def _access(file: Path) -> Check:
    """Return whether the keeper may write where this check only read."""
    for place in (file, file.parent):
        if not os.access(place, os.W_OK):
            hint = "change its owner or mode"
            return failed("database", f"{place} is read-only for this user", hint)
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        found = f"{file} is open to others (mode {mode:04o})"
        return doubtful("database", found, f"run: chmod 600 {file}")
    return passed("database", f"{file} opens")


def _durability(file: Path) -> Check:
    """Return how commits reach the disk.

    The journal mode is in the file; `synchronous` belongs to a connection, so one that is
    configured as the keeper's is asked for it.
    """
    with closing(
        connect(str(file), create=False, read_only=True, busy_timeout_ms=1_000)
    ) as reading:
        journal = str(reading.execute("PRAGMA journal_mode").fetchone()[0])
    with closing(connect(MEMORY, create=True, read_only=False, busy_timeout_ms=1_000)) as writing:
        level = writing.execute("PRAGMA synchronous").fetchone()[0]
    found = f"journal mode {journal.upper()}, synchronous {'FULL' if level >= FULL else level}"
    if level < FULL:
        hint = "this SQLite refuses synchronous=FULL: install another Python"
        return failed("database_durability", found, hint)
    if journal != "wal":
        hint = "`liqctl watch` switches it to WAL when it opens the database"
        return doubtful("database_durability", found, hint)
    return passed("database_durability", found)


def _home(store: Store, genesis: str | None) -> Check:
    known = store.state("genesis")
    if known is None:
        return passed("database_cluster", "tied to no cluster yet")
    if genesis is None:
        return skipped("database_cluster", "the cluster is not known")
    if known[0] != f'"{genesis}"':
        found = f"it belongs to the cluster with genesis {known[0]}, this one has {genesis}"
        return failed("database_cluster", found, "name another database with --database")
    return passed("database_cluster", "belongs to this cluster")


def _live(store: Store, now_ms: int) -> Check:
    attempts = store.live_attempts()
    if not attempts:
        return passed("live_attempts", "none")
    oldest_s = max(now_ms - min(one.signed_ms for one in attempts), 0) // 1_000
    found = f"{len(attempts)} not final yet, the oldest signed {oldest_s:,} s ago"
    return doubtful("live_attempts", found, "`liqctl watch` settles them before anything else")


def _switch(store: Store, file: Path | None) -> Check:
    row = store.state(KILL_SWITCH)
    stop_file = None if file is None else file.with_name(STOP_FILE)
    there, fault = stop_file_seen(stop_file)
    if fault:
        return failed("kill_switch", f"cannot be read: {fault}", "nothing is signed until it can")
    if there:
        return doubtful("kill_switch", f"set by {stop_file}", "nothing is signed until it is gone")
    if row is not None and row[0] == '"stop"':
        return doubtful("kill_switch", "set in the database", "nothing is signed until a resume")
    return passed("kill_switch", "not set")


def disk_check(free_bytes: int) -> Check:
    """Return whether the database has room to grow."""
    found = f"{free_bytes // 2**20:,} MiB free"
    if free_bytes < FREE_BYTES_MIN:
        return failed("disk_space", found, "free some: nothing is signed on a full disk")
    if free_bytes < FREE_BYTES_LOW:
        return doubtful("disk_space", found, "free some: nothing is signed on a full disk")
    return passed("disk_space", found)


def place_check(kind: str | None) -> Check:
    """Return whether a file system keeps the promises that the write-ahead log needs."""
    if kind is None:
        return passed("database_place", "the kind of file system is not known on this host")
    if kind in NETWORK_FILE_SYSTEMS:
        hint = "choose a local directory: locks and flushes over a network cannot be relied on"
        return failed("database_place", f"a network file system ({kind})", hint)
    if kind in FLEETING_FILE_SYSTEMS:
        hint = "choose a directory on a disk: a restart of the host forgets what was sent"
        return doubtful("database_place", f"a file system in memory ({kind})", hint)
    return passed("database_place", f"a local file system ({kind})")


def file_system_of(file: Path, mounts: str) -> str | None:
    r"""Return the kind of file system that holds an absolute path, by the lines of mountinfo.

    >>> file_system_of(Path("/a/b"), "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /a rw - nfs4 y rw")
    'nfs4'
    """
    best, kind = -1, None
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        words = left.split(" ")
        if len(words) < 5 or not right:
            continue
        point = Path(words[4].replace("\\040", " "))
        if file.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), right.split(" ")[0]
    return kind


def limits_check(limits: Limits, fee_lamports: int) -> Check:
    """Return what the limits on spending allow, with the priority fee of one transaction."""
    cost = fee_lamports + SIGNATURE_FEE_LAMPORTS
    in_the_air = cost + TOKEN_ACCOUNT_RENT_LAMPORTS
    dearest = cost + SETUP_ACCOUNTS_MAX * TOKEN_ACCOUNT_RENT_LAMPORTS
    hour, day = limits.hour_lamports, limits.day_lamports
    found = (
        f"a liquidation costs {lamports(cost)}; {lamports(hour)} an hour are {hour // cost:,} of "
        f"them, {hour // dearest:,} where each has to open two token accounts, and at most "
        f"{hour // in_the_air:,} at a time; {lamports(day)} a day are {day // cost:,}; "
        f"the balance stays above {lamports(limits.balance_lamports_min)}"
    )
    if hour < cost:
        return failed("limits", found, "raise spend_hour_lamports: no liquidation fits into it")
    if hour < dearest:
        hint = "raise spend_hour_lamports: one that has to open token accounts does not fit"
        return doubtful("limits", found, hint)
    return passed("limits", found)


def _skipped(cause: str, *names: str) -> list[Check]:
    return [skipped(name, cause) for name in names]


def _nearest(folder: Path) -> Path:
    """Return the folder, or the closest one above it that exists."""
    return next(one for one in (folder, *folder.parents) if one.is_dir())
