"""Access: the token, the host names of the service, and requests of other sites' pages."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trichord.service.errors import RefusedError, refusal
from trichord.types import UserError
from trichord.types.addresses import is_loopback

SHORTEST_TOKEN = 16
COOKIE = "trichord"
OPEN = ("/", "/docs", "/api/health")
STATIC = "/static/"
"""The page and its files need no token, which the page then asks for: they say nothing of the archive.
Neither does `/api/health`."""
SAFE = ("GET", "HEAD", "OPTIONS")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MEDIA_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
"""Policy of media files: a page among them could run no script and send no request. The page that a
browser makes around a video needs the rest, and plays only without a sandbox."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "content-security-policy": PAGE_POLICY,
    "cache-control": "no-store",
}
"""Default headers of responses."""
ORIGIN = r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?"
"""What browsers send as the origin of a page. `*`, which would allow every site, is none."""
SHARED = {
    "access-control-expose-headers": "Accept-Ranges, Content-Range, ETag, Retry-After",
}
"""Headers of responses to pages of allowed sites. None allows cookies: such pages send the token."""
PREFLIGHT = {
    "access-control-allow-methods": "GET, HEAD, POST",
    "access-control-allow-headers": "Authorization, Content-Type, If-None-Match, If-Range, Range",
    "access-control-max-age": "600",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may use the service.

    Attributes:
        host: The address that the service listens on.
        token: The token of every request; None: no token, only for loopback.
        names: Further host names of requests, such as that of a proxy or the machine.
        origins: Other sites whose pages may ask and read, such as https://example.org.
        open_folders: Whether the page may have this machine open the folder of a file.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    open_folders: bool = False

    def __post_init__(self) -> None:
        if self.open_folders and not is_loopback(self.host):
            raise UserError(
                f"--open-folders opens windows on this machine, and --host {self.host} can be reached by "
                "others: leave one of them out."
            )
        if self.open_folders and (self.names or self.origins):
            other = "--name" if self.names else "--allow-origin"
            raise UserError(
                f"--open-folders is for this machine's own browser, and {other} for others: leave one of "
                "them out."
            )
        if bad := [origin for origin in self.origins if not re.fullmatch(ORIGIN, origin)]:
            raise UserError(
                f"--allow-origin {bad[0]}: give the scheme and host of a site, in lower case and without "
                "a path, such as https://example.org."
            )
        if self.token is None and not is_loopback(self.host):
            raise UserError(
                f"--host {self.host} can be reached by others: give a token (--token-file, or the "
                "environment variable TRICHORD_TOKEN), or listen at 127.0.0.1."
            )
        if self.token is not None and not _is_valid(self.token):
            raise UserError(
                f"The token (--token-file, TRICHORD_TOKEN) is too short or has other characters: give at "
                f"least {SHORTEST_TOKEN} letters, digits, - and _."
            )

    @property
    def hosts(self) -> frozenset[str] | None:
        """Allowed host names; None: any.

        Without a token, another site whose name resolves to this machine could read everything (DNS
        rebinding). With a token, its pages do not have it.
        """
        if self.token is not None and not is_loopback(self.host) and not self.names:
            return None
        return frozenset(name.lower() for name in (*LOOPBACK, self.host, *self.names))

    @property
    def session(self) -> str:
        """The value of the page's cookie: derived from the token, without revealing it."""
        return hashlib.blake2b(
            b"page", key=_bytes(self.token or "")[:64], digest_size=24
        ).hexdigest()

    def knows(self, headers: Headers) -> bool:
        """Whether a request has the token."""
        if self.token is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(token.strip()):
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return hmac.compare_digest(_bytes(cookie), _bytes(self.session))

    def allows(self, headers: Headers) -> str | None:
        """The origin of a request, if it is an allowed one of another site; else None."""
        origin = headers.get("origin", "")
        return origin if origin in self.origins else None

    def is_token(self, token: str) -> bool:
        """Compare in a time that does not depend on where the two differ."""
        return hmac.compare_digest(_bytes(token), _bytes(self.token or ""))


class Guard:
    """Refuses requests without access, and adds security headers to every response."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        origin = self.access.allows(Headers(scope=scope))

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if origin is not None:
                    headers.update(SHARED | {"access-control-allow-origin": origin})
                if self.access.origins:
                    headers.add_vary_header("Origin")
            await send(message)

        answer = self._examine(scope)
        if answer is not None:  # nobody reads the body: the client may send it for ever
            answer.headers["connection"] = "close"
        await (answer or self.app)(scope, receive, protected)

    def _examine(self, scope: Scope) -> Response | None:
        """The refusal of a request; None if it is allowed."""
        headers = Headers(scope=scope)
        try:
            self._require_name(headers.get("host", ""))
            allowed = self.access.allows(headers) is not None
            if allowed and _is_preflight(scope, headers):
                return Response(status_code=204, headers=PREFLIGHT)
            if scope["method"] not in SAFE and not allowed:
                _require_own_page(headers)
            if self.access.token is None:
                return None
            if scope["path"] in OPEN or scope["path"].startswith(STATIC):
                return self._exchange_token(scope)
            if not self.access.knows(headers):
                refused = RefusedError(401, "The token is missing or wrong.")
                refused.headers = {"WWW-Authenticate": "Bearer"}
                raise refused
        except RefusedError as error:
            return refusal(error)
        return None

    def _require_name(self, host: str) -> None:
        allowed = self.access.hosts
        if allowed is not None and _name(host) not in allowed:
            raise RefusedError(
                403, "The service does not have this host name: use the one it was started with."
            )

    def _exchange_token(self, scope: Scope) -> Response | None:
        """Turn the token in the address of the page into a cookie, and remove it from the address."""
        parameters = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = dict(parameters).get("token")
        if scope["path"] != "/" or scope["method"] != "GET" or token is None:
            return None
        if not self.access.is_token(token):
            raise RefusedError(401, "The token is wrong: copy it from the output of the server.")
        rest = urlencode([(name, value) for name, value in parameters if name != "token"])
        answer = RedirectResponse("/" + (f"?{rest}" if rest else ""), 303)
        secure = scope["scheme"] == "https"
        answer.set_cookie(
            COOKIE, self.access.session, httponly=True, samesite="strict", secure=secure
        )
        return answer


def _require_own_page(headers: Headers) -> None:
    """Refuse changes by pages of other sites in a visitor's browser."""
    origin = headers.get("origin")
    foreign = (
        origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    )
    if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise RefusedError(403, "Pages of other sites may not ask for this.")


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks what a page of another site may send; it shows no token."""
    return scope["method"] == "OPTIONS" and "access-control-request-method" in headers


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_valid(token: str) -> bool:
    return len(token) >= SHORTEST_TOKEN and all(
        sign.isascii() and (sign.isalnum() or sign in "-_") for sign in token
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
