"""Files of Studios and of the teamspace's drive; large ones arrive in parts."""

import base64
import hashlib

from .server import route
from .world import NotFoundError, W, new_id


def key_of(scope, path):
    return f"{scope}|{path.strip('/')}"


@route("POST", "/v1/projects/{p}/artifacts{*scope*}/blobs")
def begin(request, p, scope):
    results = []
    for blob in request.body["blobs"]:
        key = base64.urlsafe_b64encode(key_of(scope, blob["path"]).encode()).decode()
        parts = blob.get("parts", 0)
        upload = blob.get("upload_id") or (new_id("up") if parts else "")
        numbers = blob.get("part_numbers") or (range(1, parts + 1) if parts else [0])
        urls = [
            {"url": f"{request.base}/_blob/{key}?part={number}&up={upload}", "part_number": number, "headers": {}}
            for number in numbers
        ]
        results.append({"path": blob["path"], "upload_id": upload, "complete_required": not parts, "urls": urls})
    return {"results": results}


@route("PUT", "/_blob/{key}")
def put(request, key):
    name, part = base64.urlsafe_b64decode(key).decode(), request.q("part")
    W.blobs[name if part == "0" else f"{name}#{request.q('up')}#{part}"] = request.bytes
    return request.raw(200, b"", "text/plain", {"ETag": hashlib.md5(request.bytes).hexdigest()})


@route("POST", "/v1/projects/{p}/artifacts{*scope*}/blobs/complete")
def complete(request, p, scope):
    for blob in request.body["blobs"]:
        if upload := blob.get("upload_id"):
            name = key_of(scope, blob["path"])
            numbers = sorted(int(part["part_number"]) for part in blob["parts"])
            W.blobs[name] = b"".join(W.blobs.pop(f"{name}#{upload}#{number}") for number in numbers)
    return {}


@route("GET", "/v1/projects/{p}/artifacts{*scope*}/blobs/{*path*}")
def get(request, p, scope, path):
    if key_of(scope, path) not in W.blobs:
        raise NotFoundError
    return request.raw(200, W.blobs[key_of(scope, path)], "application/octet-stream")


@route("DELETE", "/v1/projects/{p}/artifacts{*scope*}/blobs/{*path*}")
def delete(request, p, scope, path):
    W.blobs.pop(key_of(scope, path), None)
    return request.raw(204, b"", "text/plain")


@route("GET", "/v1/projects/{p}/artifacts{*scope*}/trees/{*path*}")
def tree(request, p, scope, path):
    before = key_of(scope, path).rstrip("/")
    before += "" if before.endswith("|") else "/"
    sizes = {
        key[len(before) :]: len(data) for key, data in W.blobs.items() if key.startswith(before) and "#" not in key
    }
    if request.q("recursive") != "true":
        tops = {name.split("/")[0]: None if "/" in name else size for name, size in sizes.items()}
        folders = [{"path": name, "type": "tree"} for name, size in tops.items() if size is None]
        sizes = {name: size for name, size in tops.items() if size is not None}
        return {"tree": [*folders, *({"path": name, "type": "blob", "size": size} for name, size in sizes.items())]}
    return {"tree": [{"path": name, "type": "blob", "size": size} for name, size in sizes.items()]}
