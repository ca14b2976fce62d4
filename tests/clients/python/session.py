"""A session of the Docker SDK for Python, as a small deployment tool would have it. Arguments: image, name prefix."""
import io
import sys
import tarfile
import time

import docker

image, prefix = sys.argv[1:3]
client = docker.from_env(timeout=300)
assert client.ping() is True
assert client.version()["Os"] == "linux"
assert client.info()["Swarm"]["LocalNodeState"] == "inactive"

pulled = client.images.pull(image.rsplit(":", 1)[0], tag=image.rsplit(":", 1)[1])
assert image in pulled.tags, pulled.tags
assert client.images.get(image).id == pulled.id
assert pulled.history()[0]["Id"] == pulled.id
pulled.tag(f"{prefix}-copy", tag="one")
saved = b"".join(client.images.get(f"{prefix}-copy:one").save(named=f"{prefix}-copy:one"))
assert tarfile.open(fileobj=io.BytesIO(saved)).extractfile("manifest.json")
client.images.remove(f"{prefix}-copy:one")
assert client.images.load(saved)[0].id == pulled.id
client.images.remove(f"{prefix}-copy:one")

volume = client.volumes.create(name=f"{prefix}-volume", labels={"suite": prefix})
assert [v.name for v in client.volumes.list(filters={"label": f"suite={prefix}"})] == [volume.name]
assert "bridge" in [network.name for network in client.networks.list()]

container = client.containers.run(
    image,
    ["sh", "-c", "echo started $GREETING; read line; echo got $line; exit 3"],
    name=f"{prefix}-main",
    environment={"GREETING": "hello"},
    labels={"suite": prefix},
    volumes={volume.name: {"bind": "/data", "mode": "rw"}},
    mem_limit="128m",
    stdin_open=True,
    detach=True,
)
try:
    code, output = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 7"], demux=True)
    assert (code, output) == (7, (b"out\n", b"err\n")), (code, output)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("note")
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    assert container.put_archive("/data", archive.getvalue())
    chunks, stat = container.get_archive("/data/note")
    assert stat["size"] == 5
    assert tarfile.open(fileobj=io.BytesIO(b"".join(chunks))).extractfile("note").read() == b"hello"
    assert container.stats(stream=False)["memory_stats"]["usage"] > 0
    assert any("sh" in " ".join(process) for process in container.top()["Processes"])
    container.rename(f"{prefix}-renamed")
    container.reload()
    assert (container.name, container.status) == (f"{prefix}-renamed", "running")

    stdin = container.attach_socket(params={"stdin": 1, "stream": 1})
    getattr(stdin, "_sock", stdin).sendall(b"a line\n")
    assert container.wait()["StatusCode"] == 3
    assert container.logs() == b"started hello\ngot a line\n", container.logs()
    events = client.events(since=0, until=int(time.time()) + 1, decode=True, filters={"container": container.id})
    actions = [event["Action"] for event in events]
    for action in ("create", "start", "die"):
        assert action in actions, actions
finally:
    container.remove(force=True)
    volume.remove()

try:
    client.containers.get(f"{prefix}-renamed")
    raise AssertionError("a removed container was found")
except docker.errors.NotFound:
    pass
try:
    client.containers.create("nothing/here")
    raise AssertionError("a container was made from nothing")
except docker.errors.ImageNotFound:
    pass
try:
    client.containers.run(image, ["sh", "-c", "echo lost >&2; exit 4"], remove=True)
    raise AssertionError("a failure was not told")
except docker.errors.ContainerError as error:
    assert error.exit_status == 4 and error.stderr == b"lost\n", (error.exit_status, error.stderr)
try:
    client.services.list()
    raise AssertionError("services without a swarm")
except docker.errors.APIError as error:
    assert error.response.status_code == 503
print("session complete", docker.__version__)
