"""Tells the world outside what became of jobs."""
