import gc
import sys

if sys.version_info < (3, 9):  # noqa: UP036 - this is who says so
    # Before anything is loaded that an older one cannot even read; the engine knows this code.
    sys.stderr.write("workflows in Python need python3 3.9 or newer, not " + sys.version.split()[0] + "\n")
    sys.exit(78)

# What is loaded stays: to look for what could be freed of it is a tenth of the time that loading takes.
gc.disable()
import marshal  # noqa: E402
from importlib.machinery import ModuleSpec  # noqa: E402
from importlib.util import MAGIC_NUMBER  # noqa: E402
from typing import Any, Optional  # noqa: E402


class Package:
    """Our package as one file has it, beside this one: a folder of them is made and removed for each process.

    Each module with its path, whether it is a package, its source, and its code as python3 of one version
    reads it; another version compiles the source.
    """

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            version, self._modules = marshal.load(file)
        self._compiled = version == MAGIC_NUMBER

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        if fullname not in self._modules:
            return None
        origin, package, _, _ = self._modules[fullname]
        loader: Any = self
        spec = ModuleSpec(fullname, loader, origin=origin, is_package=package)
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        origin, _, source, code = self._modules[module.__name__]
        made = marshal.loads(code) if self._compiled else compile(source, origin, "exec", dont_inherit=True)
        exec(made, module.__dict__)


finder: Any = Package(__file__[: -len("py")] + "bin")
sys.meta_path.insert(0, finder)
# A process that a body has begun in a new interpreter runs this file too, under another name.
if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        # The folder of this file has what else belongs to the job, and nothing to import.
        del sys.path[0]
    from runner.sdk.host import main

    gc.freeze()
    gc.enable()
    main()
