"""The service that clients call: accepts jobs, has workers do them, streams their progress."""
