"""Jobs, on one machine or several, and their logs."""

import time
from pathlib import Path

from free_ports import free_ports

from . import machines
from .server import job_lines, route
from .world import ENDED, W, new_id, now, public


def new_job(project, name, spec, tags=(), **more):
    names, base, number = {job["name"] for job in W.jobs.values()}, name, 1
    while name in names:  # the platform renames on a clash; the exact suffix is a guess
        name, number = f"{base}-{number}", number + 1
    job = {
        "id": new_id("job"), "name": name, "projectId": project, "state": "pending", "spec": spec, "createdAt": now(),
        "userId": "u-1", "totalCost": 0.0, "tags": tags_of(tags), "restartCount": 0, "message": "",
        "_pinned": False, "_proc": None, "_log": None, "_began": time.monotonic(), **more,
    }  # fmt: skip
    if W.exec and spec.get("command"):
        studio = spec.get("cloudspaceId")
        folder = Path(W.root) / "jobs" / job["id"]
        folder.mkdir(parents=True)
        job["_log"], job["_folder"] = folder.with_suffix(".log"), str(folder)
        machines.prepare(folder, W.files_of(studio))
        own = {entry["name"]: entry.get("value", "") for entry in spec.get("env") or []}
        env = {**W.environment_of(studio, folder), **own}
        job["_proc"] = machines.start(spec["command"], folder, job["_log"], env)
    W.jobs[job["id"]] = job
    return job


def set_job(job, **values):
    """Puts a job into a state; its processes end with it unless they may go on running."""
    with W.lock:  # or somebody would see it fail while its processes end
        if values.get("state") != "running":
            machines.kill(job)
            job["_proc"] = None
        if values.get("state") == "stopped":
            W.job_end(job, "stopped", values.get("message", ""))
        job.update(values, _pinned=True)
        return job


def lose_job(job):
    """The platform forgets a job, and its machine is gone."""
    with W.lock:
        machines.kill(job)
        del W.jobs[job["id"]]


def tags_of(names):
    return [{"id": f"tag-{name.lower()}", "name": name.lower()} for name in names or ()]


def stop(job):
    if W.job_tick(job)["state"] not in ENDED:
        machines.kill(job)
        job.update(state="stop", _proc=None, _pinned=False)


@route("POST", "/v1/projects/{p}/jobs")
def create(request, p):
    active = [job for job in W.jobs.values() if W.job_tick(job)["state"] not in ENDED]
    if W.job_quota is not None and len(active) >= W.job_quota:
        return request.error(403, "quota exceeded: too many jobs at one time")
    if W.balance <= 0:
        return request.error(402, "insufficient balance")
    return public(new_job(p, request.body["name"], request.body["spec"], request.body.get("tags")))


@route("GET", "/v1/projects/{p}/jobs")
def jobs(request, p):
    alone, wanted = request.q("standalone").lower() == "true", set(request.query.get("tagIds") or [])
    found = [
        job
        for job in W.jobs.values()
        if not (alone and job.get("multiMachineJobId")) and (not wanted or wanted & {tag["id"] for tag in job["tags"]})
    ]
    start = int(request.q("pageToken") or 0)
    more = str(start + W.page) if len(found) > start + W.page else ""
    return {"jobs": [public(W.job_tick(job)) for job in found[start : start + W.page]], "nextPageToken": more}


@route("GET", "/v1/projects/{p}/jobs/{id}")
def get(request, p, id):
    return public(W.job_tick(request.need(W.jobs.get(id))))


@route("PUT", "/v1/projects/{p}/jobs/{id}")
def change(request, p, id):
    job = request.need(W.jobs.get(id))
    if request.body.get("state") == "stop":
        stop(job)
    return public(job)


@route("GET", "/v1/projects/{p}/page-logs")
def logs(request, p):
    found = [request.need(W.jobs.get(identity)) for identity in request.query.get("jobIds") or []]
    if several := request.q("mmtId"):
        found = members(several)
    entries = [
        {"line": str(number), "message": text, "resourceId": job["id"], "severity": "info", "timestamp": now()}
        for job in found
        for number, text in enumerate(job_lines(job))
    ]
    for job in found:
        job["_seen"] = len(job_lines(job))
    live = any(job["state"] == "running" for job in found)
    return {"entries": entries, "nextPageToken": "", "followUrl": f"/_ws/{found[0]['id']}" if live else ""}


@route("GET", "/v1/projects/{p}/workload-tags")
def tags(request, p):
    used = [tag for job in [*W.jobs.values(), *W.mmts.values()] for tag in job["tags"]]
    return {"tags": list({tag["id"]: tag for tag in used}.values())}


def members(several_id):
    return [job for job in W.jobs.values() if job.get("multiMachineJobId") == several_id]


def view(several):
    jobs = [W.job_tick(job) for job in members(several["id"])]
    states = {job["state"] for job in jobs}
    word = next((word for word in ("failed", "stopped", "running", "pending") if word in states), None)
    word = word or ("completed" if states == {"completed"} else "running")
    several.update(
        state=f"MultiMachineJob_STATE_{word.upper()}",
        totalCost=sum(job["totalCost"] for job in jobs),
        message=next((job["message"] for job in jobs if job["state"] == "failed"), ""),
    )
    return public(several)


@route("GET", "/v1/projects/{p}/multi-machine-jobs")
def list_several(request, p):
    return {"multiMachineJobs": [view(several) for several in W.mmts.values()], "nextPageToken": ""}


@route("POST", "/v1/projects/{p}/multi-machine-jobs")
def create_several(request, p):
    body = request.body
    several = {**body, "id": new_id("mmt"), "projectId": p, "tags": tags_of(body.get("tags")), "createdAt": now()}
    W.mmts[several["id"]] = several
    first = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(*free_ports())}
    for rank in range(int(body.get("machines") or 2)):
        own = [{"name": name, "value": value} for name, value in {**first, "NODE_RANK": str(rank)}.items()]
        spec = {**body["spec"], "env": [*(body["spec"].get("env") or []), *own]}
        new_job(p, f"{several['name']}-{rank}", spec, multiMachineJobId=several["id"])
    return view(several)


@route("GET", "/v1/projects/{p}/multi-machine-jobs/{id}")
def get_several(request, p, id):
    return view(request.need(W.mmts.get(id)))


@route("PUT", "/v1/projects/{p}/multi-machine-jobs/{id}")
def change_several(request, p, id):
    several = request.need(W.mmts.get(id))
    if str(request.body.get("desiredState", "")).endswith("STOP"):
        for job in members(id):
            stop(job)
    return view(several)
