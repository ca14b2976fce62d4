import { beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, image, inspect, REGISTRY, run, STATE, uniqueName } from "./docker.ts";

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
});

describe("docker pull", () => {
  test("40 layers end up as the last one says, in few disks", async () => {
    await dockerOk("pull", image("layers40"));
    expect(
      await dockerOk(
        "run",
        "--rm",
        image("layers40"),
        "sh",
        "-c",
        "cat /layers/last; ls /layers | sort | tr '\\n' ' '",
      ),
    ).toBe("39\nfile-39 last ");
    expect(
      JSON.parse(await dockerOk("image", "inspect", "-f", "{{json .RootFS.Layers}}", image("layers40"))),
    ).toHaveLength(40);
  });

  test("a second pull says that it is up to date", async () => {
    expect(await dockerOk("pull", BUSYBOX)).toContain("Image is up to date");
  });

  test("whiteouts, links, devices, owners, modes, xattrs, names and sparse files come out right", async () => {
    await dockerOk("pull", "-q", image("odd"));
    const listing = [
      "cd /odd; ls opaque; test -e gone && echo gone-is-here; test -e removed && echo removed-is-here",
      "cat was-directory; cat was-file/inner",
      "test hard-a -ef hard-b && echo hard; for l in absolute relative dangling; do readlink $l-link; done; readlink long-link | wc -c",
      "stat -c '%F %t %T %a' char block fifo; stat -c '%a' setuid setgid sticky; stat -c '%u:%g %a' owned; stat -c '%u:%g' big-id",
      "stat -c '%Y' old; ls | grep -c 'name with spaces'; find . -name 'ünïcödé-名前' | wc -l; find . -path '*ddd/eee*' -type f | wc -l",
      "stat -c %s sparse; test $(du -k sparse | cut -f1) -lt 1024 && echo is-sparse; tail -c 3 sparse; echo; stat -c %s empty",
    ].join("; ");
    expect((await dockerOk("run", "--rm", image("odd"), "sh", "-c", listing)).split("\n")).toEqual([
      ...["upper", "now-a-file", "2", "hard", "/etc/passwd", "../bin/busybox", "nowhere", "201"],
      ...["character special file 1 3 600", "block special file 7 c8 600", "fifo 0 0 644"],
      ...["4755", "2755", "1777", "12345:23456 640", "3000000:3000001", "981173106", "1", "1", "1"],
      ...["268435456", "is-sparse", "end", "0"],
    ]);
  });

  test("a Debian root filesystem works", async () => {
    await dockerOk("pull", "-q", image("debian"));
    expect(
      await dockerOk(
        "run",
        "--rm",
        image("debian"),
        "bash",
        "-c",
        ". /etc/os-release; echo $ID; dpkg --audit; perl -e 'print 6*7'",
      ),
    ).toBe("debian\n42");
  });

  test("by digest", async () => {
    const [digest] = await inspect<string[]>(BUSYBOX, ".RepoDigests");
    expect(digest).toMatch(/@sha256:[0-9a-f]{64}$/);
    expect(await dockerOk("pull", "-q", digest ?? "")).toBe(digest ?? "");
  });

  test("progress for people and for pipes", async () => {
    await docker(["rmi", "-f", image("entrypoint")]);
    const lines = (await dockerOk("pull", image("entrypoint"))).split("\n");
    expect(lines.some((line) => line.endsWith(": Already exists"))).toBe(true);
    expect(lines.some((line) => line.endsWith(": Pull complete"))).toBe(true);
    expect(lines.some((line) => line.startsWith("Digest: sha256:"))).toBe(true);
    expect(lines).toContain(`Status: Downloaded newer image for ${image("entrypoint")}`);
  });
});

describe("the local store", () => {
  test("images, history, tag, rmi", async () => {
    const tagged = `${uniqueName("tagged")}:v1`;
    await dockerOk("tag", BUSYBOX, tagged);
    expect(await dockerOk("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", tagged)).toBe(
      `${tagged} ${(await dockerOk("images", "-q", BUSYBOX)).split("\n")[0]}`,
    );
    expect(await dockerOk("history", "-q", BUSYBOX)).not.toBe("");
    expect(await dockerOk("rmi", tagged)).toBe(`Untagged: ${tagged}`);
    expect((await docker(["rmi", tagged])).stderr).toContain("No such image");
  });

  test("rmi of an image in use is refused", async () => {
    const name = uniqueName("uses");
    await dockerOk("create", "--name", name, BUSYBOX, "true");
    const refused = await docker(["rmi", BUSYBOX]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("is using its referenced image");
    await dockerOk("rm", name);
  });

  test("import with changes, then run", async () => {
    const folder = await mkdtemp(join(tmpdir(), "vch-import-"));
    const name = uniqueName("imported");
    try {
      await run([
        "sh",
        "-c",
        `mkdir -p ${folder}/root/bin && cp /bin/busybox ${folder}/root/bin/sh && tar -C ${folder}/root -czf ${folder}/root.tar.gz .`,
      ]);
      const id = await dockerOk(
        "import",
        "-c",
        'CMD ["sh","-c","echo imported $X"]',
        "-c",
        "ENV X=1",
        "-m",
        "made by hand",
        join(folder, "root.tar.gz"),
        name,
      );
      expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
      expect(await dockerOk("run", "--rm", name)).toBe("imported 1");
      await dockerOk("rmi", name);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  test("load of an archive that another tool made", async () => {
    const folder = await mkdtemp(join(tmpdir(), "vch-load-"));
    const name = `${uniqueName("loaded")}:latest`;
    try {
      const copied = await run([
        "skopeo",
        "copy",
        "-q",
        "--src-tls-verify=false",
        `docker://${BUSYBOX}`,
        `docker-archive:${folder}/image.tar:${name}`,
      ]);
      expect(copied).toMatchObject({ code: 0 });
      expect(await dockerOk("load", "-i", join(folder, "image.tar"))).toBe(`Loaded image: ${name}`);
      expect(await dockerOk("run", "--rm", name, "echo", "loaded")).toBe("loaded");
      await dockerOk("rmi", name);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

test("an interrupted pull leaves nothing half usable and can be repeated", async () => {
  await docker(["rmi", "-f", image("debian")]);
  const child = Bun.spawn(["docker", "pull", image("debian")], { stdout: "pipe", stderr: "ignore" });
  for await (const chunk of child.stdout) if (Buffer.from(chunk).toString().includes("Pulling fs layer")) break;
  await Bun.sleep(1500);
  child.kill("SIGKILL");
  expect((await docker(["image", "inspect", image("debian")])).code).toBe(1);
  await dockerOk("pull", "-q", image("debian"));
  expect(await dockerOk("run", "--rm", image("debian"), "cat", "/etc/debian_version")).toMatch(/^\d+/);
}, 300_000);

test("one layer of more than 1 GiB streams through with flat memory", async () => {
  const folder = await mkdtemp("/var/tmp/vch-big-");
  const serve = JSON.parse((await run(["dist/vch", "status", "--json", "--state", STATE])).stdout) as {
    endpoint: { pid: number };
  };
  const peak = async (): Promise<number> =>
    Number(/VmHWM:\s+(\d+) kB/.exec(await Bun.file(`/proc/${serve.endpoint.pid}/status`).text())?.[1]);
  try {
    // Random bytes every 64 KiB and zeros between: large for us, cheap for the compressor.
    const make = `set -e; umoci init --layout ${folder}/l; umoci new --image ${folder}/l:big; mkdir ${folder}/root
      i=0; while [ $i -lt 1100 ]; do head -c 65536 /dev/urandom; head -c 983040 /dev/zero; i=$((i+1)); done >${folder}/root/big
      sha256sum <${folder}/root/big >${folder}/sum; tar -C ${folder}/root -cf ${folder}/layer.tar .; rm ${folder}/root/big
      umoci raw add-layer --image ${folder}/l:big ${folder}/layer.tar; rm ${folder}/layer.tar
      skopeo copy -q --dest-tls-verify=false oci:${folder}/l:big docker://${REGISTRY}/big:latest`;
    expect(await run(["sh", "-c", make], { timeoutMilliseconds: 300_000 })).toMatchObject({ code: 0 });
    const before = await peak();
    await docker(["pull", "-q", image("big")], { timeoutMilliseconds: 900_000 });
    expect((await peak()) - before).toBeLessThan(192 * 1024);
    // The image has no shell of its own: copy the file out and compare.
    const name = uniqueName("big");
    await dockerOk("create", "--name", name, image("big"), "none");
    const sum = await run(["sh", "-c", `docker cp ${name}:/big - | tar -xOf - big | sha256sum`], {
      timeoutMilliseconds: 600_000,
    });
    expect(sum.stdout).toBe(await Bun.file(`${folder}/sum`).text());
    await dockerOk("rm", name);
    await dockerOk("rmi", image("big"));
  } finally {
    await stat(folder).then(() => rm(folder, { recursive: true, force: true }));
  }
}, 1_800_000);
