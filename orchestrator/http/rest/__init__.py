"""The REST paths of the product that came before: the same paths, bodies and words."""
