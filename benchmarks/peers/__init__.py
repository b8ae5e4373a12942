"""Other people's networks, trained on the store and split of an apical run; see docs/benchmarks.md."""
