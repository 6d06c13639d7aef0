"""Procedurally generated suites of four domains with exact verifiers and expert demonstrations."""
