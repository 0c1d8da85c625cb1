"""What tests and benchmarks ask the stand-in itself."""

from .server import route
from .world import W, public


@route("GET", "/_fake/log")
def log(request):
    return {"log": W.log, "telemetry": W.telemetry}


@route("GET", "/_fake/state")
def state(request):
    return {"jobs": [public(job) for job in W.jobs.values()]}


@route("POST", "/_fake/reset")
def reset(request):
    W.reset()
    return {}


@route("POST", "/_fake/faults")
def faults(request):
    W.faults.append({"times": 1, "status": 503, "after": False, "body": "injected", **request.body})
    return {}
