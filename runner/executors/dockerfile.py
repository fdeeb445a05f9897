"""What a Dockerfile may ask of docker's builder, which works beside the jobs and not within them.

The builder takes any image that the machine has, whoever had it pulled, and what `ADD` names it fetches
over the machine's own network. So each image is had as a job has any other and written down by its id, and
docker gets the file as it was read here, an instruction a line: it cannot read it otherwise.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping

from runner.executors.packing import BadRecipe
from runner.workflow.words import cut

CONTINUED = re.compile(r"\\[ \t]*\Z")
ESCAPE = re.compile(r"#\s*escape\s*=", re.IGNORECASE)
HERE_DOCUMENT = re.compile(r"(?<!<)<<(?!<)")
FROM = re.compile(
    r"(?P<platform>--platform=[\w./-]+\s+)?(?P<image>[^\s\"'\\]+)(?:\s+as\s+(?P<name>[\w.-]+))?\s*",
    re.ASCII | re.IGNORECASE,
)
FLAG = re.compile(r"\s*(--\S*)\s*")
ARGUMENT = re.compile(r"(\w+)=([\w.:/@-]+)", re.ASCII)
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
QUOTED = re.compile(r"[\"'\\]")
NOT_FETCHED = "docker would fetch over the machine's own network, not the job's; use RUN with curl"


class _Wrong(ValueError):
    """Why an instruction cannot be had."""


def with_images(text: bytes, where: str, image: Callable[[str], str]) -> bytes:
    """A Dockerfile with every image that it names replaced by the id that `image` gives.

    Lines keep their numbers. Raises `BadRecipe`, which begins with `where`.
    """
    reader, lines = _Reader(image), list[str]()
    try:
        read = text.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRecipe(f"{where} is not UTF-8") from None
    number = 1
    try:
        for number, line in _instructions(read):
            lines += [""] * (number - 1 - len(lines))
            lines.append(reader.rewritten(line))
    except _Wrong as error:
        raise BadRecipe(f"{where}:{number}: {error}") from None
    return "".join(f"{line}\n" for line in lines).encode()


def check_trigger(trigger: str, image: str) -> None:
    """See to what an image has done in every image that is made of it. Raises `BadRecipe`."""
    try:
        for _, line in _instructions(trigger):
            _check_trigger(line)
    except _Wrong as error:
        raise BadRecipe(f"no image can be made of {image}, which has ONBUILD: {error}") from None


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """Each instruction in one line, with the number of the line where it begins; comments are left out."""
    whole, first = "", 0
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        bare = line.strip()
        if not bare or (bare.startswith("#") and not ESCAPE.match(bare)):
            continue
        first = first or number
        continued = CONTINUED.search(line)
        whole += line[: continued.start()] if continued else line
        if not continued:
            yield first, whole
            whole, first = "", 0
    if whole.strip():
        yield first, whole


class _Reader:
    def __init__(self, image: Callable[[str], str]) -> None:
        self._image = image
        self._stages: list[str] = []
        self._arguments: dict[str, str] = {}
        self._unclear: set[str] = set()

    def rewritten(self, line: str) -> str:
        name, rest = _split(line)
        match name:
            case "FROM":
                return self._from(rest)
            case "COPY":
                return self._copy(rest)
            case "ADD":
                _check_add(rest)
            case "ONBUILD":
                _check_trigger(rest)
            case "ARG" if not self._stages:
                self._argue(rest)
        return f"{name} {rest}"

    def _argue(self, rest: str) -> None:
        for word in rest.split():
            found = ARGUMENT.fullmatch(word)
            name = found[1] if found else word.partition("=")[0]
            if found is None or name in self._arguments:
                self._unclear.add(name)
            else:
                self._arguments[name] = found[2]

    def _from(self, rest: str) -> str:
        found = FROM.fullmatch(rest)
        if found is None:
            raise _Wrong(f"FROM {cut(rest)!r} is not understood; write FROM IMAGE or FROM IMAGE AS NAME")
        known = {name: value for name, value in self._arguments.items() if name not in self._unclear}
        image = _resolved(found["image"], known)
        if image.lower() not in self._stages and image != "scratch":
            image = self._image(image)
        self._stages.append((found["name"] or "").lower())
        return f"FROM {found['platform'] or ''}{image}" + (f" AS {found['name']}" if found["name"] else "")

    def _copy(self, rest: str) -> str:
        flags, rest = _flags(rest)
        words = [
            f"--from={self._source(flag.removeprefix('--from='))}" if flag.startswith("--from") else flag
            for flag in flags
        ]
        return " ".join(("COPY", *words, rest))

    def _source(self, name: str) -> str:
        if "$" in name:
            raise _Wrong(f"COPY --from={cut(name)!r}: no variable can be used; name a stage or an image")
        stages = self._stages[:-1]
        if name.lower() in filter(None, stages) or name in map(str, range(len(stages))):
            return name
        return self._image(name)


def _split(line: str) -> tuple[str, str]:
    name, *rest = line.split(maxsplit=1)
    if name.startswith("#"):
        raise _Wrong("lines are continued with \\ here; leave the escape directive out")
    # What letters beyond ASCII are in lower case, docker sees otherwise.
    if not (name.isascii() and name.isalpha()):
        raise _Wrong(f"{cut(name)!r} is no instruction")
    if odd := [letter for letter in line if letter != "\t" and unicodedata.category(letter) == "Cc"]:
        raise _Wrong(f"the character {odd[0]!r} cannot be in a Dockerfile")
    if CONTINUED.search(line):
        raise _Wrong("the line ends with two \\; write one")
    if HERE_DOCUMENT.search(line):
        raise _Wrong("docker's builder has no here-documents (<<); COPY a file instead")
    return name.upper(), rest[0] if rest else ""


def _flags(rest: str) -> tuple[list[str], str]:
    flags = []
    while found := FLAG.match(rest):
        if QUOTED.search(found[1]):
            raise _Wrong(f"{cut(found[1])!r} is not understood; write it without quotes")
        flags.append(found[1])
        rest = rest[found.end() :]
    return flags, rest


def _resolved(image: str, known: Mapping[str, str]) -> str:
    found = VARIABLE.sub(lambda one: known.get(one[1] or one[2], "$"), image)
    if "$" in found:
        raise _Wrong(
            f"FROM {cut(image)}: only an ARG before the first FROM can be used, with a plain value: "
            "ARG NAME=VALUE"
        )
    return found


def _check_add(rest: str) -> None:
    bare = rest.replace('"', "").replace("'", "")
    if "://" in bare or "git@" in bare:
        raise _Wrong(f"ADD {cut(rest)!r}: {NOT_FETCHED}")
    if "$" in bare or "\\" in bare:
        raise _Wrong(f"ADD {cut(rest)!r}: a variable or \\ may hide an address; use COPY")


def _check_trigger(line: str) -> None:
    name, rest = _split(line)
    if name == "ADD":
        _check_add(rest)
    if name == "COPY" and any(flag.startswith("--from") for flag in _flags(rest)[0]):
        raise _Wrong(f"COPY {cut(rest)!r}: --from cannot be in a trigger")
