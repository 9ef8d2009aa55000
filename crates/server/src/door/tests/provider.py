"""A provider of OpenID Connect for tests: one person, keys made by openssl, faults by request.

Prints its address. GET /authorize logs in at once; POST /set changes claims, keys or answers.
"""

import base64
import hashlib
import http.server
import json
import subprocess
import sys
import tempfile
import time
import urllib.parse

HOME = tempfile.mkdtemp()
STATE = {"claims": {}, "alg": "RS256", "key": 1, "codes": {}, "asked": []}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key(number):
    path = f"{HOME}/{number}.pem"
    try:
        open(path).close()
    except FileNotFoundError:
        subprocess.run(["openssl", "genrsa", "-out", path, "2048"], check=True, capture_output=True)
    return path


def jwk(number):
    out = subprocess.run(["openssl", "rsa", "-in", key(number), "-noout", "-modulus"], check=True, capture_output=True)
    modulus = bytes.fromhex(out.stdout.decode().strip().split("=")[1])
    return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": f"k{number}", "n": b64(modulus), "e": "AQAB"}


def signed(claims):
    head = {"alg": STATE["alg"], "kid": f"k{STATE['key']}"}
    text = b64(json.dumps(head).encode()) + "." + b64(json.dumps(claims).encode())
    number = STATE.get("sign_with", STATE["key"])
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", key(number)], input=text.encode(), check=True, capture_output=True
    )
    return text + "." + b64(done.stdout)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, value, status=200, headers=()):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, text in headers:
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/.well-known/openid-configuration":
            self.answer(
                {
                    "issuer": STATE.get("issuer", ISSUER),
                    "authorization_endpoint": ISSUER + "/authorize",
                    "token_endpoint": ISSUER + "/token",
                    "jwks_uri": ISSUER + "/jwks",
                }
            )
        elif url.path == "/jwks":
            self.answer({"keys": [jwk(STATE["key"])]})
        elif url.path == "/authorize":
            code = b64(hashlib.sha256(query["state"].encode()).digest())
            STATE["codes"][code] = query
            STATE["asked"].append(query)
            back = {"code": code, "state": query["state"], "iss": ISSUER}
            self.answer({}, 302, [("location", query["redirect_uri"] + "?" + urllib.parse.urlencode(back))])
        else:
            self.answer({}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/set":
            STATE.update(json.loads(body))
            self.answer({"asked": STATE["asked"]})
            return
        fields = dict(urllib.parse.parse_qsl(body.decode()))
        asked = STATE["codes"].pop(fields.get("code"), None)
        basic = "Basic " + base64.b64encode(b"hmsops:s3cret").decode()
        challenge = b64(hashlib.sha256(fields.get("code_verifier", "").encode()).digest())
        if (
            asked is None
            or self.headers.get("authorization") != basic
            or challenge != asked["code_challenge"]
            or fields["redirect_uri"] != asked["redirect_uri"]
        ):
            self.answer({"error": "invalid_grant"}, 400)
            return
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": "u-1",
            "aud": "hmsops",
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + 300,
            "auth_time": now if "max_age" in asked else now - 3600,
            "name": "Ann <b>Smith</b>",
            "groups": ["sre"],
        }
        claims.update(STATE["claims"])
        self.answer({"id_token": signed({k: v for k, v in claims.items() if v is not None}), "token_type": "Bearer"})


SERVER = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
ISSUER = f"http://127.0.0.1:{SERVER.server_port}"
print(ISSUER, flush=True)
if sys.stdin.isatty():
    print("ends with ^C", file=sys.stderr)
SERVER.serve_forever()
