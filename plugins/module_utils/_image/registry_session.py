# Copyright (c) 2026, the immutable.cutover authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to one registry: trust, credentials, timeouts and errors; private, no stability promised.

The token dialogue is C(oras)'s. Its own C(do_request) is not used: it has no timeout, waits up to two minutes between
attempts at a registry that is down, and reads a whole layer into memory. So hosts whose registry wants a password or
nothing need no C(oras).
"""

from __future__ import annotations

import base64
import json
import re
import typing as t
import urllib.parse
from http.cookiejar import DefaultCookiePolicy

from ansible_collections.immutable.cutover.plugins.module_utils._errors import (
    CutoverError,
    RegistryError,
    RegistryErrorKind,
)
from ansible_collections.immutable.cutover.plugins.module_utils._image.registry_options import (
    RegistryOptions,
)

try:
    import requests
    import requests.adapters
    import urllib3.util
except ImportError as failed:
    REQUESTS_ERROR: ImportError | None = failed
else:
    REQUESTS_ERROR = None

_CONNECTIONS = 16
_SAID = 200
_RETRIES = 2
_REFUSALS = {401: RegistryErrorKind.UNAUTHORIZED, 403: RegistryErrorKind.DENIED}


class Session:
    """One registry's HTTP API; may be used by several threads."""

    def __init__(self, options: RegistryOptions) -> None:
        if REQUESTS_ERROR is not None:
            raise CutoverError(
                "talking to a registry needs the Python library requests: install it"
            )
        self.options = options
        self._tokens: dict[str, str] = {}
        self._http = _http_session(options)
        self._netloc = urllib.parse.urlsplit(options.url).netloc

    def request(
        self,
        method: str,
        url: str,
        *,
        scope: str = "",
        headers: t.Mapping[str, str] | None = None,
        data: bytes | str = b"",
        accept: t.Collection[int] = (200,),
    ) -> requests.Response:
        """Send one request and return its answer, whose body was not read yet.

        C(data) is the body, or the path of a file to send as it is. C(scope) is the repository that is asked for:
        tokens are for one. An answer that is not in C(accept) is an error.
        """
        url = self._absolute(url)
        headers = dict(headers or {})
        answer = self._send(method, url, {**headers, **self._authorization(scope, url)}, data)
        if answer.status_code == 401 and self._ours(url):
            token = self._token(answer)
            if token:
                self._tokens[scope] = token
                answer.close()
                fresh = {**headers, "Authorization": f"Bearer {token}"}
                answer = self._send(method, url, fresh, data)
        if answer.status_code not in accept:
            raise self.refused(method, url, answer)
        return answer

    def chunks(self, answer: requests.Response, url: str, size: int) -> t.Iterator[bytes]:
        """Return the body in pieces."""
        try:
            yield from answer.iter_content(size)
        except requests.RequestException as error:
            raise self._failed("GET", url, error) from error
        finally:
            answer.close()

    def refused(self, method: str, url: str, answer: requests.Response) -> RegistryError:
        """Return the error for an answer, in the registry's own words."""
        said = _said(answer)
        status = answer.status_code
        kind = _REFUSALS.get(status, RegistryErrorKind.REFUSED)
        kind = RegistryErrorKind.NOT_FOUND if status == 404 else kind
        why = {401: ": user name or password wrong or missing", 403: ": this user may not"}
        return RegistryError(
            kind,
            f"{method} {_shown(url)} at {self.options.host}: registry answered {status}{why.get(status, '')}"
            + (f": {said}" if said else ""),
            status=status,
            answer=said,
        )

    def _absolute(self, url: str) -> str:
        """Return a full URL; the registry's own keeps our scheme, so that no proxy in front of it downgrades it."""
        absolute = urllib.parse.urljoin(self.options.url, url)
        parts = urllib.parse.urlsplit(absolute)
        if parts.netloc == self._netloc:
            return parts._replace(scheme=urllib.parse.urlsplit(self.options.url).scheme).geturl()
        if parts.scheme != "https" and not self.options.plain_http:
            raise RegistryError(
                RegistryErrorKind.REFUSED,
                f"{self.options.host} sends on to {parts.scheme}://{parts.netloc}, which is not https",
            )
        return absolute

    def _ours(self, url: str) -> bool:
        return urllib.parse.urlsplit(url).netloc == self._netloc

    def _authorization(self, scope: str, url: str) -> dict[str, str]:
        if not self._ours(url):
            return {}
        token = self._tokens.get(scope)
        if token:
            return {"Authorization": f"Bearer {token}"}
        given = self.options.credentials
        # Without waiting to be asked: the check that nothing is to be done stays one request.
        return {"Authorization": "Basic " + _basic(given.username, given.password)} if given else {}

    def _send(
        self, method: str, url: str, headers: t.Mapping[str, str], data: bytes | str
    ) -> requests.Response:
        try:
            if isinstance(data, bytes):
                return self._http_request(method, url, headers, data)
            with open(data, "rb") as stream:
                return self._http_request(method, url, headers, stream)
        except requests.RequestException as error:
            raise self._failed(method, url, error) from error
        except FileNotFoundError as error:
            raise CutoverError(
                f"{error.filename}: blob is missing from the layout; bake again"
            ) from error

    def _http_request(
        self, method: str, url: str, headers: t.Mapping[str, str], data: t.Any
    ) -> requests.Response:
        return self._http.request(
            method,
            url,
            headers={"Accept-Encoding": "identity", **headers},
            data=data or None,
            stream=True,
            verify=self.options.verify,
            allow_redirects=method in ("GET", "HEAD"),
        )

    def _token(self, answer: requests.Response) -> str:
        """Return a token if the registry wants one; empty if it wants a password, or nothing we know."""
        challenge = answer.headers.get("Www-Authenticate", "")
        if not challenge.lower().startswith("bearer "):
            return ""
        try:
            import oras.auth
            import oras.auth.utils
        except ImportError as error:
            raise CutoverError(
                f"{self.options.host} wants a token, for which the Python library oras is needed: install oras"
            ) from error
        wanted = oras.auth.utils.parse_auth_header(challenge)
        if not wanted.realm:
            return ""
        wanted.realm = realm = self._absolute(wanted.realm)
        service = oras.auth.get_auth_backend(
            "token", self._http, self.options.plain_http, tls_verify=self.options.verify
        )
        given = self.options.credentials
        if given:
            service.set_basic_auth(given.username, given.password)
        try:
            return service.request_token(wanted) or ""
        except requests.JSONDecodeError:
            return ""
        except requests.RequestException as error:
            raise self._failed("GET", realm, error) from error

    def _failed(self, method: str, url: str, error: requests.RequestException) -> RegistryError:
        reason = _reason(error)
        where = f"{method} {_shown(url)} at {self.options.host}"
        if isinstance(error, requests.exceptions.SSLError):
            return RegistryError(
                RegistryErrorKind.UNTRUSTED,
                f"{where}: the registry's certificate is not trusted: {reason}; set registry.ca_file",
                answer=reason,
            )
        return RegistryError(
            RegistryErrorKind.UNREACHABLE,
            f"{where}: cannot reach the registry: {reason}",
            answer=reason,
        )


def _http_session(options: RegistryOptions) -> requests.Session:
    class Adapter(requests.adapters.HTTPAdapter):
        """Gives every request a timeout, also those of the token dialogue."""

        def send(self, request: t.Any, *args: t.Any, **kwargs: t.Any) -> requests.Response:
            """Send it."""
            kwargs["timeout"] = options.timeout
            return super().send(request, *args, **kwargs)

    session = requests.Session()
    # Some registries take a client that keeps cookies for a browser.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # A proxy cannot reach this machine's loopback; and what is in a ~/.netrc must not replace what was given here.
    session.trust_env = not options.loopback
    session.auth = _unchanged
    retry = urllib3.util.Retry(
        total=_RETRIES,
        connect=0,
        read=1,
        allowed_methods=("GET", "HEAD"),
        status_forcelist=(429, 502, 503, 504),
        backoff_factor=0.3,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter(pool_maxsize=_CONNECTIONS, max_retries=retry))
    return session


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _basic(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


def _shown(url: str) -> str:
    """Return the path only: the query of an upload carries the registry's own state."""
    return urllib.parse.urlsplit(url).path


def _said(answer: requests.Response) -> str:
    """Return the first of the registry's errors, in one short line."""
    try:
        body = answer.raw.read(1 << 16, decode_content=True)
        first = json.loads(body.decode("utf-8"))["errors"][0]
        text = f"{first.get('code', '')}: {first.get('message', '')}"
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        urllib3.exceptions.HTTPError,
    ):
        text = ""
    finally:
        answer.close()
    return " ".join(text.split())[:_SAID]


def _reason(error: BaseException) -> str:
    """Return the innermost words: the outer ones name objects and addresses in memory."""
    found: object = error
    while True:
        inner = getattr(found, "reason", None)
        if not isinstance(inner, BaseException):
            arguments = getattr(found, "args", ())
            inner = next((a for a in reversed(arguments) if isinstance(a, BaseException)), None)
        if inner is None:
            break
        found = inner
    if isinstance(found, OSError) and found.strerror:
        return found.strerror
    words = re.sub(r"\A.*(?:\[Errno -?[0-9]+\] |>: )", "", str(found))
    return words or type(found).__name__
