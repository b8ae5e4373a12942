"""Training: the only room that imports torch (install `apical[train]`)."""
