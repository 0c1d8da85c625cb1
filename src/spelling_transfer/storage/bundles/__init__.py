"""Bundles: files that travel together, as numbered versions with a manifest, to S3, a teamspace drive or a folder.

``push`` sends what a store lacks of a folder, ``pull`` brings a folder to a version, ``versions`` lists and prunes what
a store holds, ``verify`` compares files with a manifest. ``stores`` has one class for each kind of place.
"""
