"""Who is calling, what they may do, and where the service may listen."""
