"""Coverage-guided fuzzing of what strangers' bytes reach first; on demand, by `make fuzz`."""
