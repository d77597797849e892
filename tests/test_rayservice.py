"""The Kubernetes file: KubeRay's fields alone, and what it names is there.

The fields are those that KubeRay's definition of a RayService, ``ray.io/v1``, names in August 2026
(after 1.7.0); of pods those alone that the file has. The whole definition has 18,000 lines and is
not repeated here; the file was held against it once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from easel.settings import Settings
from tests.clusters import needs_ray

TAKEN = """
import json, sys
from importlib import import_module
from ray.serve.schema import ServeDeploySchema

(app,) = ServeDeploySchema.model_validate(json.load(sys.stdin)).applications
module, _, name = app.import_path.partition(":")
print(app.name, callable(getattr(import_module(module), name)))
"""


def fields(required: str = "", **properties: Any) -> dict[str, Any]:
    """The schema of an object that has these fields and no others."""
    return {"type": "object", "properties": properties, "required": required.split(),
            "additionalProperties": False}


TEXT, WHOLE, TRUE = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
ANY, TEXTS = {"type": "object"}, {"type": "object", "additionalProperties": {"type": "string"}}


def many(each: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": each}


CONTAINER = fields(
    "name image", name=TEXT, image=TEXT, envFrom=many(fields(secretRef=fields("name", name=TEXT))),
    env=many(fields("name", name=TEXT, value=TEXT)), resources=fields(requests=TEXTS, limits=TEXTS),
    volumeMounts=many(fields("name mountPath", name=TEXT, mountPath=TEXT)))
TEMPLATE = fields(spec=fields(
    "containers", containers=many(CONTAINER), terminationGracePeriodSeconds=WHOLE,
    volumes=many(fields("name", name=TEXT, persistentVolumeClaim=fields(
        "claimName", claimName=TEXT)))))
SCALER = fields(
    env=many(ANY), envFrom=many(ANY), idleTimeoutSeconds=WHOLE, image=TEXT, imagePullPolicy=TEXT,
    resources=ANY, securityContext=ANY, upscalingMode={"enum": ["Default", "Aggressive",
                                                               "Conservative"]},
    version=TEXT, volumeMounts=many(ANY))
HEAD = fields("template", enableIngress=TRUE, headService=ANY, ingressOptions=ANY, labels=TEXTS,
              rayStartParams=TEXTS, resources=ANY, serviceType=TEXT, template=TEMPLATE)
GROUP = fields("groupName minReplicas maxReplicas template", groupName=TEXT,
               idleTimeoutSeconds=WHOLE, labels=TEXTS, maxReplicas=WHOLE, minReplicas=WHOLE,
               numOfHosts=WHOLE, priority=WHOLE, rayStartParams=TEXTS, replicas=WHOLE,
               resources=ANY, scaleStrategy=ANY, suspend=TRUE, template=TEMPLATE)
CLUSTER = fields("headGroupSpec", authOptions=fields(
    enableK8sTokenAuth=TRUE, mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    autoscalerOptions=SCALER, enableInTreeAutoscaling=TRUE, gcsFaultToleranceOptions=ANY,
    headGroupSpec=HEAD, headServiceAnnotations=TEXTS, historyServerOptions=ANY, managedBy=TEXT,
    networkPolicy=ANY, rayVersion=TEXT, suspend=TRUE, tlsOptions=ANY, upgradeStrategy=ANY,
    workerGroupSpecs=many(GROUP))
SERVICE = fields(
    "apiVersion kind metadata spec", apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"}, metadata=fields("name", name=TEXT), spec=fields(
        "rayClusterConfig", deploymentUnhealthySecondThreshold=WHOLE,
        excludeHeadPodFromServeSvc=TRUE, managedBy=TEXT, rayClusterConfig=CLUSTER,
        rayClusterDeletionDelaySeconds=WHOLE, serveConfigV2=TEXT, serveService=ANY,
        serviceUnhealthySecondThreshold=WHOLE, suspend=TRUE, upgradeStrategy=ANY))


@pytest.fixture
def document(repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / "docs" / "cluster" / "rayservice.yaml").read_text("utf-8"))


@pytest.fixture
def config(document: dict[str, Any]) -> dict[str, Any]:
    """What Ray Serve is told."""
    return yaml.safe_load(document["spec"]["serveConfigV2"])


def test_it_has_the_fields_of_a_ray_service_and_no_others(document: dict[str, Any]) -> None:
    errors = Draft202012Validator(SERVICE).iter_errors(document)
    assert [f"{list(error.path)}: {error.message}" for error in errors] == []
    document["spec"]["rayClusterConfig"]["headGroupSpecs"] = {}
    assert not Draft202012Validator(SERVICE).is_valid(document)


def test_no_port_of_rays_is_open_and_nobody_comes_in_without_the_token(
        document: dict[str, Any], config: dict[str, Any]) -> None:
    cluster = document["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert config["proxy_location"] == "Disabled"
    assert config["applications"][0]["route_prefix"] is None
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for container in (each for group in groups for each in group["template"]["spec"]["containers"]):
        told = {each["name"]: each["value"] for each in container["env"]}
        assert told["RAY_USAGE_STATS_ENABLED"] == "0"
        assert told["RAY_ENABLE_AUTO_CONNECT"] == "0"
        for name in (name for name in told if name.startswith("EASEL_")):
            assert name.removeprefix("EASEL_").lower() in Settings.model_fields


def test_there_is_an_accelerator_for_each_runner(document: dict[str, Any]) -> None:
    cluster = document["spec"]["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    told = {each["name"]: each["value"] for each in container["env"]}
    devices = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert cluster["enableInTreeAutoscaling"] is True, "else no machine comes for a runner"
    for name, number in (("EASEL_RUNNERS", "minReplicas"), ("EASEL_MAX_RUNNERS", "maxReplicas")):
        assert int(told[name]) * int(told["EASEL_RUNNER_GPUS"]) == group[number] * devices
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_ray_is_the_one_that_is_pinned(repository: Path, document: dict[str, Any]) -> None:
    pinned = (repository / "requirements-ray.txt").read_text("utf-8")
    assert f"ray[serve]=={document['spec']['rayClusterConfig']['rayVersion']}" in pinned


@needs_ray
def test_ray_takes_it_and_finds_the_application(config: dict[str, Any], repository: Path) -> None:
    """In a process of its own: where Ray is imported before it is told, no cluster can be joined
    any more."""
    done = subprocess.run([sys.executable, "-c", TAKEN], input=json.dumps(config), cwd=repository,
                          capture_output=True, text=True, check=False)
    assert done.stdout == f"{Settings.model_fields['ray_app'].default} True\n", done.stderr
    assert f"=={version('ray')}" in (repository / "requirements-ray.txt").read_text("utf-8")
