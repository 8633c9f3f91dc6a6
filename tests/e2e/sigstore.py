#!/usr/bin/env python3
"""An OIDC issuer and a certificate-transparency log for a Fulcio on loopback. Standard library and
openssl(1) only.

usage: sigstore.py STATE_DIR

Reads STATE_DIR/{issuer.crt,issuer.key} (TLS), oidc.key (RSA) and ctlog.key (P-256), and serves
  https://ISSUER         discovery document and key set
  http://127.0.0.1:4001  GET /token?repository=OWNER/REPO: a token as GitHub gives a workflow
                         POST /ct/v1/add-pre-chain: a signed certificate timestamp (RFC 6962)
"""

import base64
import hashlib
import http.server
import json
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse

STATE = sys.argv[1]
ISSUER = "https://token.actions.githubusercontent.com"
POISON = bytes.fromhex("060a2b06010401d679020403")  # OID 1.3.6.1.4.1.11129.2.4.3


def openssl(*arguments, data=b""):
    return subprocess.run(["openssl", *arguments], input=data, stdout=subprocess.PIPE, check=True).stdout


def sign(key, data):
    return openssl("dgst", "-sha256", "-sign", f"{STATE}/{key}", data=data)


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# ---- OIDC ------------------------------------------------------------------------------------


def token(repository):
    """A token with the claims of GitHub's, for a release workflow on the main branch."""
    now = int(time.time())
    ref = "refs/heads/main"
    workflow = f"{repository}/.github/workflows/release.yml@{ref}"
    commit = "a" * 40
    claims = {
        "iss": ISSUER, "aud": "sigstore", "sub": f"repo:{repository}:ref:{ref}",
        "iat": now, "nbf": now - 5, "exp": now + 600,
        "job_workflow_ref": workflow, "job_workflow_sha": commit,
        "workflow_ref": workflow, "workflow_sha": commit, "workflow": "release",
        "repository": repository, "repository_id": "1", "repository_visibility": "public",
        "repository_owner": repository.split("/")[0], "repository_owner_id": "2",
        "ref": ref, "sha": commit, "event_name": "push", "actor": "someone",
        "runner_environment": "github-hosted", "run_id": "3", "run_attempt": "1",
    }  # fmt: skip
    header = {"alg": "RS256", "kid": "e2e", "typ": "JWT"}
    text = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims))
    return text + "." + b64url(sign("oidc.key", text.encode()))


def key_set():
    modulus = openssl("rsa", "-in", f"{STATE}/oidc.key", "-noout", "-modulus").decode().strip()
    n = b64url(bytes.fromhex(modulus.removeprefix("Modulus=")))
    return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "e2e", "n": n, "e": "AQAB"}]}


def discovery():
    return {
        "issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys",
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }  # fmt: skip


# ---- Certificate transparency ----------------------------------------------------------------


def parts(der):
    """The elements inside a DER SEQUENCE (or other constructed element), each with its header."""
    at, end = span(der, 0)
    while at < end:
        _, after = span(der, at)
        yield der[at:after]
        at = after


def span(der, at):
    """Where the content of the element at `at` begins and ends."""
    length, at = der[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        length, at = int.from_bytes(der[at : at + octets], "big"), at + octets
    return at, at + length


def element(tag, content):
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    octets = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | octets]) + length.to_bytes(octets, "big") + content


def without_poison(tbs):
    """The TBSCertificate less the extension that makes it a precertificate."""
    *fields, extensions = parts(tbs)
    (listed,) = parts(extensions)
    kept = b"".join(e for e in parts(listed) if next(parts(e)) != POISON)
    return element(0x30, b"".join(fields) + element(0xA3, element(0x30, kept)))


def timestamp(chain):
    """The signed certificate timestamp of the precertificate chain[0], issued by chain[1]."""
    tbs = without_poison(next(parts(chain[0])))
    issuer_key = list(parts(next(parts(chain[1]))))[6]
    log_key = openssl("pkey", "-in", f"{STATE}/ctlog.key", "-pubout", "-outform", "DER")
    now = int(time.time() * 1000)
    entry = hashlib.sha256(issuer_key).digest() + len(tbs).to_bytes(3, "big") + tbs
    signature = sign("ctlog.key", struct.pack(">BBQH", 0, 0, now, 1) + entry + b"\0\0")
    return {
        "sct_version": 0, "timestamp": now, "extensions": "",
        "id": base64.b64encode(hashlib.sha256(log_key).digest()).decode(),
        "signature": base64.b64encode(b"\4\3" + struct.pack(">H", len(signature)) + signature).decode(),
    }  # fmt: skip


# ---- Servers ---------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        if url.path == "/.well-known/openid-configuration":
            self.answer(discovery())
        elif url.path == "/keys":
            self.answer(key_set())
        elif url.path == "/token":
            self.answer(token(urllib.parse.parse_qs(url.query)["repository"][0]))
        else:
            self.send_error(404)

    def do_POST(self):
        if self.path != "/ct/v1/add-pre-chain":
            return self.send_error(404)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(timestamp([base64.b64decode(c) for c in body["chain"]]))

    def answer(self, value):
        body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    issuer = http.server.ThreadingHTTPServer(("127.0.0.1", 443), Handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(f"{STATE}/issuer.crt", f"{STATE}/issuer.key")
    issuer.socket = tls.wrap_socket(issuer.socket, server_side=True)
    threading.Thread(target=issuer.serve_forever, daemon=True).start()
    http.server.ThreadingHTTPServer(("127.0.0.1", 4001), Handler).serve_forever()


main()
