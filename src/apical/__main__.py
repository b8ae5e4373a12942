"""`python -m apical` and `torchrun -m apical`."""

from apical.cli import main

main()
