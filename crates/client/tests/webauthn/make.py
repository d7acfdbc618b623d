"""Makes chromium.json: what a browser's passkey gives for a challenge of ours.

    pip install websocket-client && python make.py > chromium.json

Chromium has a passkey of its own (the DevTools protocol's virtual
authenticator). Key and signature are random: a new run gives another vector,
which must hold just as well.
"""

import hashlib
import http.server
import json
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import websocket

PURPOSE, MESSAGE = b"ringfort/transaction/1", b"message"

SCRIPT = """(async () => {
  const bytes = hex => Uint8Array.from(hex.match(/../g), pair => parseInt(pair, 16));
  const made = await navigator.credentials.create({publicKey: {
    rp: {name: 'names'}, user: {id: bytes('01'), name: 'me', displayName: 'me'},
    challenge: bytes('00'), pubKeyCredParams: [{type: 'public-key', alg: -7}]}});
  const got = await navigator.credentials.get({publicKey: {
    challenge: bytes('CHALLENGE'), userVerification: 'required',
    allowCredentials: [{type: 'public-key', id: made.rawId}]}});
  const key = new Uint8Array(made.response.getPublicKey());
  const hex = Array.from(key, byte => byte.toString(16).padStart(2, '0')).join('');
  return JSON.stringify({spki: hex, credential: got.toJSON()});
})()"""


def tagged(tag, *parts):
    """docs/spec/blocks.md: lengths are eight bytes, little-endian."""
    hasher = hashlib.sha256(struct.pack("<Q", len(tag)) + tag)
    for part in parts:
        hasher.update(struct.pack("<Q", len(part)) + part)
    return hasher.digest()


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>names</title>")

    def log_message(self, *_):
        pass


class DevTools:
    def __init__(self, url):
        self.socket = websocket.create_connection(url, suppress_origin=True)
        self.id = 0

    def call(self, method, **params):
        self.id += 1
        self.socket.send(json.dumps({"id": self.id, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.id:
                assert "error" not in answer, answer
                return answer["result"]


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as profile:
        browser = subprocess.Popen(
            ["chromium", "--headless", "--no-sandbox", "--remote-debugging-port=0",
             f"--user-data-dir={profile}", f"http://localhost:{server.server_port}/"],
            stderr=subprocess.PIPE, text=True)
        try:
            for line in browser.stderr:
                if "DevTools listening on" in line:
                    port = line.split("127.0.0.1:")[1].split("/")[0]
                    break
            deadline = time.monotonic() + 30
            while True:
                listed = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json"))
                pages = [page for page in listed if "localhost" in page["url"]]
                if pages:
                    break
                assert time.monotonic() < deadline, listed
            tools = DevTools(pages[0]["webSocketDebuggerUrl"])
            while tools.call("Runtime.evaluate", expression="document.title")["result"]["value"] != "names":
                assert time.monotonic() < deadline, "the page does not load"
            tools.call("Page.bringToFront")
            tools.call("Emulation.setFocusEmulationEnabled", enabled=True)
            tools.call("WebAuthn.enable")
            tools.call("WebAuthn.addVirtualAuthenticator", options={
                "protocol": "ctap2", "transport": "internal", "hasResidentKey": True,
                "hasUserVerification": True, "isUserVerified": True})
            challenge = tagged(PURPOSE, MESSAGE).hex()
            answer = tools.call("Runtime.evaluate", awaitPromise=True, userGesture=True,
                                expression=SCRIPT.replace("CHALLENGE", challenge))
            assert "value" in answer["result"], answer
            vector = json.loads(answer["result"]["value"])
            print(json.dumps({"purpose": PURPOSE.decode(), "message": MESSAGE.hex(), **vector}, indent=1))
        finally:
            browser.kill()
            browser.wait()


sys.exit(main())
