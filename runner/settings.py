"""What an operator may set, all of it in `RUNNER_*` variables."""

import os
import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runner.errors import Rejected

DEFAULT_ACTIONS_URL = "https://github.com"
DEFAULT_LABELS = ("self-hosted", "linux", "x64", "ubuntu-latest")


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
LONGEST = 100 * 365 * 86400


def seconds(said: object) -> int:
    """A span of time as people write it, such as `90d` or `1h30m`, or a number of seconds; up to 100 years.

    Raises `ValueError`.
    """
    text = str(said).strip().lower()
    parts = re.findall(r"(\d{1,12})([smhdw])", text)
    whole = parts and "".join(f"{number}{unit}" for number, unit in parts) == text
    number = sum(int(number) * UNITS[unit] for number, unit in parts) if whole else None
    if number is None and re.fullmatch(r"\d{1,12}", text):
        number = int(text)
    if number is None or number > LONGEST:
        raise ValueError("give a span of time such as 90d, 24h or 1h30m, or a number of seconds")
    return number


Span = Annotated[int, BeforeValidator(seconds)]


class Settings(BaseSettings):
    """One process's settings. Times are in seconds."""

    model_config = SettingsConfigDict(env_prefix="RUNNER_", extra="ignore", frozen=True)

    home: Path = Path.home() / ".runner"
    database: str = ""
    """SQLAlchemy's URL; SQLite in the home folder where it is empty."""
    broker: str = "memory://"
    host: str = "127.0.0.1"
    port: int = Field(default=8787, ge=0, le=65535)
    url: str = ""
    """The address under which people and forges reach the server; host and port where it is empty."""
    token: str = ""
    """The API token that the CLI sends; read from the home folder where it is empty."""
    executor: str = "sandbox"
    """What runs the jobs of repositories that name no executor; `host` only where you trust all of them."""
    job_network: bool = True
    """Whether jobs in the sandbox and in docker have the network; the host's always have."""
    labels: str = ",".join(DEFAULT_LABELS)
    concurrency: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=1024)
    lease: float = Field(default=30, ge=1, le=3600)
    drain: float = Field(default=60, ge=0, le=86400)
    """How long SIGTERM lets running steps go on before it stops them and hands their jobs back."""
    git_protocols: str = "https:ssh"
    """What clone URLs may use, as GIT_ALLOW_PROTOCOL takes it; `file` only for trusted administrators."""
    git_networks: str = ""
    """Networks that clone URLs may lead to besides public addresses, separated by commas."""
    secret_key_file: Path | None = None
    """Where the key of the secrets is, the same on every machine; in the home where it is not said."""
    actions_url: str = DEFAULT_ACTIONS_URL
    """Where repositories that are used, but not registered, are cloned from: `owner/name` comes after it."""
    keep_snapshots: float = Field(default=3 * 24 * 3600, ge=0)
    """For how long the files of a job that has ended are kept, so that it can be resumed where it stopped."""
    snapshot_bytes: int = Field(default=10 * 1024**3, ge=0)
    """The space that the kept files of all such jobs may take on a worker's machine."""
    mirror_bytes: int = Field(default=100 * 1024**3, ge=0)
    """The space that copies of repositories may take on a worker's machine; 0 is no limit."""
    fetch_bytes: int = Field(default=20 * 1024**3, ge=0)
    """How much one fetch from a repository may bring; 0 is no limit."""
    base_bytes: int = Field(default=10 * 1024**3, ge=0)
    """The space that the unpacked trees of commits may take on a worker's machine, besides those in use."""
    docker: str = ""
    """Docker's socket URL; the system's own where it is empty."""
    objects: str = ""
    """Where artifacts, caches and durable snapshots are: s3://BUCKET/PREFIX; in the home if it is empty."""
    snapshot: Literal["local", "durable", "off"] = "local"
    """What becomes of the files that steps leave, where neither a job nor its repository says it."""
    repo_max_jobs: int = Field(default=0, ge=0, le=10**6)
    """How many jobs of one repository run at once; 0 is no limit, here and below."""
    repo_max_queued: int = Field(default=0, ge=0, le=10**6)
    """How many runs of one repository may be there that have not ended."""
    queue_timeout: Span = 24 * 3600
    """How long a job waits for a worker before it fails."""
    run_timeout: Span = 400 * 86400
    """How long a run may take, whatever it waits for, before it is cancelled: no sleep is longer."""
    keep_logs: Span = 90 * 86400
    """How long the logs of a run are kept after its end."""
    keep_runs: Span = 400 * 86400
    """How long a run is kept after its end."""
    keep_artifacts: Span = 90 * 86400
    """How long an artifact is kept at the most; none outlives its run."""
    repo_artifact_bytes: int = Field(default=20 * 1024**3, ge=0)
    """The space that the artifacts of one repository may take."""
    cache_bytes: int = Field(default=10 * 1024**3, ge=0, le=2**50)
    """The space that the caches of one repository may take."""

    @field_validator("host")
    @classmethod
    def _named(cls, host: str) -> str:
        # An empty one would be every address of the machine.
        if not host.strip():
            raise ValueError("give an address of this machine such as 127.0.0.1")
        return host

    @field_validator("labels")
    @classmethod
    def _some(cls, labels: str) -> str:
        if not _labels(labels):
            raise ValueError(f"give at least one label, such as {','.join(DEFAULT_LABELS)}")
        return labels

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("secret_key_file", mode="before")
    @classmethod
    def _a_file(cls, file: object) -> object:
        return Path(str(file)).expanduser().absolute() if file else None

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        if url and not re.match(r"https?://[^/\s]", url, re.IGNORECASE):
            raise ValueError("give the address of a server, such as https://ci.example.org")
        return url

    @field_validator("docker")
    @classmethod
    def _a_socket(cls, url: str) -> str:
        if url and not re.match(r"(unix|tcp|https?)://.", url):
            raise ValueError("give the address of a daemon, such as unix:///var/run/docker.sock")
        return url

    @field_validator("git_protocols")
    @classmethod
    def _allowed(cls, protocols: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*(:[a-z][a-z0-9+.-]*)*", protocols):
            raise ValueError("give protocols with colons between them, such as https:ssh")
        return protocols

    @field_validator("git_networks")
    @classmethod
    def _readable(cls, networks: str) -> str:
        try:
            _networks(networks)
        except ValueError:
            raise ValueError("give networks with commas between them, such as 10.0.0.0/8") from None
        return networks

    @field_validator("actions_url")
    @classmethod
    def _somewhere(cls, url: str) -> str:
        if not url.strip("/ "):
            raise ValueError(f"give the address of a forge, such as {DEFAULT_ACTIONS_URL}")
        return url.rstrip("/")

    @classmethod
    def from_env(cls, **given: object) -> Self:
        """`given` wins over the environment. Raises `Rejected` naming each variable that is wrong."""
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        except ValidationError as error:
            wrong = "; ".join(
                f"RUNNER_{str(one['loc'][0]).upper()}: {one['msg']}, not {one['input']!r}"
                for one in error.errors()
            ).replace(": Value error, ", ": ")
            raise Rejected(wrong) from None

    @property
    def embedded(self) -> bool:
        """Whether one process is the whole server."""
        return self.broker == "memory://"

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.home / 'runner.db'}"

    @property
    def address(self) -> str:
        return self.url.rstrip("/") or f"http://{self.host}:{self.port}"

    @property
    def label_set(self) -> tuple[str, ...]:
        return _labels(self.labels)

    @property
    def git_network_list(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return _networks(self.git_networks)

    @property
    def lease_length(self) -> timedelta:
        return timedelta(seconds=self.lease)

    @property
    def token_file(self) -> Path:
        return self.home / "admin-token"

    @property
    def key_file(self) -> Path:
        return self.secret_key_file or self.home / "secret-key"

    @property
    def docker_url(self) -> str:
        return self.docker or "unix:///var/run/docker.sock"


def _labels(said: str) -> tuple[str, ...]:
    return tuple(label.strip().lower() for label in said.split(",") if label.strip())


def _networks(said: str) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(one.strip()) for one in said.split(",") if one.strip())
