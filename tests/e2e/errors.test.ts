import { afterAll, beforeAll, expect, test } from "bun:test";
import { BUSYBOX, docker, dockerOk, REGISTRY, removeContainers, run, STATE, uniqueName } from "./docker.ts";

/** What users meet most: the exit code and the words of Docker's own messages. */

const taken = uniqueName("taken");
let before: string[] = [];

const createdContainers = async (): Promise<string[]> =>
  (await dockerOk("ps", "-aq", "--no-trunc", "--filter", "status=created")).split("\n").sort();

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  await dockerOk("create", "--name", taken, BUSYBOX, "true");
  before = await createdContainers();
});

afterAll(() => removeContainers(taken));

const cases: [title: string, command: string[], code: number, text: string | RegExp][] = [
  ["an unknown image", ["run", "--rm", `${REGISTRY}/nothing`, "true"], 125, "manifest unknown"],
  ["an unknown tag", ["pull", `${REGISTRY}/busybox:nope`], 1, "manifest unknown"],
  ["a bad reference", ["pull", "UPPER/Case"], 1, "invalid reference format"],
  ["an unreachable registry", ["pull", "127.0.0.1:9/x/y"], 1, /refused|unreachable|connect/],
  [
    "a name in use",
    ["create", "--name", taken, BUSYBOX, "true"],
    1,
    `The container name "/${taken}" is already in use by container`,
  ],
  ["a bad name", ["create", "--name", "a/b", BUSYBOX, "true"], 1, "Invalid container name"],
  ["a bad port", ["run", "--rm", "-p", "99999:80", BUSYBOX, "true"], 125, /[Ii]nvalid.*[Pp]ort/],
  [
    "a command that is not there",
    ["run", "--rm", BUSYBOX, "nosuch"],
    127,
    'exec: "nosuch": executable file not found in $PATH',
  ],
  ["a path that is not there", ["run", "--rm", BUSYBOX, "/no/such"], 127, "no such file or directory"],
  ["a file that is not executable", ["run", "--rm", BUSYBOX, "/etc/passwd"], 126, "permission denied"],
  ["a directory as command", ["run", "--rm", BUSYBOX, "/etc"], 126, /is a directory|permission denied/],
  [
    "a missing user",
    ["run", "--rm", "-u", "nobody-here", BUSYBOX, "true"],
    125,
    "unable to find user nobody-here: no matching entries in passwd file",
  ],
  [
    "a missing group",
    ["run", "--rm", "-u", "root:nogroup-here", BUSYBOX, "true"],
    125,
    "unable to find group nogroup-here",
  ],
  ["a missing container", ["start", "no-such-container"], 1, "No such container: no-such-container"],
  ["a missing volume", ["volume", "rm", "no-such-volume"], 1, "no such volume"],
  [
    "a missing network",
    ["run", "--rm", "--network", "no-such-net", BUSYBOX, "true"],
    125,
    "network no-such-net not found",
  ],
  ["too little memory", ["run", "--rm", "-m", "4m", BUSYBOX, "true"], 125, "Minimum memory limit allowed is 6MB"],
  [
    "a bind mount of nothing",
    ["run", "--rm", "--mount", "type=bind,source=/no/such,target=/host", BUSYBOX, "true"],
    125,
    'invalid mount config for type "bind": bind source path does not exist: /no/such',
  ],
  ["the host's network", ["run", "--rm", "--network", "host", BUSYBOX, "true"], 125, /host/],
  ["a bad signal", ["kill", "-s", "NOPE", taken], 1, "invalid signal: NOPE"],
];

test.each(cases)("%s", async (_title, command, code, text) => {
  const result = await docker(command);
  expect(`${result.stderr}${result.stdout}`).toMatch(
    text instanceof RegExp ? text : new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")),
  );
  expect(result.code).toBe(code);
});

test("failed runs leave no containers", async () => {
  expect(await createdContainers()).toEqual(before);
});

test("no client certificate, no service", async () => {
  const endpoint = process.env.VCH_E2E_ENDPOINT ?? process.env.DOCKER_HOST ?? "";
  const result = await run(["docker", "version"], {
    environment: { DOCKER_HOST: endpoint, DOCKER_CERT_PATH: "/nonexistent", DOCKER_TLS_VERIFY: "" },
  });
  expect(result.code).not.toBe(0);
  const { port } = new URL(endpoint);
  const plain = await run([
    ...["curl", "-sS", "-w", "%{http_code}", "--cacert", `${STATE}/ca/client/ca.pem`],
    `https://127.0.0.1:${port}/_ping`,
  ]);
  expect(plain.stdout).toMatch(/certificate.*403$/s);
  const good = await run([
    "curl",
    "-sS",
    "--cacert",
    `${STATE}/ca/client/ca.pem`,
    "--cert",
    `${STATE}/ca/client/cert.pem`,
    "--key",
    `${STATE}/ca/client/key.pem`,
    `https://127.0.0.1:${port}/_ping`,
  ]);
  expect(good.stdout).toBe("OK");
});

test("a corrupt layer is refused and leaves nothing", async () => {
  const root = `${STATE}/../registry/docker/registry/v2`;
  const copied = await run([
    "skopeo",
    "copy",
    "-q",
    "--src-tls-verify=false",
    "--dest-tls-verify=false",
    `docker://${BUSYBOX}`,
    `docker://${REGISTRY}/corrupt:latest`,
  ]);
  expect(copied).toMatchObject({ code: 0 });
  // A layer of its own, so that no other image shares the blob that is damaged here.
  const made = await run([
    "sh",
    "-c",
    `set -e; d=$(mktemp -d /var/tmp/vch-corrupt-XXXXXX); umoci init --layout $d/l; umoci new --image $d/l:c; mkdir $d/r
    head -c 400000 /dev/urandom >$d/r/f; tar -C $d/r -cf $d/layer.tar .; umoci raw add-layer --image $d/l:c $d/layer.tar
    skopeo copy -q --dest-tls-verify=false oci:$d/l:c docker://${REGISTRY}/corrupt:latest
    digest=$(skopeo inspect --tls-verify=false docker://${REGISTRY}/corrupt:latest | jq -r '.Layers[0]' | cut -d: -f2)
    blob=${root}/blobs/sha256/$(echo $digest | cut -c1-2)/$digest/data
    printf XXXX | dd of=$blob bs=1 seek=200000 conv=notrunc status=none; rm -rf $d`,
  ]);
  expect(made).toMatchObject({ code: 0 });
  const result = await docker(["pull", `${REGISTRY}/corrupt:latest`]);
  expect(result.code).toBe(1);
  expect(`${result.stdout}${result.stderr}`).toMatch(/digest|verification|checksum|filesystem layer/i);
  expect((await docker(["image", "inspect", `${REGISTRY}/corrupt:latest`])).code).toBe(1);
});
