"""``python -m pipelines.cli``: the command line without the console script."""

from pipelines.cli.main import main

main()
