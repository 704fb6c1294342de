"""Vertex AI's models and endpoints: what is deployed runs as a server, behind a front."""

import json
from dataclasses import dataclass, field

import requests

from tests.launch.cloud.cloud_stand_ins import Refusal, StandIn
from tests.serving.servers import Server

_TYPES = "type.googleapis.com/google.cloud.aiplatform.v1."
SHARED_LIMIT = 1_500_000


@dataclass
class Endpoints(StandIn):
    """Keeps models and endpoints, and starts what is deployed, as Vertex AI starts a container."""

    #: Variables of every server: where the bucket's stand-in is.
    environ: dict = field(default_factory=dict)
    resources: dict = field(default_factory=dict)
    servers: dict = field(default_factory=dict)

    def __exit__(self, *error):
        for server in self.servers.values():
            server.__exit__()
        super().__exit__(*error)

    def answer(self, method, path, query, body, headers):
        name, _, verb = path.removeprefix("/v1/").partition(":")
        sent = json.loads(body) if body else {}
        if method == "POST" and verb == "predict":
            return self.predict(name, body)
        if method == "POST":
            return 200, self.changed(name, verb, sent)
        kind = name.rsplit("/", 1)[-1]
        if kind in ("models", "endpoints"):
            found = [each for key, each in self.resources.items() if f"/{kind}/" in key]
            shown = query.get("filter", "").partition('"')[2].rstrip('"')
            return 200, {kind: [each for each in found if shown in ("", each["displayName"])]}
        if name not in self.resources:
            return 404, self.refuse(Refusal(404, f"{name} not found", "NOT_FOUND"))
        return 200, self.resources[name]

    def changed(self, name, verb, sent):
        """Make, deploy or undeploy; an operation that is done."""
        number = f"{len(self.requests)}"
        if verb == "upload":
            made = f"{name}/{number}"
            more = {"supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"]}
            self.resources[made] = {**sent["model"], "name": made, "versionId": "1", **more}
            response = {"@type": f"{_TYPES}UploadModelResponse", "model": made}
        elif verb == "deployModel":
            endpoint, deployed = self.resources[name], sent["deployedModel"]
            model = self.resources[deployed["model"].partition("@")[0]]
            self.servers[name, number] = self.started(model)
            endpoint.setdefault("deployedModels", []).append({**deployed, "id": number})
            split = sent.get("trafficSplit", {"0": 100})
            endpoint["trafficSplit"] = {number if k == "0" else k: v for k, v in split.items()}
            response = {"@type": f"{_TYPES}DeployModelResponse", "deployedModel": {"id": number}}
        elif verb == "undeployModel":
            endpoint, gone = self.resources[name], sent["deployedModelId"]
            kept = [each for each in endpoint["deployedModels"] if each["id"] != gone]
            endpoint["deployedModels"] = kept
            endpoint["trafficSplit"].pop(gone, None)
            self.servers.pop((name, gone)).__exit__()
            response = {"@type": f"{_TYPES}UndeployModelResponse"}
        else:
            made = f"{name}/{number}"
            self.resources[made] = {**sent, "name": made}
            response = {"@type": f"{_TYPES}Endpoint", **self.resources[made]}
        return {"name": f"{name}/operations/{number}", "done": True, "response": response}

    def started(self, model):
        spec = model["containerSpec"]
        own = {each["name"]: each["value"] for each in spec["env"]}
        routes = {
            "AIP_HEALTH_ROUTE": spec["healthRoute"],
            "AIP_PREDICT_ROUTE": spec["predictRoute"],
        }
        environ = {**self.environ, **own, **routes, "AIP_STORAGE_URI": model["artifactUri"]}
        server = Server(environ=environ)
        server.start()
        return server

    def predict(self, name, body):
        """Hand a request on to the model that all traffic goes to, within the endpoint's limit."""
        endpoint = self.resources[name]
        if len(body) > SHARED_LIMIT and not endpoint.get("dedicatedEndpointEnabled"):
            return 400, self.refuse(Refusal(400, "Request payload size exceeds the limit"))
        (chosen,) = [key for key, share in endpoint["trafficSplit"].items() if share == 100]
        server = self.servers[name, chosen]
        json_type = {"Content-Type": "application/json"}
        answer = requests.post(f"{server.url}/predict", data=body, headers=json_type, timeout=300)
        if answer.status_code != 200:
            return answer.status_code, self.refuse(Refusal(answer.status_code, answer.text))
        return 200, {**answer.json(), "deployedModelId": chosen}
