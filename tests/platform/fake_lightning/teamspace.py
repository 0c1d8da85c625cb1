"""Who is signed in, the teamspace, what it offers, and its secrets."""

from .server import route
from .world import ACCELERATORS, CLUSTER, ORG, OWNED, PROJECT, USER, W, new_id


@route("GET", "/v1/auth/user")
def user(request):
    return USER


@route("GET", "/v1/users/search")
def search(request):
    return {"users": [USER] if request.q("query") in ("tester", "u-1") else []}


@route("GET", "/v1/orgs/{id}")
def organization(request, id):
    return request.need(ORG if id == "o-1" else None)


@route("GET", "/v1/orgs/")  # the SDK asks /v1/orgs/?name=acme
def organization_by_name(request):
    return request.need(ORG if request.q("name") == "acme" else None)


@route("GET", "/v1/memberships")
def memberships(request):
    return {"memberships": [{**OWNED, "projectId": "p-1", "balance": W.balance}]}


@route("GET", "/v1/projects/{p}")
def project(request, p):
    return request.need(PROJECT if p == "p-1" else None)


@route("GET", "/v1/projects/{p}/clusters")
def own_clusters(request, p):
    return {"clusters": [CLUSTER]}


@route("GET", "/v1/core/clusters")
def clusters(request):
    return {"clusters": [CLUSTER]}


@route("GET", "/v1/core/accelerators")
def accelerators(request):
    return {
        "accelerator": [
            {
                "slug": slug.replace("lit-", ""), "slugMultiCloud": slug, "instanceId": instance, "displayName": slug,
                "acceleratorType": kind, "family": family, "cost": usd, "spotPrice": spot, "enabled": True,
                "resources": {"gpu": count if kind == "GPU" else 0, "cpu": count if kind == "CPU" else 16},
                "outOfCapacity": slug in W.out_of_capacity, "provider": "AWS", "dwsSupported": False, "dwsOnly": False,
                "clusterId": CLUSTER["id"], "availableInSeconds": "60", "availableInSecondsSpot": "60",
            }
            for slug, instance, kind, family, count, usd, spot in ACCELERATORS
        ]
    }  # fmt: skip


@route("POST", "/v1/sdk-command-history")
def command_history(request):
    W.telemetry.append(request.body)
    return {}


@route("GET", "/v1/projects/{p}/secrets")
def secrets(request, p):
    return {"secrets": [{"id": i, "name": name, "type": kind} for i, (name, _, kind) in W.secrets.items()]}


@route("GET", "/v1/secrets")
def user_secrets(request):
    return {"secrets": [{"id": i, "name": name, "type": kind} for i, (name, _, kind) in W.user_secrets.items()]}


@route("POST", "/v1/projects/{p}/secrets")
def create_secret(request, p):
    identity, body = new_id("sec"), request.body
    W.secrets[identity] = (body["name"], body["value"], body.get("type") or "SECRET_TYPE_UNSPECIFIED")
    return {"id": identity, "name": body["name"]}


@route("PUT", "/v1/projects/{p}/secrets/{id}")
def change_secret(request, p, id):
    name, _, kind = W.secrets[id]
    W.secrets[id] = (name, request.body["value"], kind)
    return {"id": id, "name": name}
