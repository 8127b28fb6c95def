"""Jobs, events, tasks and files in SQL, behind one interface. Knows nothing of who calls it."""
