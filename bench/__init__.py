"""Benchmarks: each promise against its baseline, in one run."""
