"""Studios ("cloudspaces"): their machines, settings and commands."""

import json
from pathlib import Path

from . import machines
from .server import route
from .world import CLUSTER, RUNNING, W, new_id, now, public


def instance(compute, phase=RUNNING):
    return {
        "cloudSpaceInstanceId": new_id("inst"), "phase": phase, "computeConfig": compute, "clusterId": CLUSTER["id"],
        "startupStatus": {"initialRestoreFinished": True, "topUpRestoreFinished": True},
        "publicIpAddress": "127.0.0.1", "startupPercentage": "100", "price": 0.0,
    }  # fmt: skip


def status(studio):
    return {"inUse": studio["_in_use"], "requested": studio["_requested"]}


def view(studio):
    return {**public(studio), "codeStatus": status(studio)}


@route("GET", "/v1/projects/{p}/cloudspaces")
def studios(request, p):
    name = request.q("name")
    found = [view(studio) for studio in W.studios.values() if not name or studio["name"] == name]
    start = int(request.q("pageToken") or 0)
    more = str(start + W.page) if len(found) > start + W.page else ""
    return {"cloudspaces": found[start : start + W.page], "nextPageToken": more}


@route("POST", "/v1/projects/{p}/cloudspaces")
def create(request, p):
    body = request.body
    studio = {
        "id": new_id("s"), "name": body["name"], "displayName": body.get("displayName"), "projectId": p,
        "userId": "u-1", "clusterId": body.get("clusterId") or CLUSTER["id"], "env": [], "createdAt": now(),
        "state": "CLOUD_SPACE_STATE_READY", "environmentTemplateId": body.get("cloudSpaceEnvironmentTemplateId", ""),
        "codeConfig": {
            "disableAutoShutdown": False, "idleShutdownSeconds": 600, "computeConfig": {"name": "cpu-4", "spot": False},
        },
        "_in_use": None, "_requested": None,
    }  # fmt: skip
    W.studios[studio["id"]] = studio
    return view(studio)


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/runs")
def create_run(request, p, id):
    return {"id": new_id("run"), "cloudspaceId": id}


@route("GET", "/v1/projects/{p}/cloudspaces/{id}")
def get(request, p, id):
    return view(W.studio(id))


@route("PUT", "/v1/projects/{p}/cloudspaces/{id}")
def change(request, p, id):
    studio = W.studio(id)
    studio.update({name: value for name, value in request.body.items() if name in ("env", "displayName")})
    return view(studio)


@route("GET", "/v1/projects/{p}/cloudspaces/{id}/codestatus")
def code_status(request, p, id):
    return status(W.studio(id))


@route("PUT", "/v1/projects/{p}/cloudspaces/{id}/sleepconfig")
def sleep(request, p, id):
    config = W.studio(id)["codeConfig"]
    config.update({name: value for name, value in request.body.items() if value is not None})
    return config


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/start")
def start(request, p, id):
    studio, compute = W.studio(id), request.body["computeConfig"]
    if W.balance <= 0:
        return request.error(400, "insufficient balance")
    studio["codeConfig"]["computeConfig"], studio["_in_use"] = compute, instance(compute)
    return {}


@route("PUT", "/v1/projects/{p}/cloudspaces/{id}/codeconfig")  # asks for another machine
def request_switch(request, p, id):
    studio, compute = W.studio(id), request.body["computeConfig"]
    studio["codeConfig"]["computeConfig"] = compute
    studio["_requested"] = instance(compute, "CLOUD_SPACE_INSTANCE_STATE_PENDING")
    return studio["codeConfig"]


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/switch-confirm")
def confirm_switch(request, p, id):
    studio = W.studio(id)
    studio["_in_use"], studio["_requested"] = {**studio["_requested"], "phase": RUNNING}, None
    return {}


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/stop")
def stop(request, p, id):
    W.studio(id)["_in_use"] = None
    return {}


@route("POST", "/v1/projects/{p}/cloudspaces/{id}/execute")
def execute(request, p, id):
    session, command = new_id("sess"), request.body.get("command", "")
    if W.exec:
        folder = Path(W.root) / "studios" / id
        folder.mkdir(parents=True, exist_ok=True)
        machines.prepare(folder, W.files_of(id))
        W.sessions[session] = machines.run(command, folder, W.environment_of(id, folder))
    else:
        W.sessions[session] = (f"ran: {command}\n", 0)
    return {"sessionName": session, "exitCode": 0, "output": ""}


@route("GET", "/v1/projects/{p}/cloudspaces/{id}/execute/{session}/stream")  # lines of JSON
def stream(request, p, id, session):
    output, code = W.sessions[session]
    line = json.dumps({"result": {"output": output, "exitCode": code}}) + "\n"
    return request.raw(200, line.encode(), "application/x-ndjson")
