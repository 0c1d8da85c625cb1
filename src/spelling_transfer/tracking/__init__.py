"""Tracking: what a run did, kept where it can be found again."""
