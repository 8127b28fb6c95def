"""`make chaos`: hundreds of small jobs while everything that can die is killed with -9.

Real processes throughout: orchestrators, workers, FFmpeg, PostgreSQL.
"""
