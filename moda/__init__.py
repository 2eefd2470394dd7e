"""Tensors to motion, and motion to frames."""
