"""Pushes to and pulls from a teamspace drive on the loopback platform, in a process of its own: the platform's library
keeps the address that it was imported with.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def main() -> None:
    """Prints what happened as JSON."""
    work = Path(sys.argv[1])
    sys.path.insert(0, str(ROOT / "tests" / "platform"))
    import fake_lightning as fake

    server, url = fake.serve()
    os.environ.update(
        LIGHTNING_CLOUD_URL=url, LIGHTNING_USER_ID="u-1", LIGHTNING_API_KEY="k", LIGHTNING_DISABLE_VERSION_CHECK="1",
        LIGHTNING_CREDENTIAL_PATH=str(work / "none.json"), SPELLING_TRANSFER_CACHE=str(work / "cache"),
    )  # fmt: skip

    from spelling_transfer.storage.bundles.pull import pull_bundle
    from spelling_transfer.storage.bundles.push import push_bundle
    from spelling_transfer.storage.bundles.stores import StoreError, open_store
    from spelling_transfer.storage.bundles.verify import verify_store
    from spelling_transfer.storage.bundles.versions import list_versions, prune
    from spelling_transfer.storage.errors import BundleError

    source = work / "source"
    (source / "06_models").mkdir(parents=True)
    (source / "06_models/adapter.safetensors").write_bytes(bytes(range(256)) * 40_000)  # 10 MB: sent as a large file
    (source / "counts.json").write_text("{}")
    store = open_store("lightning://acme/spelling/study")
    found: dict[str, object] = {}
    found["first"] = vars(push_bundle(source, store, note="first"))
    found["again"] = vars(push_bundle(source, store))
    (source / "counts.json").write_text('{"words": 2}')
    found["second"] = vars(push_bundle(source, store))
    pull_bundle(store, work / "target")
    found["same"] = all(
        (work / "target" / name).read_bytes() == (source / name).read_bytes()
        for name in ("counts.json", "06_models/adapter.safetensors")
    )
    found["versions"] = [version.number for version in list_versions(store)]
    found["problems"] = len(verify_store(store)[1])
    # A byte flips on the drive.
    key = next(key for key in fake.W.blobs if "/files/" in key and len(fake.W.blobs[key]) < 100)
    fake.W.blobs[key] = b"x" + fake.W.blobs[key][1:]
    for name, act in {
        "damaged": lambda: pull_bundle(store, work / "other", number=1 if b'"words"' not in fake.W.blobs[key] else 2),
        "prune": lambda: prune(store, 1),
        "elsewhere": lambda: open_store("lightning://acme/no-such-teamspace/x").list_manifests(),
        "no-teamspace": lambda: open_store("lightning://acme"),
    }.items():
        try:
            act()
        except (StoreError, BundleError) as error:
            found[name] = str(error)
    found["other"] = (work / "other" / ".bundle.json").exists()
    print(json.dumps(found))
    server.shutdown()


main()
