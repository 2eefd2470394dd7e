"""The published networks without any economy, on tensors under their published names.

What the benches measure against, and the oracle of tests: written from the description of the published systems alone,
so that it shares no line with the product. Everything is done where it is needed and as often; nothing is kept.
"""
