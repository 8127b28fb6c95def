"""The service under load, beside a bare gRPC server that does the same calls."""
