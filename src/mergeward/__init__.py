"""Merge neural-network checkpoints that other people trained, and know what you let in."""
