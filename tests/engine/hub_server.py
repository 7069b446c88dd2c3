"""A model hub of our own: as much of the Hugging Face Hub's HTTP API as an upload needs."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_" + "x" * 30


@dataclass
class Hub:
    """Repositories by name: whether they are private, and their files."""

    address: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refuse_commits: bool = False


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self):
        self._answer(None)

    def do_POST(self):
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def log_message(self, *_):
        pass

    def _send(self, value, status=200, **headers):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, body):
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send({"error": f"Invalid token {self.headers.get('Authorization')}"}, 401)
        elif path == "/api/whoami-v2":
            self._send({"name": "me", "type": "user", "auth": {"accessToken": {"role": "write"}}})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self._send({"errors": [], "warnings": []})
        elif path.startswith("/api/models/"):
            self._model(path, body)
        else:
            self._send({"error": path}, 404)

    def _create(self, wish):
        name = f"{wish.get('organization') or 'me'}/{wish['name']}"
        if name in self.hub.repositories:
            self._send({"error": "exists", "url": f"{self.hub.address}/{name}"}, 409)
            return
        self.hub.repositories[name] = {}
        self.hub.private[name] = wish.get("visibility") == "private" or bool(wish.get("private"))
        self._send({"url": f"{self.hub.address}/{name}", "id": name})

    def _model(self, path, body):
        parts = path.removeprefix("/api/models/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        files = self.hub.repositories.get(name)
        if files is None:
            self._send({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        elif rest[:1] == ["preupload"]:
            wanted = [file["path"] for file in json.loads(body)["files"]]
            self._send({"files": [{"path": one, "uploadMode": "regular", "shouldIgnore": False} for one in wanted]})
        elif rest[:1] == ["commit"] and self.hub.refuse_commits:
            self._send({"error": "no"}, 403, X_Error_Message=f"quota of {TOKEN} exceeded")
        elif rest[:1] == ["commit"]:
            self._commit(name, files, body)
        elif rest[:1] == ["tree"]:
            self._send([{"type": "file", "path": one, "size": len(files[one]), "oid": "0"} for one in files])
        else:
            siblings = [{"rfilename": one} for one in files]
            self._send(
                {"id": name, "modelId": name, "sha": "0" * 40, "siblings": siblings, "private": self.hub.private[name]}
            )

    def _commit(self, name, files, body):
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                files.pop(value["path"])
        url = f"{self.hub.address}/{name}/commit/{'1' * 40}"
        self._send({"success": True, "commitOid": "1" * 40, "commitUrl": url, "hookOutput": ""})


def start_hub() -> tuple[Hub, ThreadingHTTPServer]:
    """A running hub; the caller shuts it down."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return hub, server
