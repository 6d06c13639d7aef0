"""Graders: from a problem and a response to a verdict."""
