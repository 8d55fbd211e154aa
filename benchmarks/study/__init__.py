"""What the studies of methods on CIFAR-10-LT have in common: what a run leaves, and tables of it."""
