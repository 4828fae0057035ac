import asyncio

import httpx
import pytest

from trichord.service.security import Access
from trichord.types import UserError
from trichord.types.addresses import is_loopback

TOKEN = "a-token-of-more-than-16"
GUARDED = {"access": Access(token=TOKEN)}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_token(host):
    assert is_loopback(host)
    Access(host=host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])
def test_any_other_address_needs_a_token(host):
    with pytest.raises(UserError, match="--token"):
        Access(host=host)
    Access(host=host, token=TOKEN)


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "white space in it....", "höchst-geheim-es-wort"]
)
def test_a_token_is_long_and_plain(token):
    with pytest.raises(UserError, match="--token"):
        Access(token=token)


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Cookie": f"trichord={TOKEN}"},
        {"Cookie": "trichord="},
        {"Cookie": "trichord=\x7f;;;=,"},
    ],
)
def test_without_the_right_token_nothing_is_answered(ask, shown):
    for method, path in (
        ("GET", "/api/collection"), ("POST", "/api/search"), ("GET", "/metrics"),
        ("GET", "/api/media/" + 24 * "0"), ("GET", "/openapi.json"), ("GET", "/nowhere"),
    ):  # fmt: skip
        response = ask(method, path, options=GUARDED, headers=shown)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json() == {"error": "The token is missing or wrong."}


def test_the_token_opens(ask):
    for scheme in ("Bearer", "bearer"):
        shown = {"Authorization": f"{scheme} {TOKEN}"}
        assert ask("GET", "/api/collection", options=GUARDED, headers=shown).status_code == 200


def test_the_token_is_compared_in_constant_time(monkeypatch, ask):
    """Every comparison goes through `hmac.compare_digest`."""
    import hmac

    compared = []
    monkeypatch.setattr(
        "trichord.service.security.hmac.compare_digest",
        lambda left, right: compared.append((left, right)) or left == right,
    )
    assert hmac.compare_digest is not None
    ask("GET", "/api/collection", options=GUARDED, headers={"Authorization": "Bearer guess"})
    assert (b"guess", TOKEN.encode()) in compared


def test_the_page_and_the_health_check_are_open(ask):
    assert ask("GET", "/api/health", options=GUARDED).json() == {"status": "ok"}
    assert ask("GET", "/", options=GUARDED).status_code != 401
    assert ask("GET", "/static/page.js", options=GUARDED).status_code != 401


def test_the_pages_address_may_show_the_token_once(client_of):
    async def visit():
        async with client_of(**GUARDED) as client:
            first = await client.get("/", params={"token": TOKEN, "q": "a dog"})
            then = await client.get("/api/collection")
            return first, then

    first, then = asyncio.run(visit())
    assert first.status_code == 303
    assert first.headers["location"] == "/?q=a+dog"
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert then.status_code == 200


def test_a_wrong_token_in_the_pages_address_is_refused(ask):
    response = ask("GET", "/?token=wrong", options=GUARDED)
    assert response.status_code == 401
    assert "set-cookie" not in response.headers


def test_elsewhere_a_token_in_the_address_counts_for_nothing(ask):
    assert ask("GET", f"/api/collection?token={TOKEN}", options=GUARDED).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "", "a:b:c", "[::2]", "localhost."]
)
def test_other_host_names_are_refused(ask, host):
    response = ask("GET", "/api/health", headers={"Host": host})
    assert response.status_code == 403
    assert "host name" in response.json()["error"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "box.local:80"]
)
def test_its_own_host_names_are_not(ask, host):
    access = Access(names=("box.local",))
    response = ask("GET", "/api/health", options={"access": access}, headers={"Host": host})
    assert response.status_code == 200


def test_at_an_open_address_the_token_stands_for_the_name(ask):
    options = {"access": Access(host="0.0.0.0", token=TOKEN)}
    shown = {"Host": "box.example", "Authorization": f"Bearer {TOKEN}"}
    assert ask("GET", "/api/collection", options=options, headers=shown).status_code == 200
    named = {"access": Access(host="0.0.0.0", token=TOKEN, names=("box.example",))}
    assert ask("GET", "/api/collection", options=named, headers=shown).status_code == 200
    shown["Host"] = "other.example"
    assert ask("GET", "/api/collection", options=named, headers=shown).status_code == 403


@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/api/search", "/api/uploads", "/api/add"])
def test_pages_of_other_sites_may_not_post(ask, path, foreign):
    response = ask("POST", path, headers=foreign, content=b"{}")
    assert response.status_code == 403
    assert response.json() == {"error": "Pages of other sites may not ask for this."}


def test_its_own_page_may_post(ask):
    own = {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    asked = {"parts": [{"text": "a red field"}]}
    assert ask("POST", "/api/search", headers=own, json=asked).status_code == 200


def test_no_other_site_is_let_read(ask):
    response = ask("OPTIONS", "/api/search", headers={"Origin": "http://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


FRIEND = "https://friend.example"
SHARED = {"access": Access(origins=(FRIEND,))}
ASKS = {"Access-Control-Request-Method": "POST", "Sec-Fetch-Site": "cross-site"}


def test_an_allowed_site_may_ask_and_read(ask):
    asked = {"parts": [{"text": "a red field"}]}
    from_there = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}
    response = ask("POST", "/api/search", options=SHARED, headers=from_there, json=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == FRIEND
    assert response.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in response.headers
    missing = ask("GET", "/nowhere", options=SHARED, headers=from_there)
    assert missing.headers["access-control-allow-origin"] == FRIEND  # it may read why


def test_the_preflight_of_an_allowed_site_is_answered_without_the_token(ask):
    guarded = {"access": Access(origins=(FRIEND,), token=TOKEN)}
    asks = {**ASKS, "Origin": FRIEND, "Access-Control-Request-Headers": "authorization"}
    response = ask("OPTIONS", "/api/search", options=guarded, headers=asks)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == FRIEND
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "Authorization" in response.headers["access-control-allow-headers"]
    refused = ask("POST", "/api/search", options=guarded, headers={"Origin": FRIEND}, json={})
    assert refused.status_code == 401


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://friend.example.evil.example",
        "http://friend.example",
    ],
)
def test_other_sites_stay_shut_out(ask, origin):
    asks = {**ASKS, "Origin": origin}
    for method, path in (
        ("OPTIONS", "/api/search"),
        ("POST", "/api/search"),
        ("GET", "/api/collection"),
    ):
        response = ask(method, path, options=SHARED, headers=asks)
        assert "access-control-allow-origin" not in response.headers
        assert response.headers["vary"] == "Origin"
    assert ask("POST", "/api/search", options=SHARED, headers=asks, json={}).status_code == 403


@pytest.mark.parametrize(
    "origin",
    ["*", "friend.example", "https://friend.example/", "https://*.example", "https://Friend.example",
     "null", "", "file:///tmp", "https://friend.example:123456", "https://a b"],
)  # fmt: skip
def test_only_whole_origins_can_be_allowed(origin):
    with pytest.raises(UserError, match="--allow-origin"):
        Access(origins=(origin,))


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://a-b.example", "http://[::1]:80"]
)
def test_origins_as_browsers_send_them_can_be_allowed(origin):
    assert Access(origins=(origin,)).origins == (origin,)


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/api/health", "/api/collection", "/nowhere", "/static/x", "/metrics"]
)
def test_every_response_has_the_protecting_headers(ask, path):
    headers = ask("GET", path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


def test_a_refusal_has_them_too(ask):
    headers = ask("GET", "/api/health", headers={"Host": "evil.example"}).headers
    assert headers["x-content-type-options"] == "nosniff"


def test_a_failure_says_nothing_of_its_cause(serving, engine, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("/secret/place with a password")

    app = serving()
    monkeypatch.setattr(engine, "search_batch", fail)

    async def once():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post("/api/search", json={"parts": [{"text": "x"}]})

    response = asyncio.run(once())
    assert response.status_code == 500
    assert response.json() == {"error": "The server made a mistake: its log says more."}
