"""The repository's modules: the engine has them, from git's objects, as they are at the run's commit."""

import linecache
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional, cast

from runner.sdk.line import Line
from runner.sdk.wire import Message


class Modules:
    """Those that the engine was asked for so far."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._sources: dict[str, Message] = {}
        self._found = threading.Condition()

    def learn(self, message: Message) -> None:
        with self._found:
            self._sources[message["module"]] = message
            self._found.notify_all()

    def find(self, module: str, spaces: bool) -> Optional[Message]:
        """The source of a module of the repository, at the run's commit; None where it has none."""
        with self._found:
            if module not in self._sources:
                self._line.send({"is": "find", "module": module})
                self._found.wait_for(lambda: module in self._sources)
            found = self._sources[module]
        if found.get("problem"):
            raise ImportError(found["problem"], name=module)
        return found if found["found"] == ("space" if spaces else "module") else None


class Repository:
    """Finds and loads them for `import`: those that have a source, or the folders without one (`spaces`)."""

    def __init__(self, modules: Modules, spaces: bool) -> None:
        self._modules = modules
        self._spaces = spaces
        self._apart = frozenset(getattr(sys, "stdlib_module_names", ())) | {"runner"}

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        first = fullname.partition(".")[0]
        if first in self._apart:
            return None
        parent = sys.modules.get(fullname.rpartition(".")[0])
        if "." in fullname and not isinstance(getattr(parent, "__loader__", None), Repository):
            return None
        found = self._modules.find(fullname, self._spaces)
        if found is None:
            return None
        spec = ModuleSpec(fullname, cast(Any, self), origin=found["path"], is_package=found["package"])
        spec.has_location = not self._spaces
        return spec

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)

    def is_package(self, fullname: str) -> bool:
        found = self._modules.find(fullname, self._spaces)
        return bool(found and found["package"])

    def get_source(self, fullname: str) -> Optional[str]:
        found = self._modules.find(fullname, self._spaces)
        return None if found is None else str(found["text"])

    def get_code(self, fullname: str) -> Any:
        found = self._modules.find(fullname, self._spaces)
        if found is None:
            raise ImportError(f"no module {fullname} at this commit", name=fullname)
        remember(found["path"], found["text"])
        return compile(found["text"], found["path"], "exec", dont_inherit=True)


def remember(path: str, text: str) -> None:
    """Have tracebacks show the lines, whatever is in the workspace by then."""
    linecache.cache[path] = (len(text), None, text.splitlines(True), path)
