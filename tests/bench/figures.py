"""The figures, by name; each gives one or more."""

import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from docker import APIClient
from sqlalchemy import func, select

from runner.store.tables import deliveries
from tests.bench.caches import caches
from tests.bench.checkouts import checkouts
from tests.bench.durability import a_postgres, cpu_of, memory_of, records, servers_folder, takeovers, waits
from tests.bench.history import history
from tests.bench.language import language
from tests.bench.logs import logs
from tests.bench.python import python
from tests.bench.report import Figure
from tests.bench.restores import restores
from tests.bench.server import STEP, Server, a_server, clock, exchange, median_of
from tests.daemons import dockerd, image

ROUNDS = 9
STEPS = 100
RUNS = 200


def latency() -> Iterator[Figure]:
    """From the first byte of the push's delivery to the first instruction of its first step."""
    with a_server() as server:
        server.start()
        mark = server.home / "mark"
        workflow = STEP + f"      - run: echo $EPOCHREALTIME > {mark}.part; mv {mark}.part {mark}\n"
        server.push(server.commit(workflow))
        _appears(mark)

        def cold() -> float:
            return _first_step(server, mark, server.commit(workflow))

        def bound() -> float:
            mirror = server.home / "bound.git"
            if not mirror.exists():
                subprocess.run(["git", "init", "--quiet", "--bare", str(mirror)], check=True)
            commit = server.commit(workflow)
            fetch = [
                "git",
                "-C",
                str(mirror),
                "fetch",
                "--quiet",
                "--no-tags",
                str(server.repository),
                commit,
            ]
            return 1000 * clock(
                lambda: (subprocess.run(fetch, check=True), subprocess.run(["bash", "-e", "-c", "true"]))
            )

        floor = median_of(ROUNDS, bound)
        value = median_of(ROUNDS, cold)
        yield Figure(
            "push to first step, new commit",
            value,
            "ms",
            floor,
            "git fetch + spawn",
            "30 ms above the bound",
            value - floor <= 30,
        )
        commit = server.git("rev-parse", "HEAD")
        value = median_of(ROUNDS, lambda: _first_step(server, mark, commit))
        spawn = median_of(ROUNDS, lambda: 1000 * clock(lambda: subprocess.run(["bash", "-e", "-c", "true"])))
        yield Figure("push to first step, commit here", value, "ms", spawn, "spawn", "15 ms", value <= 15)


def _first_step(server: Server, mark: Path, commit: str) -> float:
    mark.unlink(missing_ok=True)
    begun = time.time()
    server.push(commit)
    return 1000 * (float(_appears(mark)) - begun)


def _appears(mark: Path) -> str:
    while not mark.exists():
        time.sleep(0.001)
    return mark.read_text()


def steps() -> Iterator[Figure]:
    """What a step costs beyond its process, in a job of 100 that do nothing."""
    floor = median_of(ROUNDS, _bare_steps)
    for executor in ("host", "sandbox"):
        with a_server(executor=executor) as server:
            yield _steps(server, f"overhead per step, sqlite, {executor}", floor, 3)
    with servers_folder() as folder:
        with a_postgres() as url, a_server(url) as server:
            yield _steps(server, "overhead per step, postgresql, host", floor, 5)
        with dockerd(folder) as docker:
            image(folder, APIClient(docker, version="auto"))
            with a_server(executor="docker", docker=docker) as server:
                yield _steps(server, "overhead per step, sqlite, docker", floor)


def _steps(server: Server, name: str, floor: float, target: float | None = None) -> Figure:
    server.start()
    folder = server.home / "marks"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    # The first and the last step say when they were; in between are a hundred that do nothing.
    say = '      - run: echo "##time $EPOCHREALTIME"\n'
    commit = server.commit(STEP + say + "      - run: 'true'\n" * STEPS + say)
    taken = []
    for number in range(ROUNDS):
        server.push(commit)
        server.ended(number + 1)
        times = []
        for step in ("1", str(STEPS + 2)):
            times.append(float(server.services.logs.read(number + 1, 1, step, 0, 99).split()[1]))
        taken.append(1000 * (times[1] - times[0]) / (STEPS + 1))
    value = statistics.median(taken)
    figure = Figure(name, value - floor, "ms", floor, "bash -e on it")
    if target is not None:
        figure.target, figure.met = f"{target} ms", value - floor <= target
    return figure


def _bare_steps() -> float:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.sh")
        script.write_text("true")

        def spawn() -> None:
            for _ in range(STEPS):
                subprocess.run(["bash", "-e", str(script)], check=True)

        return 1000 * clock(spawn) / STEPS


def throughput() -> Iterator[Figure]:
    """200 runs of one step each, from the first delivery to the last run's end."""
    for executor in ("host", "sandbox"):
        rates = []
        for _ in range(3):
            with a_server(executor=executor) as server:
                server.start()
                commit = server.commit(STEP + "      - run: 'true'\n")
                server.push(commit)
                server.ended(1)
                requests = [server.request(commit, number) for number in range(RUNS)]
                begun = time.perf_counter()
                asyncio.run(exchange(server.url, requests, 8, None))
                server.ended(RUNS + 1)
                rates.append(RUNS / (time.perf_counter() - begun))
        value = statistics.median(rates)
        yield Figure(f"one-step runs, {executor}", value, "runs/s", target="50 runs/s", met=value >= 50)


def intake() -> Iterator[Figure]:
    """Deliveries at 500 a second for four seconds, each stored durably before it is answered."""
    with a_server() as server:
        server.start()
        commit = server.commit(
            "name: ci\non: {push: {branches: [other]}}\njobs: {a: {runs-on: linux, steps: [{run: x}]}}\n"
        )
        requests = [server.request(commit, number) for number in range(2000)]
        asyncio.run(exchange(server.url, requests[:100], 16, None))
        begun = time.perf_counter()
        answers = asyncio.run(exchange(server.url, requests[100:], 32, 500))
        took = time.perf_counter() - begun
        times = sorted(seconds for _, seconds in answers)
        with server.services.database.reading() as connection:
            # The clock reads the default branch of a new repository too, and that is a delivery of its own.
            pushes = select(func.count()).where(deliveries.c.kind == "push")
            stored = connection.execute(pushes).scalar_one()
        lost = len(requests) - stored + sum(status != 202 for status, _ in answers)
        rate, p99 = len(answers) / took, 1000 * times[int(len(times) * 0.99)]
        yield Figure("intake at 500/s", rate, "1/s", target="500/s", met=rate >= 490, note=f"{lost} lost")
        yield Figure("intake at 500/s, p99", p99, "ms", target="100 ms", met=p99 <= 100 and not lost)


def badges() -> Iterator[Figure]:
    with a_server() as server:
        server.start()
        server.push(server.commit(STEP + "      - run: 'true'\n"))
        server.ended(1)
        one = b"GET /badges/bench/one.svg HTTP/1.1\r\nhost: bench\r\n\r\n"
        bare = b"GET /healthz HTTP/1.1\r\nhost: bench\r\n\r\n"
        rates = {}
        for name, request in (("badge", one), ("health", bare)):
            begun = time.perf_counter()
            answers = asyncio.run(exchange(server.url, [request] * 3000, 16, None))
            rates[name] = len(answers) / (time.perf_counter() - begun)
            if any(status != 200 for status, _ in answers):
                raise RuntimeError(f"{name}: {answers[0]}")
        yield Figure("badges", rates["badge"], "1/s", rates["health"], "/healthz")


def idle() -> Iterator[Figure]:
    """An embedded server with nothing to do."""
    with a_server() as server:
        server.start()
        server.push(server.commit(STEP + "      - run: 'true'\n"))
        server.ended(1)
        time.sleep(2)
        assert server.process is not None
        before, begun = cpu_of(server.process.pid), time.perf_counter()
        time.sleep(10)
        share = 100 * (cpu_of(server.process.pid) - before) / (time.perf_counter() - begun)
        yield Figure("idle cpu of runner serve", share, "%", target="1 %", met=share < 1)
        yield Figure("memory of runner serve", memory_of(server.process.pid), "MiB")


ALL: dict[str, Callable[[], Iterator[Figure]]] = {
    "latency": latency,
    "steps": steps,
    "throughput": throughput,
    "intake": intake,
    "badges": badges,
    "idle": idle,
    "waits": waits,
    "records": records,
    "takeovers": takeovers,
    "language": language,
    "history": history,
    "checkouts": checkouts,
    "caches": caches,
    "restores": restores,
    "python": python,
    "logs": logs,
}
