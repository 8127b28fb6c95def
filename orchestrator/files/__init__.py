"""Files that the service keeps: their bytes, and links to them. Knows nothing of jobs."""
