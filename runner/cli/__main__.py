"""`python -m runner.cli`, for where the installed script is not on the PATH."""

from runner.cli.main import main

main()
