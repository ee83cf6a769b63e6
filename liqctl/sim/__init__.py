"""Deterministic simulation of the keeper against a simulated cluster."""
