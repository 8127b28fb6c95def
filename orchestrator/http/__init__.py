"""The second door: plain HTTP onto the same operations."""
