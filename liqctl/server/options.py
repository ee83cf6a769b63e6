"""What a server is told when it starts: one frozen value, checked by whoever builds it."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one client, and all of them together, may ask for."""

    body_bytes: int = 64 * 1024
    header_bytes: int = 16 * 1024
    header_s: float = 10.0
    idle_s: float = 15.0
    stalled_s: float = 30.0
    connections: int = 512
    connections_per_address: int = 32
    frame_bytes: int = 4 * 1024
    client_queue: int = 64
    ping_s: float = 20.0
    write_bytes: int = 64 * 1024
    shutdown_s: float = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where to listen, what to read, and whom to let in.

    `cors_origins` and `allowed_hosts` are exact; the loopback names are allowed without being
    named. `token_file` None on loopback means the token that is made at first use.
    """

    database_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    token_file: Path | None = None
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach it: everything but a loopback address is."""
        if self.host == "localhost":
            return False
        try:
            return not ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return True
