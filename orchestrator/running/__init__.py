"""Claims tasks, has them done, follows them, and puts on record what came of it."""
