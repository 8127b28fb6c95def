"""The domain: what a job is and how it moves. Pure: no I/O, no clock, no other room of ours."""
