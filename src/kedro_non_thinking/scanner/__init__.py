"""Reads files of every format and checks them against the rules."""
