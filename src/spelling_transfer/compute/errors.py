"""Errors of the compute plugin. Each message names the setting, the value, what is allowed and the file."""

from __future__ import annotations


class ComputeError(Exception):
    """The base of every error of the plugin; the message alone is what a user needs."""
