"""How long what is kept, what is removed, and copies to restore from."""
