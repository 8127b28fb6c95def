"""The media engine: FFmpeg and rendering, in child processes. Knows no job and no RPC."""
