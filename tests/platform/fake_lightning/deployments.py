"""Deployments: another specification is another release; all replicas of the newest are ready at once."""

import copy

from .server import route
from .world import W, new_id, now, public

_RELEASED = ("command", "env", "readinessProbe", "spot", "clusterId", "image")


def release(deployment):
    made = {
        "id": new_id("rel"), "version": len(deployment["_releases"]) + 1, "createdAt": now(),
        "projectId": deployment["projectId"], "spec": copy.deepcopy(deployment["spec"]),
    }  # fmt: skip
    deployment["_releases"].append(made)
    deployment["releaseId"] = made["id"]


def view(deployment):
    n = int(deployment["autoscaling"].get("minReplicas") or 0)
    stopped = not int(deployment["autoscaling"].get("maxReplicas") or 0)
    word = "STOPPED" if stopped else "RUNNING" if n else "SCALED_TO_0"
    urls = [f"https://{port}-{deployment['id']}.example.test" for port in deployment["endpoint"]["ports"]]
    status = {"readyReplicas": n, "urls": urls}
    return {**public(deployment), "replicas": n, "currentState": f"DEPLOYMENT_STATE_{word}", "status": status}


@route("POST", "/v1/projects/{p}/deployments")
def create(request, p):
    if W.balance <= 0:
        return request.error(402, "insufficient balance")
    deployment = {**request.body, "id": new_id("dep"), "projectId": p, "userId": "u-1", "createdAt": now()}
    deployment["_releases"] = []
    W.deployments[deployment["id"]] = deployment
    release(deployment)
    return view(deployment)


@route("GET", "/v1/projects/{p}/deployments/{name}/getbyname")
def by_name(request, p, name):
    return view(request.need(next((each for each in W.deployments.values() if each["name"] == name), None)))


@route("PUT", "/v1/projects/{p}/deployments/{id}")
def change(request, p, id):
    deployment = request.need(W.deployments.get(id))
    before = {key: deployment["spec"].get(key) for key in _RELEASED}
    deployment.update({key: value for key, value in request.body.items() if key not in ("id", "releaseId", "status")})
    if {key: deployment["spec"].get(key) for key in _RELEASED} != before:
        release(deployment)
    return view(deployment)


@route("GET", "/v1/projects/{p}/deployments/{id}/releases")
def releases(request, p, id):
    return {"releases": request.need(W.deployments.get(id))["_releases"]}


@route("POST", "/v1/projects/{p}/deployments/{id}/releases/{release_id}")
def restore(request, p, id, release_id):
    deployment = request.need(W.deployments.get(id))
    found = request.need(next((each for each in deployment["_releases"] if each["id"] == release_id), None))
    deployment.update(spec=copy.deepcopy(found["spec"]), releaseId=found["id"])
    return {}


@route("GET", "/v1/projects/{p}/projectclustersbindings")  # the SDK's own Deployment asks
def bindings(request, p):
    return {"clusters": []}
