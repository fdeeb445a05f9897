"""What every container of a job may do: written here, and nowhere else."""

from collections.abc import Iterable, Mapping, Sequence

from docker import APIClient
from docker.types import HostConfig, LogConfig, Mount, Ulimit

from runner.errors import BrokenDefinition
from runner.executors.cgroups import Limits
from runner.executors.daemon import LABEL
from runner.workflow.containers import MOST_FILES, Options, Port, Volume, tmpfs_size

LOCALHOST = "127.0.0.1"
TO_DROP_ROOT = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")
"""What an image needs that starts as root to hand its folder to a user of its own and become it."""
MOST_SHARED = 1 << 30
"""Bytes of shared memory and of each tmpfs where the job has no limit of memory."""
KEPT_LOG = {"max-size": "4m", "max-file": "1", "compress": "false"}


class TooMuch(BrokenDefinition):
    """A container asks for more than its job may have."""


def confined(
    client: APIClient,
    limits: Limits,
    network: str,
    *,
    options: Options | None = None,
    mounts: Sequence[Mount] = (),
    ports: Iterable[Port] = (),
    capabilities: Sequence[str] = (),
    logs: bool = False,
    vanishes: bool = False,
) -> HostConfig:
    """A container without privileges, within the job's limits, on `network`. Raises `TooMuch`.

    `logs`: whether docker keeps what it prints; `vanishes`: whether it is removed at its end.
    """
    asked = options or Options()
    published: dict[int | str, list[tuple[str, int | None]]] = {}
    for port in ports:
        published.setdefault(f"{port.inside}/{port.protocol}", []).append((LOCALHOST, port.outside))
    ulimits = {"nofile": (MOST_FILES, MOST_FILES)}
    ulimits |= {one.name: (one.soft, one.hard) for one in asked.ulimits}
    ulimits["core"] = (0, 0)
    found: HostConfig = client.create_host_config(
        mounts=list(mounts),
        network_mode=network,
        port_bindings=published,
        init=True,
        auto_remove=vanishes,
        cap_drop=["ALL"],
        cap_add=list(capabilities) or None,
        security_opt=["no-new-privileges"],
        pids_limit=_within("--pids-limit", asked.pids, limits.processes) or limits.processes,
        mem_limit=_within("--memory", asked.memory, limits.memory) or limits.memory,
        mem_reservation=_within("--memory-reservation", asked.memory_reservation, limits.memory),
        shm_size=_within("--shm-size", asked.shm_size, limits.memory or MOST_SHARED),
        nano_cpus=round(asked.cpus * 10**9) if asked.cpus is not None else None,
        cpu_shares=asked.cpu_shares,
        tmpfs=_sized(asked.tmpfs, limits.memory or MOST_SHARED) or None,
        read_only=asked.read_only or None,
        ulimits=[Ulimit(name=name, soft=soft, hard=hard) for name, (soft, hard) in ulimits.items()],
        log_config=LogConfig(type="local", config=KEPT_LOG) if logs else LogConfig(type="none"),
    )
    return found


def _within(what: str, asked: int | None, most: int | None) -> int | None:
    if asked is not None and most is not None and asked > most:
        raise TooMuch(f"{what} {asked} is more than a job may have here: {most}")
    return asked


def _sized(asked: Mapping[str, str], most: int) -> dict[str, str]:
    """Each tmpfs with a size; docker would give one without any half of the machine's memory."""
    sizes = {path: tmpfs_size(modes) for path, modes in asked.items()}
    _within("--tmpfs", sum(size or 0 for size in sizes.values()), most)
    return {
        path: modes if sizes[path] else ",".join(filter(None, (modes, f"size={most}")))
        for path, modes in asked.items()
    }


def mounted(volumes: Iterable[Volume], label: str, workspace: str | None, writable: bool) -> list[Mount]:
    """A job's volumes: docker's own, for this job alone, and at `workspace` its files.

    Those can only be written where `writable`: what root makes in them nobody else could remove.
    """
    found = []
    for one in volumes:
        if one.name is None:
            only_read = one.read_only or not writable
            found.append(Mount(one.target, workspace, type="bind", read_only=only_read))
        else:
            name = volume_name(label, one.name) if one.name else None
            found.append(
                Mount(one.target, name, type="volume", read_only=one.read_only, labels={LABEL: label})
            )
    return found


def volume_name(label: str, name: str) -> str:
    return f"runner-{label}-{name}"
