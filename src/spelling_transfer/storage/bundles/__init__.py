"""Bundles: folders transferred as numbered versions with a manifest, to S3, a teamspace drive or a folder.

``push`` sends missing content to a store, ``pull`` brings a folder to a version, ``versions`` lists and prunes
versions, ``verify`` compares files with a manifest. ``stores`` has one class for each kind of place.
"""
