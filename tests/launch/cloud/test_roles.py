"""The roles of a run on Vertex AI: README lists those that doctor asks for, over HTTP."""

import json
import re
from dataclasses import dataclass, field

import pytest
import requests

from launch import ROOT, doctor
from launch.cloud import roles
from launch.cloud.roles import ACCOUNT, BUCKET, PROJECT, ROLES, YOU, missing_roles
from tests.launch.cloud.cloud_stand_ins import Refusal, StandIn

RUNNER = "runner@some-project.iam.gserviceaccount.com"
EVERYTHING = {p for role in ROLES for p in role.permissions}


@dataclass
class Rights(StandIn):
    """Google Cloud's answers about who may do what."""

    held: set = field(default_factory=lambda: set(EVERYTHING))
    policies: dict = field(default_factory=dict)
    hidden: tuple = ()

    def answer(self, method, path, query, body, headers):
        assert headers["Authorization"] == "Bearer mine"
        if any(part in path for part in self.hidden):
            return 403, self.refuse(Refusal(403, "denied"))
        if path.endswith(("/iam", ":getIamPolicy")):
            on = BUCKET if path.startswith("/storage/") else PROJECT
            return 200, {"bindings": self.policies.get(on, [])}
        asked = json.loads(body)["permissions"] if body else self.asked(query)
        return 200, {"permissions": [p for p in asked if p in self.held]}

    def asked(self, query):
        return sorted(EVERYTHING)


def bindings(on):
    return [
        {"role": role.role, "members": [f"serviceAccount:{RUNNER}"]}
        for role in ROLES
        if role.who == ACCOUNT and role.on == on
    ]


@pytest.fixture
def cloud():
    with Rights(policies={on: bindings(on) for on in (PROJECT, BUCKET)}) as server:
        yield server


def lacking(cloud, **more):
    session = requests.Session()
    session.headers["Authorization"] = "Bearer mine"
    session.trust_env = False
    endpoints = dict.fromkeys((PROJECT, BUCKET, ACCOUNT), cloud.url)
    given = {"project": "some-project", "bucket": "some-bucket", "account": RUNNER, **more}
    return list(missing_roles(session, endpoints=endpoints, **given))


def test_who_has_all_lacks_nothing_and_all_is_asked_for(cloud):
    assert lacking(cloud) == []
    paths = [path for _, path, _, _ in cloud.requests]
    assert "/v1/projects/some-project:testIamPermissions" in paths
    assert f"/v1/projects/-/serviceAccounts/{RUNNER}:testIamPermissions" in paths
    assert "/storage/v1/b/some-bucket/iam/testPermissions" in paths
    assert "/v1/projects/some-project:getIamPolicy" in paths
    assert "/storage/v1/b/some-bucket/iam" in paths


@pytest.mark.parametrize(
    "role", [r for r in ROLES if r.who == YOU and not r.when], ids=lambda r: r.role
)
def test_each_role_that_you_lack_is_named(cloud, role):
    cloud.held -= set(role.permissions)
    (line,) = lacking(cloud)
    assert line.startswith(f"you lack {role.role} on {role.on}")


def test_a_service_account_without_a_role_is_named(cloud):
    cloud.policies[BUCKET] = []
    (line,) = lacking(cloud)
    assert line.startswith(f"{RUNNER} is not named for roles/storage.objectUser on the bucket")


def test_what_may_not_be_seen_is_said_of_you_and_left_out_of_others(cloud):
    cloud.hidden = ("getIamPolicy", "/iam")
    assert lacking(cloud) == [
        "roles/storage.objectUser on the bucket: cannot be seen with these credentials"
    ]
    cloud.hidden = (":testIamPermissions",)
    assert len(lacking(cloud)) == 2


def test_without_a_bucket_or_an_account_the_rest_is_asked_for(cloud):
    cloud.held.clear()
    (line,) = lacking(cloud, bucket="", account="")
    assert "roles/aiplatform.user" in line


def test_readme_names_the_roles_that_doctor_asks_for():
    named = set(re.findall(r"roles/\w+\.\w+", (ROOT / "docs" / "clouds.md").read_text()))
    assert {role.role for role in ROLES if not role.when} <= named
    assert named <= {role.role for role in ROLES}
    for role in ROLES:
        assert f"| `{role.role}` | {role.on} |" in roles.table()


def test_doctor_says_that_roles_were_not_looked_up(monkeypatch, capsys):
    monkeypatch.delenv("PROJECT", raising=False)
    doctor.main()
    assert "roles not looked up (make doctor PROJECT=" in capsys.readouterr().out


def test_too_little_room_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_ROOM", 1 << 62)
    (line,) = doctor._disk(tmp_path / "environments")
    assert "GB free at" in line
    monkeypatch.setattr(doctor, "_ROOM", 1)
    assert not list(doctor._disk(tmp_path / "environments"))
