"""gRPC server interceptors that orchestrator and worker both use, one file each."""
