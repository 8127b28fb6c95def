"""Ways to have a task done: each one a `Dispatcher`. Knows nothing of jobs as a whole."""
