"""Whatever a job asks of its containers, docker is asked for nothing dangerous."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import APIClient
from hypothesis import given
from hypothesis import strategies as st

from runner.executors.cgroups import Limits
from runner.executors.confinement import TO_DROP_ROOT, TooMuch, confined, mounted
from runner.workflow.containers import (
    OPTIONS,
    OUR_FOLDERS,
    BadContainer,
    Options,
    parse_options,
    parse_ports,
    parse_volume,
)

HARMLESS = {
    *("Mounts", "NetworkMode", "PortBindings", "Init", "AutoRemove", "CapDrop", "CapAdd", "SecurityOpt"),
    *("PidsLimit", "Memory", "MemoryReservation", "ShmSize", "NanoCpus", "CpuShares", "Tmpfs"),
    *("ReadonlyRootfs", "Ulimits", "LogConfig"),
}
DANGEROUS = (
    *("--privileged", "--network=host", "--pid=host", "--cap-add=ALL", "--device=/dev/mem", "--userns=host"),
    *("--security-opt=seccomp=unconfined", "--mount=type=bind,src=/,dst=/x", "--volumes-from=x"),
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["1", "64m", "1.5", "10s", "a", "A=b", "/x", "x:/y:ro", "/:/x", "nofile=5", "80:80", "/workspace:/w"]
    ),
    st.sampled_from(["/../proc", "//proc:/x", "a://proc", "runner.job=x", "/x:exec,suid", "0.0.0.0:1:1"]),
)
TAKEN = {
    **{"--memory": "64m", "--memory-reservation": "32m", "--shm-size": "1g", "--cpus": "0.5", "--name": "db"},
    **{"--pids-limit": "50", "--cpu-shares": "512", "--tmpfs": "/tmp/x:size=1m,exec", "--init": "false"},
    **{"--volume": "data:/data:ro", "-v": "/github/workspace:/src", "--publish": "80", "-p": "1:1/udp"},
    **{"--ulimit": "nofile=1:2", "--user": "root", "--read-only": "true", "--hostname": "h"},
}
WORDS = st.one_of(
    st.sampled_from(sorted(TAKEN.items())),
    st.sampled_from(sorted(TAKEN.items())),
    st.tuples(st.sampled_from([*OPTIONS, *DANGEROUS, "-v", "-e", "-p", "-u"]), TEXTS),
)


@pytest.fixture(scope="module")
def client() -> Iterator[APIClient]:
    # No daemon is asked: which version there is, is all that a HostConfig depends on.
    made = APIClient("tcp://127.0.0.1:1", version="1.41")
    yield made
    made.close()


@given(st.lists(WORDS, max_size=6), st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=3), st.booleans())
def test_no_text_of_a_workflow_makes_a_container_dangerous(
    client: APIClient, words: list[tuple[str, str]], ports: list[str], volumes: list[str], service: bool
) -> None:
    limits = Limits(processes=100, memory=1 << 30)
    try:
        options = parse_options(" ".join(shlex.quote(f"{name}={value}") for name, value in words), service)
        published = [port for text in ports for port in parse_ports(text)] + list(options.ports)
        folders = [*map(parse_volume, volumes), *options.volumes]
        host = confined(
            client,
            limits,
            "network-of-the-job",
            options=options,
            mounts=mounted(folders, "label", "/home/workspaces/7", writable=not service),
            ports=published,
            capabilities=TO_DROP_ROOT if service else (),
        )
    except (BadContainer, TooMuch):
        return

    assert set(host) <= HARMLESS
    assert host["NetworkMode"] == "network-of-the-job"
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert set(host.get("CapAdd") or ()) == (set(TO_DROP_ROOT) if service else set())
    assert 0 < host["PidsLimit"] <= limits.processes
    assert 0 < host["Memory"] <= (limits.memory or 0)
    for binding in (host.get("PortBindings") or {}).values():
        assert {one["HostIp"] for one in binding} == {"127.0.0.1"}
    for mount in host["Mounts"]:
        assert mount["Type"] == "volume" or mount["Source"] == "/home/workspaces/7"
        assert mount["Type"] == "volume" or not service or mount["ReadOnly"]
        assert mount["Source"] is None or not mount["Source"].startswith("/") or mount["Type"] == "bind"
        assert "DriverConfig" not in mount.get("VolumeOptions", {})
    for target in [*(mount["Target"] for mount in host["Mounts"]), *(host.get("Tmpfs") or {})]:
        assert target == f"/{target.strip('/')}"
        assert ".." not in Path(target).parts
        assert not any(f"{target}/".startswith(f"{one}/") for one in (*OUR_FOLDERS, "/proc", "/sys", "/dev"))
    for modes in (host.get("Tmpfs") or {}).values():
        assert not {"suid", "dev"} & set(modes.split(","))
    ulimits = {one["Name"]: (one["Soft"], one["Hard"]) for one in host["Ulimits"]}
    assert ulimits["core"] == (0, 0)
    assert 0 <= ulimits["nofile"][0] <= ulimits["nofile"][1] <= 16384


def test_memory_outside_of_memory_has_the_jobs_limit_or_one_of_its_own(client: APIClient) -> None:
    shared = parse_options("--shm-size 2g", service=True)
    folders = parse_options("--tmpfs /a --tmpfs /b:ro --tmpfs /c:size=1k", service=True)

    with pytest.raises(TooMuch, match="--shm-size 2147483648 is more than a job may have here: 1073741824"):
        confined(client, Limits(), "none", options=shared)
    with pytest.raises(TooMuch, match="--tmpfs 1024 is more than a job may have here: 1023"):
        confined(client, Limits(memory=1023), "none", options=folders)
    assert confined(client, Limits(memory=4096), "none", options=folders)["Tmpfs"] == {
        "/a": "size=4096",
        "/b": "ro,size=4096",
        "/c": "size=1k",
    }


def test_more_than_the_jobs_limits_is_refused_by_name(client: APIClient) -> None:
    with pytest.raises(TooMuch, match="--pids-limit 101 is more than a job may have here: 100"):
        confined(client, Limits(processes=100), "none", options=Options(pids=101))
