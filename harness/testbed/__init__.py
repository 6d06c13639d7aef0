"""A closed testbed without a language model, in which the best mixing weight is known at every step."""
