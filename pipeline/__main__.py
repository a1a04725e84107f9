"""`python -m pipeline` is `fsmde`: for launchers that start a module in several processes, such as torchrun."""

from pipeline.cli import main

main()
