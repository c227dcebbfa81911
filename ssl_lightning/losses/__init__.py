"""Losses: pure functions of tensors, the same on one process and on many."""
