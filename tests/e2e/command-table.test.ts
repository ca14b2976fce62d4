/**
 * The exit codes and words of the docker CLI against this endpoint, for what users meet most. No case boots a VM.
 * The expected texts are Docker's own, except where a case says that this engine refuses something (marked `ours`).
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, image, REGISTRY, removeContainers, uniqueName } from "./docker.ts";

const box = uniqueName("table");
const other = uniqueName("table");
const volume = uniqueName("table-volume");
const IMAGE_ID = /^sha256:[0-9a-f]{64}$/m;
const CONTAINER_ID = /^[0-9a-f]{64}$/m;
const scratch = mkdtempSync(join(tmpdir(), "vch-table-"));

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
  await dockerOk("tag", BUSYBOX, "table/busybox:one");
  await dockerOk("create", "--name", box, "--label", "table=yes", "-p", "18080:80", BUSYBOX, "sleep", "1000");
  await dockerOk("create", "--name", other, BUSYBOX, "true");
  await dockerOk("volume", "create", "--label", "table=yes", volume);
  writeFileSync(join(scratch, "file"), "x");
  writeFileSync(join(scratch, "not-an-image.tar"), "x".repeat(2048));
  writeFileSync(join(scratch, "env"), "A=1\n");
});
afterAll(async () => {
  await removeContainers(box, other);
  await docker(["volume", "rm", "-f", volume]);
  await docker(["rmi", "-f", "table/busybox:one", "table/busybox:two"]);
  rmSync(scratch, { recursive: true, force: true });
});

type Case = [command: string, code: number, text: string | RegExp];
const daemon = (text: string): string => `Error response from daemon: ${text}`;
const none = (name: string): string => daemon(`No such container: ${name}`);

/** `BOX`, `OTHER`, `VOLUME`, `IMAGE`, `REGISTRY` and `DIR` are replaced in command and text. */
const fill = (text: string): string =>
  text
    .replaceAll("OTHER", other)
    .replaceAll("BOX", box)
    .replaceAll("VOLUME", volume)
    .replaceAll("IMAGE", BUSYBOX)
    .replaceAll("REGISTRY", REGISTRY)
    .replaceAll("DIR", scratch);

function table(name: string, cases: Case[]): void {
  describe(name, () => {
    test.each(cases)("docker %s", async (command, code, text) => {
      const words = fill(command)
        .split(" ")
        .map((word) => word.replaceAll("~", " "));
      const result = await docker(words, { input: "" });
      const said = `${result.stdout}${result.stderr}`;
      if (text instanceof RegExp) expect(said).toMatch(text);
      else expect(said).toContain(fill(text));
      expect({ code: result.code, said }).toEqual({ code, said });
    });
  });
}

table("containers that are not there", [
  ["start nobody", 1, none("nobody")],
  ["stop nobody", 1, none("nobody")],
  ["restart nobody", 1, none("nobody")],
  ["kill nobody", 1, none("nobody")],
  ["rm nobody", 1, none("nobody")],
  ["rm -f nobody", 0, none("nobody")],
  ["logs nobody", 1, none("nobody")],
  ["attach nobody", 1, none("nobody")],
  ["exec nobody true", 1, none("nobody")],
  ["top nobody", 1, none("nobody")],
  ["port nobody", 1, none("nobody")],
  ["wait nobody", 1, none("nobody")],
  ["rename nobody somebody", 1, none("nobody")],
  ["cp nobody:/x DIR/y", 1, none("nobody")],
  ["cp DIR/file nobody:/x", 1, none("nobody")],
  ["export nobody", 1, none("nobody")],
  ["stats --no-stream nobody", 1, none("nobody")],
  ["inspect nobody", 1, "Error: No such object: nobody"],
  ["container inspect nobody", 1, "No such container: nobody"],
  ["start nobody nobody-else", 1, "failed to start containers: nobody, nobody-else"],
]);

table("containers in the wrong state", [
  ["exec OTHER true", 1, /Error response from daemon: container [0-9a-f]{64} is not running/],
  ["kill OTHER", 1, /cannot kill container: table-\S+: container [0-9a-f]{64} is not running/],
  ["top OTHER", 1, /container [0-9a-f]{64} is not running/],
  ["attach OTHER", 1, "cannot attach to a stopped container, start it first"],
  ["stop OTHER", 0, other],
  ["logs OTHER", 0, ""],
  ["port BOX", 0, ""],
  ["rename OTHER BOX", 1, `Conflict. The container name "/${box}" is already in use by container`],
  ["rename OTHER OTHER", 1, "Renaming a container with the same name as its current name"],
  ["rename OTHER a/b", 1, "Invalid container name (a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"],
  ["kill -s NOPE BOX", 1, "invalid signal: NOPE"],
  ["kill -s 999 BOX", 1, /[Ii]nvalid signal: 999/],
  ["cp OTHER:nope DIR/out", 1, "Could not find the file"],
]);

table("docker create and run", [
  ["create --name BOX IMAGE true", 1, `Conflict. The container name "/${box}" is already in use by container`],
  ["run --name BOX IMAGE true", 125, `Conflict. The container name "/${box}" is already in use by container`],
  ["create --name a~b IMAGE", 1, "Invalid container name (a b)"],
  ["create --name x IMAGE", 1, "Invalid container name (x)"],
  ["create UPPER", 1, /invalid reference format: repository name .*must be lowercase/],
  ["run UPPER", 125, /invalid reference format: repository name .*must be lowercase/],
  ["create --pull never nothing/here", 1, daemon("No such image: nothing/here:latest")],
  ["run --pull never nothing/here", 125, daemon("No such image: nothing/here:latest")],
  ["create REGISTRY/nothing", 1, "manifest unknown"],
  ["run REGISTRY/nothing", 125, "manifest unknown"],
  ["create -m 4m IMAGE", 1, "Minimum memory limit allowed is 6MB"],
  ["create -m nope IMAGE", 125, 'invalid argument "nope" for "-m, --memory" flag: invalid size'],
  [
    "create -m 10m --memory-reservation 20m IMAGE",
    1,
    "Minimum memory limit can not be less than memory reservation limit",
  ],
  ["create --cpus nope IMAGE", 125, 'invalid argument "nope" for "--cpus" flag'],
  ["create --cpus 10000 IMAGE", 1, /[Rr]ange of CPUs is from 0\.01 to \d+\.00/],
  ["create -p 99999:80 IMAGE", 125, /[Ii]nvalid (hostPort|publish|port)/],
  ["create -p 80:80/xtp IMAGE", 125, /[Ii]nvalid proto/],
  ["create -p nope IMAGE", 125, /[Ii]nvalid containerPort: nope/],
  ["create --expose nope IMAGE", 125, /invalid range format for --expose: nope|invalid (start|port)/],
  ["create -e =x IMAGE", 125, /invalid environment variable: =x/],
  ["create --env-file DIR/missing IMAGE", 125, "no such file or directory"],
  ["create --env-file DIR/env --name OTHER IMAGE", 1, "is already in use by container"],
  [
    "create --restart nope IMAGE",
    1,
    "invalid restart policy: unknown policy 'nope'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
  ],
  [
    "create --restart always:3 IMAGE",
    1,
    "invalid restart policy: maximum retry count can only be used with 'on-failure'",
  ],
  ["create --restart on-failure:x IMAGE", 125, "invalid restart policy format: maximum retry count must be an integer"],
  ["create --rm --restart always IMAGE", 125, /[Cc]onflicting options: cannot specify both --restart and --rm/],
  ["create --stop-signal NOPE IMAGE", 1, "invalid signal: NOPE"],
  ["create -h -bad- IMAGE", 1, /invalid hostname|flag needs|hostname/i],
  ["create --user nobody-here:x --name x/y IMAGE", 1, "Invalid container name"],
  ["create --network nope IMAGE", 1, /network nope not found/],
  ["create --network container:nobody IMAGE", 1, /No such container: nobody|not supported/],
  ["create -v relative/path:/x IMAGE", 1, "includes invalid characters for a local volume name"],
  ["create -v x:relative IMAGE", 1, /invalid (mount path|volume specification)/],
  ["create -v VOLUME:/ IMAGE", 1, "invalid specification: destination can't be '/'"],
  ["create -v VOLUME:/a -v another:/a IMAGE", 1, "Duplicate mount point: /a"],
  ["create -v ab:/b:nope IMAGE", 1, "invalid mode: nope"],
  ["create --mount type=nope,target=/x IMAGE", 1, 'invalid mount config for type "nope": mount type unknown'],
  ["create --mount type=volume IMAGE", 125, /[Ff]ield Target must not be empty|target is required/],
  [
    "create --mount type=tmpfs,target=/x,source=y IMAGE",
    1,
    'invalid mount config for type "tmpfs": field Source must not be specified',
  ],
  ["create --tmpfs relative IMAGE", 1, /invalid mount path: 'relative' mount path must be absolute|must be absolute/],
  ["create --ulimit nope IMAGE", 125, /invalid (ulimit argument|argument "nope" for "--ulimit")/],
  ["create --ulimit nope=1 IMAGE", 125, /invalid ulimit type: nope/],
  ["create --ulimit nofile=20:10 IMAGE", 125, /ulimit soft limit must be less than or equal to hard limit: 20 > 10/],
  ["create --sysctl nope IMAGE", 125, /sysctl|nope/],
  ["create --cap-add NOPE IMAGE", 1, 'unknown capability: "CAP_NOPE"'],
  ["create --cap-drop NOPE IMAGE", 1, 'unknown capability: "CAP_NOPE"'],
  ["create --log-driver nope IMAGE", 1, /logger: no log driver named 'nope' is registered|log driver/],
  ["create --log-driver syslog IMAGE", 1, daemon("log driver syslog needs --log-opt syslog-address=")],
  [
    "create --log-driver syslog --log-opt syslog-address=unix:///dev/log IMAGE",
    1,
    "has neither sockets nor certificates",
  ],
  ["create --blkio-weight 5 IMAGE", 1, daemon("Range of blkio weight is from 10 to 1000")],
  [
    "create --mount type=image,target=/x IMAGE",
    1,
    daemon('invalid mount config for type "image": field Source must not be empty'),
  ],
  ["create --log-opt nope=1 IMAGE", 1, /unknown log opt 'nope' for json-file log driver/],
  ["create --shm-size nope IMAGE", 125, "invalid size: 'nope'"],
  ["create --health-retries -1 --health-cmd true IMAGE", 125, /--health-retries cannot be negative|Retries/],
  ["create --health-interval 1us --health-cmd true IMAGE", 1, /Interval in Healthcheck cannot be less than 1ms/],
  ["create --no-healthcheck --health-cmd true IMAGE", 125, "--no-healthcheck conflicts with --health-* options"],
  ["create --ip 10.0.0.300 IMAGE", 1, /invalid|ip/i],
  ["create --mac-address nope IMAGE", 125, /invalid MAC|is not a valid mac address|mac/i],
  ["create --add-host nope IMAGE", 125, 'bad format for add-host: "nope"'],
  ["create --dns nope IMAGE", 125, "IP address is not correctly formatted: nope"],
  ["create --platform nope/nope/nope/nope IMAGE", 1, /cannot parse platform specifier|invalid platform/],
  ["create --gpus nope=1 IMAGE", 125, /gpus|nope/],
  ["create --link nobody:x IMAGE", 1, /[Cc]ould not get container for nobody|No such container: nobody/],
  ["create --volumes-from nobody IMAGE", 1, /No such container: nobody/],
  ["create --pids-limit nope IMAGE", 125, 'invalid argument "nope" for "--pids-limit" flag'],
  ["create --cgroup-parent x IMAGE", 1, /not supported/],
  ["create --pid host IMAGE", 1, /not supported|host/],
  ["create --device /dev/sda:/dev/disk:r IMAGE", 1, /permissions "r" is not supported/],
  ["create --runtime nope IMAGE", 1, /[Uu]nknown or invalid runtime name: nope|runtime/],
]);

table("images", [
  ["pull REGISTRY/busybox:nope", 1, "manifest unknown"],
  ["pull REGISTRY/busybox@sha256:bad", 1, "invalid reference format"],
  ["pull -q IMAGE", 0, BUSYBOX],
  ["pull 127.0.0.1:9/x/y", 1, "connection refused"],
  ["pull --platform linux/s390x IMAGE", 1, /does not match the specified platform|no matching manifest/],
  ["pull --platform a/b/c/d IMAGE", 1, /invalid platform specifier|is an invalid/],
  ["push nothing/here", 1, "An image does not exist locally with the tag: nothing/here"],
  ["push REGISTRY/nothing:x", 1, "An image does not exist locally with the tag: REGISTRY/nothing"],
  ["push UPPER", 1, /invalid reference format/],
  ["tag nothing/here x", 1, daemon("No such image: nothing/here:latest")],
  ["tag IMAGE UPPER", 1, /invalid reference format|is not a valid repository/],
  ["tag IMAGE table/busybox:two", 0, ""],
  ["tag IMAGE sha256:x", 1, "refusing to create an ambiguous tag using digest algorithm as name"],
  ["rmi nothing/here", 1, daemon("No such image: nothing/here:latest")],
  ["rmi -f nothing/here", 0, "No such image: nothing/here:latest"],
  ["rmi table/busybox:two", 0, "Untagged: table/busybox:two"],
  ["image inspect nothing/here", 1, "No such image: nothing/here:latest"],
  ["history nothing/here", 1, daemon("No such image: nothing/here:latest")],
  ["history --format {{.CreatedBy}} IMAGE", 0, ""],
  ["save nothing/here -o DIR/out.tar", 1, daemon("reference does not exist")],
  ["save -o DIR/no/such/folder/x IMAGE", 1, /failed to save image: invalid output path|no such file or directory/],
  ["save --platform linux/arm64 -o DIR/out.tar IMAGE", 1, "does not match the specified platform"],
  ["load -i DIR/missing.tar", 1, "no such file or directory"],
  ["load -i DIR/not-an-image.tar", 1, /tar|archive/],
  ["import http://127.0.0.1:9/x.tar", 1, "failed to GET http://127.0.0.1:9/x.tar"],
  ["import DIR/missing.tar", 1, "no such file or directory"],
  ["import --change NOPE~x DIR/not-an-image.tar", 1, "NOPE is not a valid change command"],
  ["images --filter nope=1", 1, daemon("invalid filter 'nope'")],
  ["images --filter dangling=maybe", 1, "invalid filter 'dangling"],
  ["images -q --no-trunc table/busybox", 0, IMAGE_ID],
  ["images -q nothing", 0, ""],
  ["image prune -f", 0, "Total reclaimed space: "],
  ["image prune -f --filter nope=1", 1, daemon("invalid filter 'nope'")],
  ["search --limit 500 busybox", 1, "limit 500 is outside the range of [1, 100]"],
  ["search REGISTRY/busybox", 1, "has no search"],
  ["manifest inspect --insecure REGISTRY/nothing", 1, "no such manifest: REGISTRY/nothing:latest"],
  ["login -u a -p b REGISTRY", 0, "Login Succeeded"],
  ["login -u a -p b 127.0.0.1:9", 1, "connection refused"],
  ["logout REGISTRY", 0, "Removing login credentials for REGISTRY"],
  ["build DIR/missing", 1, /path .* not found|unable to prepare context/],
]);

table("volumes", [
  ["volume inspect nothing", 1, "get nothing: no such volume"],
  ["volume rm nothing", 1, daemon("get nothing: no such volume")],
  ["volume rm -f nothing", 0, "nothing"],
  ["volume rm nothing nothing-else", 1, "get nothing-else: no such volume"],
  ["volume create x", 1, "volume name is too short, names should be at least two alphanumeric characters"],
  [
    "volume create a/b",
    1,
    'includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed',
  ],
  ["volume create --driver nope ab", 1, /driver nope|plugin "nope" not found/],
  ["volume create -o VolumeStore=nope ab", 1, daemon('no volume store is called "nope"')],
  ["volume create -o nope=1 ab", 1, /option nope|invalid option/],
  ["volume create -o Capacity=1k ab", 1, /capacity/],
  ["volume create -o Capacity=nope ab", 1, /capacity/],
  ["volume ls --filter nope=1", 1, daemon("invalid filter 'nope'")],
  ["volume ls -q --filter label=nothing", 0, ""],
  ["volume prune -f --filter nope=1", 1, daemon("invalid filter 'nope'")],
  ["volume prune -f --filter label=nothing", 0, "Total reclaimed space: 0B"],
  ["volume update VOLUME --availability drain", 1, "can only update cluster volumes"],
]);

table("networks", [
  ["network inspect nothing", 1, "network nothing not found"],
  ["network rm nothing", 1, daemon("network nothing not found")],
  ["network rm bridge", 1, "bridge is a pre-defined network and cannot be removed"],
  [
    "network create bridge",
    1,
    /(operation is not permitted on predefined bridge network|network with name bridge already exists)/,
  ],
  ["network ls --filter nope=1", 1, daemon("invalid filter 'nope'")],
  ["network connect nothing BOX", 1, "network nothing not found"],
  ["network disconnect nothing BOX", 1, "network nothing not found"],
  ["network connect bridge nobody", 1, /No such container: nobody|is not running|already exists|not supported/],
  ["network prune -f --filter nope=1", 1, daemon("invalid filter 'nope'")],
]);

table("lists", [
  ["ps --filter nope=1", 1, daemon("invalid filter 'nope'")],
  ["ps --filter status=nope", 1, /invalid filter 'status=nope'|Unrecognised filter value for status/],
  ["ps --filter health=nope", 1, /[Uu]nrecogni[sz]ed filter value for health: nope/],
  ["ps --filter exited=nope", 1, /invalid filter 'exited=nope'|invalid/],
  ["ps -a --filter before=nobody", 1, none("nobody")],
  ["ps -aq --no-trunc --filter name=BOX", 0, CONTAINER_ID],
  ["ps -a --filter label=table=yes --format {{.Names}}", 0, box],
  ["ps -a --filter label=table=no --format {{.Names}}", 0, ""],
  ["ps -a --filter publish=80 --format {{.Names}}", 0, box],
  ["ps -a --filter ancestor=IMAGE --format {{.Names}}", 0, other],
  ["ps -a --filter volume=nothing -q", 0, ""],
  ["ps -n -5", 0, ""],
  ["events --since 1s --until 0s --filter type=nope", 0, ""],
  ["events --since 1s --until 0s --filter nope=1", 1, daemon("invalid filter 'nope'")],
  ["events --since nope", 1, /nope/],
  ["system df --format {{.Type}}", 0, "Build Cache"],
  ["system df -v", 0, "Images space usage:"],
  ["info --format {{.Swarm.LocalNodeState}}", 0, "inactive"],
  ["version --format {{.Server.Os}}/{{.Server.Arch}}", 0, "linux/amd64"],
  ["container prune -f --filter label=nothing", 0, "Total reclaimed space: 0B"],
  ["container prune -f --filter nope=1", 1, daemon("invalid filter 'nope'")],
  ["inspect --type nope BOX", 1, /"nope" is not a valid value for --type|unknown type: "nope"/],
]);

const NO_SWARM = "This node is not a swarm manager.";
table("what a single engine does not have", [
  ["node ls", 1, NO_SWARM],
  ["service ls", 1, NO_SWARM],
  ["service create IMAGE", 1, NO_SWARM],
  ["stack ls", 1, NO_SWARM],
  ["secret ls", 1, NO_SWARM],
  ["secret inspect x", 1, NO_SWARM],
  ["config ls", 1, NO_SWARM],
  ["swarm leave", 1, "This node is not part of a swarm"],
  ["swarm join-token worker", 1, NO_SWARM],
  ["swarm ca", 1, NO_SWARM],
  ["plugin ls", 0, "ID"],
  ["plugin inspect x", 1, /plugin "?x"? not found/],
  ["plugin rm x", 1, /plugin "?x"? not found/],
  ["plugin enable x", 1, /plugin "?x"? not found/],
]);

test("unknown commands and flags are the client's own errors", async () => {
  expect(await docker(["nonsense"])).toMatchObject({ code: 1 });
  expect(await docker(["run", "--nonsense", image("busybox")])).toMatchObject({ code: 125 });
});
