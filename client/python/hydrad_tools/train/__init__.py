"""Training with PyTorch; importing any module here needs the ``[train]`` extra."""
