"""Options, ports and volumes of containers: what is understood, and how all else is refused."""

import shlex
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.workflow.containers import (
    OPTIONS,
    BadContainer,
    Health,
    Login,
    Options,
    Port,
    Ulimit,
    Volume,
    image_problem,
    parse_options,
    parse_ports,
    parse_volume,
)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("5432", (Port(5432),)),
        ("5432:6543", (Port(6543, 5432),)),
        ("127.0.0.1:1080:8080/tcp", (Port(8080, 1080),)),
        ("127.0.0.1::80", (Port(80),)),
        ("5353:53/udp", (Port(53, 5353, "udp"),)),
        ("8000-8001:9000-9001", (Port(9000, 8000), Port(9001, 8001))),
    ],
)
def test_a_port(text: str, ports: tuple[Port, ...]) -> None:
    assert parse_ports(text) == ports


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http", '"http" is no port; write 5432, 5432:5432'),
        ("0", '"0" is no port'),
        ("65536", '"65536" is no port'),
        ("80/sctp", '"80/sctp" is no port'),
        ("٨٠", "is no port"),
        ("0.0.0.0:80:80", "ports are those of 127.0.0.1 only"),
        ("[::1]:80:80", "ports are those of 127.0.0.1 only"),
        ("8080:80-81", "both ranges of ports must be of the same length"),
        ("1-1000", "is more than 128 ports"),
        ("80:80", "ports of this machine below 1024 are not free"),
    ],
)
def test_a_port_that_cannot_be(text: str, problem: str) -> None:
    with pytest.raises(BadContainer, match=problem):
        parse_ports(text)


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/data", Volume("/data")),
        ("/data/../other/", Volume("/other")),
        ("cache:/data", Volume("/data", "cache")),
        ("cache:/data:ro", Volume("/data", "cache", read_only=True)),
        ("/github/workspace:/src:ro", Volume("/src", None, read_only=True)),
    ],
)
def test_a_volume(text: str, volume: Volume) -> None:
    assert parse_volume(text) == volume


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("/:/host", "a folder of the machine cannot be a volume; use a name, as in name:/folder"),
        ("/var/run/docker.sock:/var/run/docker.sock", "a folder of the machine"),
        ("//workspace/../etc:/x", "a folder of the machine"),
        ("../up:/x", "a folder of the machine"),
        ("~/x:/x", "a folder of the machine"),
        ("a b:/x", '"a b" cannot be the name of a volume'),
        ("name:relative", "is no volume; write /folder"),
        ("a:/b:/c:ro", "is no volume"),
        ("name:/x:z", "is no volume"),
        ("", "nothing can be put there: it needs the path"),
        ("name:/", "nothing can be put there: it needs the path"),
        ("name:/proc/sys", "/proc is not free"),
        ("name://proc/sys", "/proc is not free"),
        ("name:/a/../workspace/b", "/workspace is not free"),
        ("/runner", "/runner is not free"),
    ],
)
def test_a_volume_that_cannot_be(text: str, problem: str) -> None:
    with pytest.raises(BadContainer, match=problem):
        parse_volume(text)


def test_the_options_of_a_service() -> None:
    text = """
        --health-cmd "pg_isready -U me" --health-interval=10s --health-timeout 1m30s --health-retries 5
        --name db --network-alias other -h here -eA=1 --env B=x=y -m 512m --cpus 1.5 --shm-size 1gb
        --ulimit nofile=10:20 --tmpfs /tmp/x:size=64m,mode=1777 --init --user postgres -p 5432:5432
        --volume data:/data --label kind=db --stop-signal SIGINT --read-only
    """

    assert parse_options(text, service=True) == Options(
        env={"A": "1", "B": "x=y"},
        labels={"kind": "db"},
        aliases=("db", "other"),
        health=Health("pg_isready -U me", interval=10 * 10**9, timeout=90 * 10**9, retries=5),
        hostname="here",
        user="postgres",
        memory=512 << 20,
        shm_size=1 << 30,
        cpus=1.5,
        ulimits=(Ulimit("nofile", 10, 20),),
        tmpfs={"/tmp/x": "size=64m,mode=1777"},
        read_only=True,
        stop_signal="SIGINT",
        ports=(Port(5432, 5432),),
        volumes=(Volume("/data", "data"),),
    )


@pytest.mark.parametrize(
    "option",
    [
        *("--privileged", "--network host", "--net=host", "--pid host", "--ipc host", "--uts host"),
        *("--userns host", "--cgroupns host", "--cap-add ALL", "--security-opt seccomp=unconfined"),
        *("--device /dev/kmsg", "--mount type=bind,src=/,dst=/h", "--volumes-from x", "--gpus all"),
        *("--sysctl a=b", "--cgroup-parent /", "--runtime x", "--oom-kill-disable", "--add-host a:b"),
        *("--env-file /etc/passwd", "--label-file x", "--cidfile x", "--restart always", "-it", "--rm", "x"),
    ],
)
@pytest.mark.parametrize("service", [True, False])
def test_what_reaches_beyond_the_job_is_refused_with_what_is_possible(option: str, service: bool) -> None:
    with pytest.raises(BadContainer, match=r"cannot have the option .*; here you can use --cpu-shares, "):
        parse_options(f"--cpus 1 {option}", service)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("--memory", "--memory needs a value behind it"),
        ("--memory lots", '--memory: "lots" is no size; write 64m or 1g'),
        ("--cpus 0", '--cpus: "0" is no number of processors'),
        ("--health-interval 10", '--health-interval: "10" is no time; write 10s'),
        ("--health-retries -1", '--health-retries: "-1" is no whole number'),
        ("--env HOME", '--env: "HOME" gives no value; write NAME=VALUE'),
        ("--label runner.job=x", "--label: .*labels that begin with runner. are not free"),
        ("--label RUNNER.job=x", "labels that begin with runner. are not free"),
        ("--ulimit nofile=1000000", '"1000000" is no whole number from 0 to 16384'),
        ("--ulimit core=-1", "is no limit that can be set; here you can use cpu, fsize, nofile"),
        ("--ulimit nofile=9:8", "the first number is the lower one"),
        ("--tmpfs /x:suid", '"suid" cannot be said of a tmpfs'),
        ("--tmpfs /workspace", "/workspace is not free"),
        ("--volume /:/x", "--volume: .* a folder of the machine cannot be a volume"),
        ("--publish 0.0.0.0:1:1", "--publish: .*127.0.0.1 only"),
        ("--init=maybe", '--init is true or false, not "maybe"'),
        ("--health-cmd 'x", "cannot be read: No closing quotation"),
        ("--health-interval 999ms", '"999ms" is too often; write 1s or more'),
        ("--env A=" + "x" * 4096, "4096 characters at most"),
        ("-p1-128 -p129", "a container can have 128 ports"),
        (" ".join(f"-v/{number}" for number in range(101)), "a container can have 100 volumes"),
    ],
)
def test_an_option_that_cannot_be(text: str, problem: str) -> None:
    with pytest.raises(BadContainer, match=problem):
        parse_options(text, service=True)


def test_what_is_wrong_can_be_said_without_what_was_given() -> None:
    with pytest.raises(BadContainer) as found:
        parse_options("--env 'part of a secret'", service=True)

    assert found.value.hidden == '--env: "***" gives no value; write NAME=VALUE'


def test_a_jobs_own_container_is_started_by_us() -> None:
    with pytest.raises(BadContainer, match='the container of a job cannot have the option "--user"'):
        parse_options("--user root", service=False)


WORDS = st.tuples(st.sampled_from([*OPTIONS, "--x", "-v", "-e"]), st.text(max_size=20))


@given(st.lists(WORDS), st.booleans())
def test_any_text_is_read_or_refused_by_name(pairs: list[tuple[str, str]], service: bool) -> None:
    text = " ".join(f"{name} {shlex.quote(value)}" for name, value in pairs)
    with suppress(BadContainer):
        parse_options(text, service)


@given(st.text(alphabet="/.:-0123456789[]acptudwrnm\0 ٣", max_size=30))
def test_any_port_and_any_volume_is_read_or_refused_by_name(text: str) -> None:
    for read in (parse_ports, parse_volume):
        with suppress(BadContainer):
            read(text)


def test_a_password_is_in_no_text_of_a_login() -> None:
    assert "hunter2" not in repr(Login("me", "hunter2"))


def test_images_of_ours_are_nobodys_to_name() -> None:
    assert image_problem("postgres:16") is None
    assert "cannot be named" in str(image_problem("runner.local/private:abc"))
    assert "cannot be the name of an image" in str(image_problem("--all"))
