"""Training with PyTorch Lightning: the module, the data, the callbacks."""
