"""The roles that a run on Vertex AI needs: one table, in docs/clouds.md and for `make doctor`.

A user's own rights are asked for by `testIamPermissions`; a service account's are looked up in
the policies of the project and of the bucket, where the user may read those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import requests

YOU, ACCOUNT = "you", "the service account"
PROJECT, BUCKET, REPOSITORY = "the project", "the bucket", "the repository of images"


@dataclass(frozen=True)
class Role:
    """A role that someone needs on something.

    Attributes:
        who: `YOU` or `ACCOUNT`.
        role: its name.
        on: what it is granted on.
        permissions: those of it that a run makes use of.
        when: what it is needed for, where not for every run.
    """

    who: str
    role: str
    on: str
    permissions: tuple[str, ...]
    when: str = ""


_RUN = ("aiplatform.pipelineJobs.create", "aiplatform.pipelineJobs.get")
_FILES = ("storage.objects.create", "storage.objects.get", "storage.objects.list")
ROLES = (
    Role(YOU, "roles/aiplatform.user", PROJECT, _RUN),
    Role(YOU, "roles/iam.serviceAccountUser", ACCOUNT, ("iam.serviceAccounts.actAs",)),
    Role(YOU, "roles/storage.objectUser", BUCKET, _FILES),
    Role(
        YOU,
        "roles/artifactregistry.writer",
        REPOSITORY,
        ("artifactregistry.repositories.uploadArtifacts",),
        when="make push",
    ),
    Role(ACCOUNT, "roles/aiplatform.user", PROJECT, ("aiplatform.customJobs.create",)),
    Role(ACCOUNT, "roles/storage.objectUser", BUCKET, _FILES),
    Role(
        ACCOUNT,
        "roles/artifactregistry.reader",
        REPOSITORY,
        ("artifactregistry.repositories.downloadArtifacts",),
    ),
    Role(
        ACCOUNT,
        "roles/secretmanager.secretAccessor",
        PROJECT,
        ("secretmanager.versions.access",),
        when="a DeepCell model fetched there",
    ),
)
#: Where rights are asked for.
ENDPOINTS: Mapping[str, str] = {
    PROJECT: "https://cloudresourcemanager.googleapis.com",
    BUCKET: "https://storage.googleapis.com",
    ACCOUNT: "https://iam.googleapis.com",
}


def missing_roles(
    session: requests.Session,
    project: str,
    bucket: str = "",
    account: str = "",
    endpoints: Mapping[str, str] = ENDPOINTS,
) -> Iterator[str]:
    """Yield what lacks, a line each, as far as it can be seen.

    Args:
        session: sends requests with the user's credentials.
        project: the project's id.
        bucket: the bucket's name; empty leaves out what is on it.
        account: the service account's address; empty leaves it out.
        endpoints: where to ask, by what is asked for.
    """
    names = {PROJECT: project, BUCKET: bucket, ACCOUNT: account}
    asks = _Asks(session, names, endpoints)
    for role in ROLES:
        if role.when or not names.get(role.on) or (role.who == ACCOUNT and not account):
            continue
        if role.who == YOU:
            held = asks.held(role.on, role.permissions)
            if held is None:
                yield f"{role.role} on {role.on}: cannot be seen with these credentials"
            elif lacking := [p for p in role.permissions if p not in held]:
                yield f"you lack {role.role} on {role.on} {names[role.on]} ({', '.join(lacking)})"
        else:
            members = asks.members(role.on, role.role)
            if members is not None and f"serviceAccount:{account}" not in members:
                yield (
                    f"{account} is not named for {role.role} on {role.on} {names[role.on]} "
                    "(another role may hold it)"
                )


@dataclass(frozen=True)
class _Asks:
    session: requests.Session
    names: Mapping[str, str]
    endpoints: Mapping[str, str]

    def held(self, on: str, permissions: Sequence[str]) -> list[str] | None:
        """Which of some permissions the user has; None where that cannot be seen."""
        if on == BUCKET:
            url = f"{self.endpoints[on]}/storage/v1/b/{self.names[on]}/iam/testPermissions"
            answer = self.session.get(url, params={"permissions": list(permissions)}, timeout=30)
        else:
            path = {
                PROJECT: f"v1/projects/{self.names[PROJECT]}",
                ACCOUNT: f"v1/projects/-/serviceAccounts/{self.names[ACCOUNT]}",
            }[on]
            url = f"{self.endpoints[on]}/{path}:testIamPermissions"
            answer = self.session.post(url, json={"permissions": list(permissions)}, timeout=30)
        if answer.status_code != 200:
            return None
        return list(answer.json().get("permissions", []))

    def members(self, on: str, role: str) -> list[str] | None:
        """Who has a role by name; None where the user may not see that."""
        if on == BUCKET:
            url = f"{self.endpoints[on]}/storage/v1/b/{self.names[on]}/iam"
            answer = self.session.get(url, timeout=30)
        elif on == PROJECT:
            url = f"{self.endpoints[on]}/v1/projects/{self.names[on]}:getIamPolicy"
            answer = self.session.post(url, json={}, timeout=30)
        else:
            return None
        if answer.status_code != 200:
            return None
        bindings = answer.json().get("bindings", [])
        return [member for b in bindings if b["role"] == role for member in b.get("members", [])]


def table() -> str:
    """Return the table as docs/clouds.md shows it."""
    rows = [
        f"| {role.who} | `{role.role}` | {role.on} | {role.when or 'every run'} |" for role in ROLES
    ]
    return "\n".join(["| who | role | on | for |", "|---|---|---|---|", *rows])
