import gc

# What is loaded stays: to look for what could be freed of it is a tenth of the time that loading takes.
gc.disable()
from runner.sdk.host import main  # noqa: E402

gc.freeze()
gc.enable()
main()
