"""What a job asks of docker beside an image: options, ports and volumes, as docker's command line has them.

Only what cannot reach beyond the job is understood. Everything else is refused by name, so that whoever
starts a container can do whatever these values say.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from posixpath import normpath

from runner.workflow.words import cut, here

MOST_FILES = 16384
"""No more open files than a daemon that may not raise its own limit can give."""
MOST_OPTIONS = 4096
"""Characters of all options of a container."""
MOST_PORTS = 128
MOST_VOLUMES = 100
"""Of one container, with those of its options."""
MOST_SERVICES = 20
LEAST_PORT = 1024
"""Below are those of the machine's own services."""
OUR_FOLDERS = ("/workspace", "/runner", "/github")
"""Where a job's own folders are in a container."""
WORKSPACES = ("/workspace", "/github/workspace")
"""What the workspace is called as a volume."""
SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")
OUR_LABELS = "runner."
RESERVED = "runner.local/"
"""How the images that we make ourselves are called: nobody else's may be."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
USER = re.compile(r"[A-Za-z0-9_.-]{1,32}(?::[A-Za-z0-9_.-]{1,32})?")
SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9+-]{1,11}|[1-9][0-9]?")
WHOLE = re.compile(r"[0-9]{1,9}")
DECIMAL = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,9})?")
SIZE = re.compile(r"([0-9]{1,15})(?:\.0*)?([bkmgt]?)(?:i?b)?", re.IGNORECASE)
TIME = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|us|µs|ns|s|m|h))+|0")
TIME_PART = re.compile(r"([0-9.]+)(ms|us|µs|ns|s|m|h)")
SECOND = 10**9
NANOSECONDS = {
    **{"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6},
    **{"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND},
}
BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
PORT = re.compile(
    r"(?:(?P<ip>[^:]*|\[[^\]]*\]):)??"
    r"(?:(?P<host>[0-9-]*):)?(?P<inside>[0-9-]+)(?:/(?P<kind>\w+))?"
)
PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
ULIMITS = ("nofile", "nproc", "stack", "fsize", "cpu")
TMPFS = re.compile(r"ro|rw|noexec|exec|nosuid|nodev|size=[0-9]+[kmg]?|mode=[0-7]{3,4}|uid=[0-9]+|gid=[0-9]+")


class BadContainer(ValueError):
    """A container cannot be had like this; says what would have worked.

    `{}` in `why` is the text that was given. `hidden` says the same without it: an expression may have
    made it of a secret, a part of which no mask would find.
    """

    def __init__(self, why: str, given: str = "") -> None:
        super().__init__(why.replace("{}", f'"{cut(given)}"', 1))
        self.why = why
        self.given = given

    @property
    def hidden(self) -> str:
        return self.why.replace("{}", '"***"', 1)


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks a registry for an image. The password is in no text of it."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Port:
    """A port inside; `outside` is the one of localhost that leads there, None any that is free."""

    inside: int
    outside: int | None = None
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class Volume:
    """A folder beside the image's: the job's volume `name`, a fresh one (""), or the workspace (None)."""

    target: str
    name: str | None = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Ulimit:
    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Health:
    """How docker finds out whether a container works; None leaves it to the image. Times in nanoseconds."""

    command: str | None = None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    retries: int | None = None
    off: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """`options` of a container. Sizes in bytes; what is None is left to the image or to docker."""

    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    health: Health = field(default_factory=Health)
    hostname: str | None = None
    entrypoint: str | None = None
    workdir: str | None = None
    user: str | None = None
    memory: int | None = None
    memory_reservation: int | None = None
    shm_size: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    pids: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    stop_signal: str | None = None
    stop_timeout: int | None = None
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container as a job asks for it, with nothing left to evaluate.

    `network` is the one it is on; the executor's own choice where it is empty.
    """

    image: str
    login: Login | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    ports: tuple[Port, ...] = ()
    volumes: tuple[Volume, ...] = ()
    entrypoint: str | None = None
    command: tuple[str, ...] | None = None
    network: str = ""

    def on(self, network: str) -> "ContainerSpec":
        return replace(self, network=network)


# --- ports and volumes -----------------------------------------------------------------------


def parse_ports(text: str) -> tuple[Port, ...]:
    """Read `[127.0.0.1:][HOST:]PORT[/tcp|udp]`, each also a range. Raises `BadContainer`."""
    found = PORT.fullmatch(text.strip())
    kind = (found["kind"] or "tcp").lower() if found else ""
    inside = _range(found["inside"]) if found else None
    outside = _range(found["host"]) if found and found["host"] else None
    if found is None or inside is None or kind not in ("tcp", "udp") or (found["host"] and outside is None):
        raise BadContainer("{} is no port; write 5432, 5432:5432, 8000-8010 or 5353:53/udp", text)
    if (found["ip"] or "127.0.0.1") != "127.0.0.1":
        raise BadContainer("{}: ports are those of 127.0.0.1 only; leave the address out", text)
    if outside is not None and outside[0] < LEAST_PORT:
        raise BadContainer(
            f"{{}}: ports of this machine below {LEAST_PORT} are not free; write one above, or none for any",
            text,
        )
    if outside is not None and len(outside) != len(inside):
        raise BadContainer("{}: both ranges of ports must be of the same length", text)
    if len(inside) > MOST_PORTS:
        raise BadContainer(f"{{}} is more than {MOST_PORTS} ports", text)
    outsides = outside if outside is not None else [None] * len(inside)
    return tuple(Port(port, other, kind) for port, other in zip(inside, outsides, strict=True))


def _range(text: str) -> range | None:
    found = PORTS.fullmatch(text)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2] or found[1])
    return range(first, last + 1) if 0 < first <= last < 65536 else None


def check_counts(ports: int, volumes: int) -> None:
    """Raises `BadContainer` where one container asks for more."""
    if ports > MOST_PORTS:
        raise BadContainer(f"a container can have {MOST_PORTS} ports")
    if volumes > MOST_VOLUMES:
        raise BadContainer(f"a container can have {MOST_VOLUMES} volumes")


def parse_volume(text: str) -> Volume:
    """Read `[NAME:]/FOLDER[:ro|rw]`. Raises `BadContainer`, for folders of the machine above all."""
    parts = text.strip().split(":")
    mode = parts.pop() if len(parts) > 1 and not parts[-1].startswith("/") else "rw"
    if mode not in ("ro", "rw") or len(parts) not in (1, 2):
        raise BadContainer("{} is no volume; write /folder, name:/folder or name:/folder:ro", text)
    target = _target(parts[-1], text)
    if len(parts) == 1:
        return Volume(target, "", mode == "ro")
    source = parts[0].rstrip("/") or parts[0]
    if source in WORKSPACES:
        return Volume(target, None, mode == "ro")
    if source.startswith(("/", ".", "~")):
        raise BadContainer(
            "{}: a folder of the machine cannot be a volume; use a name, as in name:/folder, or "
            "${{ github.workspace }} for the workspace",
            text,
        )
    if NAME.fullmatch(source) is None:
        raise BadContainer("{} cannot be the name of a volume; use letters, digits, _ . and -", source)
    return Volume(target, source, mode == "ro")


def _target(path: str, text: str) -> str:
    # A path that begins with two slashes keeps them.
    folder = "/" + normpath(path).lstrip("/")
    taken = [one for one in (*OUR_FOLDERS, *SYSTEM_FOLDERS) if f"{folder}/".startswith(f"{one}/")]
    if not path.startswith("/") or folder == "/" or "\0" in path or taken:
        why = f"{taken[0]} is not free" if taken else "it needs the path of a folder in the container"
        raise BadContainer(f"{{}}: nothing can be put there: {why}", text)
    return folder


def image_problem(name: str) -> str | None:
    """Why an image cannot be used under this name."""
    if not name or name.startswith("-") or any(letter.isspace() for letter in name) or len(name) > 512:
        return f'"{cut(name)}" cannot be the name of an image'
    return reserved_image(name)


def reserved_image(name: str) -> str | None:
    """Why an image's name is nobody's to use, where it is one of ours."""
    if name.lower().startswith(RESERVED):
        return f'"{cut(name)}": images of {RESERVED} are made here and cannot be named'
    return None


# --- options ---------------------------------------------------------------------------------


def parse_options(text: str, service: bool) -> Options:
    """Read the options of a service, or of the container of a job. Raises `BadContainer`."""
    if len(text) > MOST_OPTIONS:
        raise BadContainer(f"the options of a container have {MOST_OPTIONS} characters at most")
    try:
        words = iter(shlex.split(text))
    except ValueError as error:
        raise BadContainer(f"the options {{}} cannot be read: {error}", text) from None
    table = OPTIONS if service else {name: OPTIONS[name] for name in OPTIONS if name not in ONLY_SERVICES}
    found = Options()
    for word in words:
        name, given = _named(word)
        option = table.get(name)
        if option is None:
            whose = "a service" if service else "the container of a job"
            raise BadContainer(f"{whose} cannot have the option {{}}{here(tuple(table))}", word)
        if option.flag:
            if given not in (None, "true", "false"):
                raise BadContainer(f"{name} is true or false, not {{}}", str(given))
            found = option.read(found, given or "true")
            continue
        if given is None:
            given = next(words, None)
            if given is None:
                raise BadContainer(f"{name} needs a value behind it")
        try:
            found = option.read(found, given)
        except BadContainer as error:
            raise BadContainer(f"{name}: {error.why}", error.given) from None
        check_counts(len(found.ports), len(found.volumes))
    return found


def _named(word: str) -> tuple[str, str | None]:
    """The long name of an option, and what stands in the same word behind it."""
    if word.startswith("--"):
        name, equals, given = word.partition("=")
        return name, given if equals else None
    if (letter := word[:2]) in LETTERS:
        return LETTERS[letter], word[2:].removeprefix("=") or None
    return word, None


@dataclass(frozen=True, slots=True)
class Option:
    read: Callable[[Options, str], Options]
    flag: bool = False


def _one(name: str, value: Callable[[str], object]) -> Option:
    return Option(lambda found, given: replace(found, **{name: value(given)}))  # type: ignore[arg-type]


def _many(name: str, values: Callable[[str], tuple[object, ...]]) -> Option:
    def read(found: Options, given: str) -> Options:
        return replace(found, **{name: getattr(found, name) + values(given)})

    return Option(read)


def _entry(name: str, entry: Callable[[str], tuple[str, str]]) -> Option:
    def read(found: Options, given: str) -> Options:
        key, value = entry(given)
        return replace(found, **{name: {**getattr(found, name), key: value}})  # type: ignore[arg-type]

    return Option(read)


def _health(name: str, value: Callable[[str], object]) -> Option:
    def read(found: Options, given: str) -> Options:
        return replace(found, health=replace(found.health, **{name: value(given)}))  # type: ignore[arg-type]

    return Option(read)


def _matching(pattern: re.Pattern[str], means: str) -> Callable[[str], str]:
    def value(given: str) -> str:
        if pattern.fullmatch(given) is None:
            raise BadContainer(f"{{}} is not {means}", given)
        return given

    return value


def _whole(least: int, most: int) -> Callable[[str], int]:
    def value(given: str) -> int:
        if WHOLE.fullmatch(given) is None or not least <= int(given) <= most:
            raise BadContainer(f"{{}} is no whole number from {least} to {most}", given)
        return int(given)

    return value


def _size(given: str) -> int:
    found = SIZE.fullmatch(given)
    size = int(found[1]) * BYTES[found[2].lower()] if found else 0
    if not 0 < size < 1 << 50:
        raise BadContainer("{} is no size; write 64m or 1g", given)
    return size


def _time(given: str) -> int:
    found = TIME.fullmatch(given)
    time = sum(int(float(number) * NANOSECONDS[unit]) for number, unit in TIME_PART.findall(given))
    # Docker takes 0 for "not given", and nothing else below a millisecond.
    if found is None or (time and time < 10**6) or time > 24 * NANOSECONDS["h"]:
        raise BadContainer("{} is no time; write 10s, 500ms or 1m30s", given)
    return time


def _interval(given: str) -> int:
    time = _time(given)
    if 0 < time < SECOND:
        raise BadContainer("{} is too often; write 1s or more", given)
    return time


def _cpus(given: str) -> float:
    if DECIMAL.fullmatch(given) is None or float(given) < 0.01:
        raise BadContainer("{} is no number of processors; write 2 or 0.5", given)
    return float(given)


def _variable(given: str) -> tuple[str, str]:
    name, equals, value = given.partition("=")
    if not name or not equals or "\0" in given:
        raise BadContainer("{} gives no value; write NAME=VALUE", given)
    return name, value


def _label(given: str) -> tuple[str, str]:
    name, _, value = given.partition("=")
    if not name or name.lower().startswith(OUR_LABELS):
        raise BadContainer(f"{{}}: labels that begin with {OUR_LABELS} are not free", given)
    return name, value


def _ulimit(given: str) -> tuple[Ulimit]:
    name, _, values = given.partition("=")
    soft, _, hard = values.partition(":")
    most = MOST_FILES if name == "nofile" else 10**9 - 1
    value = _whole(0, most)
    if name not in ULIMITS:
        raise BadContainer(f"{{}} is no limit that can be set{here(ULIMITS)}", given)
    found = Ulimit(name, value(soft), value(hard or soft))
    if found.soft > found.hard:
        raise BadContainer("{}: the first number is the lower one", given)
    return (found,)


def _tmpfs(given: str) -> tuple[str, str]:
    path, _, modes = given.partition(":")
    for mode in filter(None, modes.split(",")):
        if TMPFS.fullmatch(mode) is None:
            raise BadContainer("{} cannot be said of a tmpfs; size=, mode=, uid=, gid= and ro can", mode)
    tmpfs_size(modes)
    return _target(path, given), modes


def tmpfs_size(modes: str) -> int | None:
    """How large a tmpfs may become, where that is said; the last word counts, as for docker."""
    sizes = [mode.removeprefix("size=") for mode in modes.split(",") if mode.startswith("size=")]
    return _size(sizes[-1]) if sizes else None


def _ports(given: str) -> tuple[object, ...]:
    return parse_ports(given)


_HOST_NAME = _matching(HOST_NAME, "a host name")

OPTIONS: Mapping[str, Option] = {
    "--cpu-shares": _one("cpu_shares", _whole(2, 262144)),
    "--cpus": _one("cpus", _cpus),
    "--entrypoint": _one("entrypoint", lambda given: given),
    "--env": _entry("env", _variable),
    "--health-cmd": _health("command", lambda given: given),
    "--health-interval": _health("interval", _interval),
    "--health-retries": _health("retries", _whole(0, 100000)),
    "--health-start-period": _health("start_period", _time),
    "--health-timeout": _health("timeout", _time),
    "--hostname": _one("hostname", _HOST_NAME),
    # Whoever starts it has the container's name; docker's own is every job's on the machine.
    "--init": Option(lambda found, given: found, flag=True),
    "--label": _entry("labels", _label),
    "--memory": _one("memory", _size),
    "--memory-reservation": _one("memory_reservation", _size),
    "--name": _many("aliases", lambda given: (_HOST_NAME(given),)),
    "--network-alias": _many("aliases", lambda given: (_HOST_NAME(given),)),
    "--no-healthcheck": Option(lambda found, given: replace(found, health=Health(off=given == "true")), True),
    "--pids-limit": _one("pids", _whole(1, 10**8)),
    "--publish": _many("ports", _ports),
    "--read-only": Option(lambda found, given: replace(found, read_only=given == "true"), flag=True),
    "--shm-size": _one("shm_size", _size),
    "--stop-signal": _one("stop_signal", _matching(SIGNAL, "a signal such as SIGINT")),
    "--stop-timeout": _one("stop_timeout", _whole(0, 3600)),
    "--tmpfs": _entry("tmpfs", _tmpfs),
    "--ulimit": _many("ulimits", _ulimit),
    "--user": _one("user", _matching(USER, "a user such as postgres or 1000:1000")),
    "--volume": _many("volumes", lambda given: (parse_volume(given),)),
    "--workdir": _one("workdir", lambda given: given),
}
ONLY_SERVICES = ("--entrypoint", "--read-only", "--stop-signal", "--stop-timeout", "--user", "--workdir")
"""Steps run in a job's own container as the job's user, in folders that they name themselves."""
LETTERS = {
    **{"-c": "--cpu-shares", "-e": "--env", "-h": "--hostname", "-l": "--label", "-m": "--memory"},
    **{"-p": "--publish", "-u": "--user", "-v": "--volume", "-w": "--workdir"},
}
