"""`make chaos`: hundreds of small jobs while what can die is killed with -9 or frozen, the database
is away, the disk is full and clocks are set.

Real processes throughout: orchestrators, workers, FFmpeg, PostgreSQL.
"""
