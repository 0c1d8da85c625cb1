"""One transfer or save in a process of its own, to be killed: says when it is ready, begins on a line, says the end."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    action, first, second = sys.argv[1:4]
    if action in {"push", "pull"}:
        from spelling_transfer.storage.bundles.pull import pull_bundle
        from spelling_transfer.storage.bundles.push import push_bundle
        from spelling_transfer.storage.bundles.stores import open_store

        folder, store = (Path(first), open_store(second)) if action == "push" else (Path(second), open_store(first))
        store.list_locks()  # opens the connection, loads what is loaded late

        def act() -> object:
            result = push_bundle(folder, store) if action == "push" else pull_bundle(store, folder)
            return vars(result)
    elif action == "save-table":
        import pandas as pd

        from spelling_transfer.storage import ParquetDataset

        value = int(second)
        frame = pd.DataFrame({"value": [value] * 2_000_000, "row": range(2_000_000)})
        table = ParquetDataset(filepath=first)
        table.exists()

        def act() -> object:
            table.save(frame)
            return value
    else:
        from spelling_transfer.models.folder import ModelFolder
        from spelling_transfer.storage import ModelFolderDataset

        model = ModelFolderDataset(filepath=first)
        model.exists()

        def act() -> object:
            model.save(ModelFolder(Path(second)))
            return second

    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps({"done": act()}), flush=True)


main()
