"""Who may ask: a token, the names that the service goes by, and requests from other sites' pages."""

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trichord.service.errors import RefusedError, refusal
from trichord.types import UserError

SHORTEST_TOKEN = 16
COOKIE = "trichord"
OPEN = ("/", "/api/health")
STATIC = "/static/"
"""The page and its files are answered without a token, which the page then asks for: they say
nothing of the archive. So is `/api/health`, which says that somebody is at home."""
SAFE = ("GET", "HEAD", "OPTIONS")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob:; media-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MEDIA_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
"""Of what users put into the archive: were it a page, it could run nothing and ask nobody. A browser's
own page around a video needs the rest, and plays without a sandbox only."""
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
"""Of every response that does not say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may ask.

    Attributes:
        host: The address that the service listens at.
        token: That every request must show; None: none, which only loopback allows.
        names: Further host names that requests may use, for a proxy's or a machine's name.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise UserError(
                f"--host {self.host} can be reached by others: give a token (--token-file, or the "
                "environment variable TRICHORD_TOKEN), or listen at 127.0.0.1."
            )
        if self.token is not None and not _sound(self.token):
            raise UserError(
                f"The token (--token-file, TRICHORD_TOKEN) is too short or has other signs: give at "
                f"least {SHORTEST_TOKEN} letters, digits, - and _."
            )

    @property
    def hosts(self) -> frozenset[str] | None:
        """Names by which the service may be addressed; None: any.

        Without a token, another site whose name resolves to this machine could read everything
        (DNS rebinding). With one, its pages lack the token whatever the name.
        """
        if self.token is not None and not is_loopback(self.host) and not self.names:
            return None
        return frozenset(name.lower() for name in (*LOOPBACK, self.host, *self.names))

    @property
    def session(self) -> str:
        """What the page's cookie holds: made from the token, which it does not betray."""
        return hashlib.blake2b(
            b"page", key=_bytes(self.token or "")[:64], digest_size=24
        ).hexdigest()

    def knows(self, authorization: str, cookie: str) -> bool:
        """Whether a request shows the token."""
        if self.token is None:
            return True
        scheme, _, shown = authorization.partition(" ")
        bearer = scheme.lower() == "bearer" and self.is_token(shown.strip())
        return bearer or hmac.compare_digest(_bytes(_morsel(cookie)), _bytes(self.session))

    def is_token(self, shown: str) -> bool:
        """Compare in a time that does not depend on where the two differ."""
        return hmac.compare_digest(_bytes(shown), _bytes(self.token or ""))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """Refuses strangers, and puts the protecting headers on every response."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with_defaults(message.get("headers", []))}
            await send(message)

        answer = self._examine(scope)
        if answer is not None:  # whose body nobody reads: the client may send it for ever
            answer.headers["connection"] = "close"
        await (answer or self.app)(scope, receive, protected)

    def _examine(self, scope: Scope) -> Response | None:
        """A refusal; None for a request that may pass."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        try:
            self._require_name(headers.get("host", ""))
            if scope["method"] not in SAFE:
                _require_own_page(headers)
            if self.access.token is None:
                return None
            if scope["path"] in OPEN or scope["path"].startswith(STATIC):
                return self._welcome(scope)
            self._require_token(headers)
        except RefusedError as error:
            return refusal(error)
        return None

    def _require_name(self, host: str) -> None:
        allowed = self.access.hosts
        if allowed is not None and _name(host) not in allowed:
            raise RefusedError(
                403, "The service does not go by this host name: use the one it was started with."
            )

    def _welcome(self, scope: Scope) -> Response | None:
        """Turn the token of the page's first address into a cookie, and drop it from the address."""
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        shown = dict(asked).get("token")
        if scope["path"] != "/" or scope["method"] != "GET" or shown is None:
            return None
        if not self.access.is_token(shown):
            raise RefusedError(
                401, "The token is not the right one: copy it from the server's start."
            )
        rest = urlencode([(name, value) for name, value in asked if name != "token"])
        answer = RedirectResponse("/" + (f"?{rest}" if rest else ""), 303)
        secure = scope["scheme"] == "https"
        answer.set_cookie(
            COOKIE, self.access.session, httponly=True, samesite="strict", secure=secure
        )
        return answer

    def _require_token(self, headers: dict[str, str]) -> None:
        if not self.access.knows(headers.get("authorization", ""), headers.get("cookie", "")):
            refused = RefusedError(401, "The token is missing or not the right one.")
            refused.headers = {"WWW-Authenticate": "Bearer"}
            raise refused


def _require_own_page(headers: dict[str, str]) -> None:
    """Refuse changes that another site's page asks for in a visitor's name."""
    origin = headers.get("origin")
    foreign = (
        origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    )
    if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise RefusedError(403, "Pages of other sites may not ask for this.")


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _morsel(cookie: str) -> str:
    try:
        found = SimpleCookie(cookie).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _sound(token: str) -> bool:
    return len(token) >= SHORTEST_TOKEN and all(
        one.isascii() and (one.isalnum() or one in "-_") for one in token
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _with_defaults(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    said = {name.lower() for name, _ in headers}
    missing = ((name.encode(), value.encode()) for name, value in HEADERS.items())
    return [*headers, *((name, value) for name, value in missing if name not in said)]
