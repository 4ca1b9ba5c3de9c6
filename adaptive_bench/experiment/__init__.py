"""The life of a run: from its configuration to its record."""
