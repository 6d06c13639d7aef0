"""The ladder of models: embedded ones inside the package, and names for real ones."""
