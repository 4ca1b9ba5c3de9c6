"""Launchers of Hydra: each hands the runs of a sweep to an engine."""
