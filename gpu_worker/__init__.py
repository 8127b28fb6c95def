"""The encoders: does tasks with FFmpeg in child processes. Knows the contract alone."""
