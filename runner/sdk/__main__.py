import gc
import sys

if sys.version_info < (3, 9):  # noqa: UP036 - this is who says so
    # Before anything is loaded that an older one cannot even read; the engine knows this code.
    sys.stderr.write("workflows in Python need python3 3.9 or newer, not " + sys.version.split()[0] + "\n")
    sys.exit(78)

# What is loaded stays: to look for what could be freed of it is a tenth of the time that loading takes.
gc.disable()
from runner.sdk.host import main  # noqa: E402

gc.freeze()
gc.enable()
main()
