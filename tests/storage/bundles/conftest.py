"""A folder to push and a store to push to, for every test of bundles."""

from bundle_fixtures import source, store  # noqa: F401
