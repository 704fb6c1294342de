"""The user's DeepCell token: from the environment, or from Google's Secret Manager.

A cloud run's specification names the secret alone (`DEEPCELL_TOKEN_SECRET`); the machine that
needs the token asks for it there, under the account that it runs as. No message carries the token.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from cellmill import extras
from cellmill.errors import BadInput, CellmillError

TOKEN_VARIABLE = "DEEPCELL_ACCESS_TOKEN"
SECRET_VARIABLE = "DEEPCELL_TOKEN_SECRET"
API_VARIABLE = "CELLMILL_SECRET_MANAGER"
API = "https://secretmanager.googleapis.com"
#: A secret of Secret Manager, at one version.
SECRET_FORM = re.compile(r"projects/[^/\s]+/secrets/[A-Za-z0-9_-]+/versions/(latest|[1-9]\d*)")

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT_S = 60
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def access_token(what: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the user's DeepCell token.

    Args:
        what: what it is wanted for, as an error names it.
        environment: holds the token (`DEEPCELL_ACCESS_TOKEN`), or the name of its secret
            (`DEEPCELL_TOKEN_SECRET`: `projects/…/secrets/…/versions/…`) and, for tests, the address
            of Secret Manager (`CELLMILL_SECRET_MANAGER`).

    Raises:
        BadInput: there is none, it is none, or the secret is not there or may not be read.
        CellmillError: Secret Manager cannot be asked.
    """
    token, origin = environment.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE
    if not token and (secret := environment.get(SECRET_VARIABLE, "").strip()):
        token, origin = _secret(secret, environment.get(API_VARIABLE) or API).strip(), secret
    if not token:
        raise BadInput(
            what,
            expected=f"your access token in {TOKEN_VARIABLE} (made at users.deepcell.org)",
            found="none",
        )
    if not token.isascii() or not token.isprintable():
        raise BadInput(origin, expected="a token", found="characters no token has")
    return token


def _secret(name: str, api: str) -> str:
    if not SECRET_FORM.fullmatch(name):
        raise BadInput(
            SECRET_VARIABLE, expected="projects/…/secrets/…/versions/…", found="another form"
        )
    parts = urlsplit(api)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise BadInput(API_VARIABLE, expected="an https address (a secret is sent)", found=api)
    what = f"secret '{name}'"
    auth = extras.load("google.auth", what)
    transport = extras.load("google.auth.transport.requests", what)
    from requests import RequestException

    try:
        credentials, _ = auth.default(scopes=[_SCOPE])
        with transport.AuthorizedSession(credentials) as session:
            answer: Any = session.get(
                f"{api}/v1/{name}:access", timeout=_TIMEOUT_S, allow_redirects=False
            )
    except (auth.exceptions.GoogleAuthError, RequestException) as error:
        # What they say may hold an address with a token in it.
        raise CellmillError(
            f"secret '{name}': expected an answer from Secret Manager, found {type(error).__name__}"
        ) from None
    if answer.status_code in (401, 403):
        raise BadInput(
            f"secret '{name}'",
            expected="the right to read it (roles/secretmanager.secretAccessor)",
            found=f"HTTP {answer.status_code}",
        )
    if not answer.ok:
        expected = "an enabled version of a secret"
        raise BadInput(f"secret '{name}'", expected=expected, found=f"HTTP {answer.status_code}")
    try:
        return base64.b64decode(answer.json()["payload"]["data"], validate=True).decode()
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise BadInput(f"secret '{name}'", expected="text", found="no text") from None
