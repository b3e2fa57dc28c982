"""A small Hub on loopback: what `huggingface_hub`'s client asks for when it makes, fills, tags and reads a repository.

Repositories live in memory. `Hub.faults` makes it misbehave: a path's ending to "cut" (close in the midst of the body),
"file:" (a redirect), or a status code.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

TOKEN = "hf_test"


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repository:
    """Commits of whole trees: path to content."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}
        self.refs: dict[str, str] = {}
        self.commit({}, "initial commit", "main")

    def commit(self, files: dict[str, bytes | None], title: str, branch: str) -> str:
        tree = dict(self.commits.get(self.refs.get(branch, ""), {})) | files
        name = hashlib.sha1(f"{title} {len(self.commits)}".encode()).hexdigest()
        self.commits[name], self.refs[branch] = tree, name
        return name

    def resolve(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.commits else None)


class Hub:
    """Runs in a thread; `url` is its endpoint."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.variables: dict[str, str] = {}
        self.uploads: dict[str, bytes] = {}
        self.faults: dict[str, str | int] = {}
        self.requests: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_) -> None: ...

    def answer(self, status: int, body: dict | list | bytes = b"", headers: dict | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def error(self, status: int, code: str) -> None:
        self.answer(status, {"error": code}, {"X-Error-Code": code, "X-Error-Message": code})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_any(self) -> None:
        path = unquote(urlparse(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        body = self.body()
        for ending, fault in self.hub.faults.items():
            if path.endswith(ending) and isinstance(fault, int):
                return self.error(fault, {401: "RepoNotFound", 403: "GatedRepo"}.get(fault, "Broken"))
        for pattern, method in _ROUTES:
            match = re.fullmatch(pattern, f"{self.command} {path}")
            if match:
                return getattr(self, method)(body, **match.groupdict())
        return self.error(404, "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def repository(self, repo: str) -> Repository | None:
        """The repository, or None after answering that there is none."""
        found = self.hub.repositories.get(repo)
        if found is None:
            self.error(404, "RepoNotFound")
        return found

    def whoami(self, _body) -> None:
        self.answer(200, {"name": "me", "type": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def create(self, body) -> None:
        wanted = json.loads(body)
        repo = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        if repo in self.hub.repositories:
            return self.answer(409, {"error": "exists", "url": f"{self.hub.url}/{repo}"})
        self.hub.repositories[repo] = Repository()
        self.answer(200, {"url": f"{self.hub.url}/{repo}", "name": repo})

    def validate(self, body) -> None:
        self.answer(200, {"errors": [], "warnings": []})

    def preupload(self, body, repo, revision) -> None:
        answers = []
        for file in json.loads(body)["files"]:
            large = file["path"].endswith(".safetensors") or file["size"] > 100_000
            answers.append({"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False})
        self.answer(200, {"files": answers})

    def batch(self, body, repo) -> None:
        objects = json.loads(body)["objects"]
        for one in objects:
            upload = {"href": f"{self.hub.url}/upload/{one['oid']}", "header": {}}
            one |= {"authenticated": True, "actions": {"upload": upload}}
        self.answer(200, {"transfer": "basic", "objects": objects})

    def upload(self, body, oid) -> None:
        self.hub.uploads[oid] = body
        self.answer(200)

    def commit(self, body, repo, revision) -> None:
        files, title = {}, ""
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                title = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
        name = self.hub.repositories[repo].commit(files, title, revision)
        self.answer(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{name}", "commitOid": name})

    def variable(self, body, repo) -> None:
        wanted = json.loads(body)
        self.hub.variables[wanted["key"]] = wanted["value"]
        self.answer(200, {wanted["key"]: {"value": wanted["value"]}})

    def tag(self, body, repo, revision) -> None:
        found = self.hub.repositories[repo]
        found.refs[json.loads(body)["tag"]] = found.resolve(revision)
        self.answer(200)

    def info(self, _body, repo, revision="main") -> None:
        found = self.repository(repo)
        if not found:
            return
        commit = found.resolve(revision)
        if commit is None:
            return self.error(404, "RevisionNotFound")
        siblings = [{"rfilename": path} for path in sorted(found.commits[commit])]
        details = {"id": repo, "sha": commit, "private": False, "siblings": siblings, "tags": []}
        self.answer(200, {"_id": "0", "modelId": repo, "downloads": 0, "likes": 0, **details})

    def tree(self, _body, repo, revision) -> None:
        found = self.repository(repo)
        if found:
            files = found.commits[found.resolve(revision)]
            self.answer(200, [self.entry(path, files[path]) for path in sorted(files)])

    def entry(self, path: str, content: bytes) -> dict:
        about = {"type": "file", "path": path, "size": len(content), "oid": git_hash(content)}
        if path.endswith(".safetensors"):
            about["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return about

    def resolve(self, _body, repo, revision, path) -> None:
        found = self.repository(repo)
        if not found:
            return
        commit = found.resolve(revision)
        if commit is None:
            return self.error(404, "RevisionNotFound")
        content = found.commits[commit].get(path)
        if content is None:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        large = path.endswith(".safetensors")
        tag = hashlib.sha256(content).hexdigest() if large else git_hash(content)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{tag}"'}
        if large:
            headers |= {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(len(content))}
        fault = next((f for e, f in self.hub.faults.items() if path.endswith(e)), "")
        if fault == "file:" and self.command == "GET":
            return self.answer(302, b"", {"Location": "file:///etc/hostname"})
        headers["Content-Length"] = str(len(content))
        if fault == "cut" and self.command == "GET":
            self.answer(200, content[: len(content) // 2], headers)
            self.wfile.flush()
            self.close_connection = True
            return None
        return self.answer(200, content, headers)


_REPO = r"(?P<repo>[^/]+/[^/]+)"
_ROUTES = (
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/repos/create", "create"),
    (r"POST /api/validate-yaml", "validate"),
    (rf"POST /api/(?:models|spaces)/{_REPO}/preupload/(?P<revision>[^/]+)", "preupload"),
    (rf"POST (?:/spaces)?/{_REPO}\.git/info/lfs/objects/batch", "batch"),
    (rf"POST /api/spaces/{_REPO}/variables", "variable"),
    (r"PUT /upload/(?P<oid>\w+)", "upload"),
    (rf"POST /api/(?:models|spaces)/{_REPO}/commit/(?P<revision>[^/]+)", "commit"),
    (rf"POST /api/models/{_REPO}/tag/(?P<revision>[^/]+)", "tag"),
    (rf"GET /api/models/{_REPO}", "info"),
    (rf"GET /api/models/{_REPO}/revision/(?P<revision>[^/]+)", "info"),
    (rf"GET /api/models/{_REPO}/tree/(?P<revision>[^/]+)", "tree"),
    (rf"(GET|HEAD) /{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
)
