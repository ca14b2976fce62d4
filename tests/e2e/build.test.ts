/** `docker build` with the classic builder: the real CLI, and requests that no CLI would send. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFile, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type TarMember, writeTar } from "../../src/format/tar/index.ts";
import { buildOk, buildText, contextOf, postBuild, steps } from "./building.ts";
import { BUSYBOX, docker, dockerOk, inspect, REGISTRY, uniqueName } from "./docker.ts";
import { kill, restart } from "./killing.ts";

const name = uniqueName("built");
const made: string[] = [];
const tag = (what: string): string => {
  made.push(`${name}:${what}`);
  return `${name}:${what}`;
};

beforeAll(async () => {
  await dockerOk("pull", "-q", BUSYBOX);
});
afterAll(async () => {
  const left = await dockerOk("ps", "-aq", "--filter", "label=build-test");
  if (left !== "") await docker(["rm", "-f", ...left.split("\n")]);
  await docker(["rmi", "-f", ...made]);
  await docker(["image", "prune", "-f"]);
});

const file = (path: string, text = ""): TarMember => ({
  header: { name: path, type: "file", size: Buffer.byteLength(text) },
  body: [Buffer.from(text)],
});
async function tarOf(members: TarMember[]): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const bytes of writeTar(members)) pieces.push(bytes);
  return Buffer.concat(pieces);
}
const containerIds = async (): Promise<string[]> => (await dockerOk("ps", "-aq")).split("\n").filter(Boolean);

describe("a Dockerfile with nearly everything in it", () => {
  let server: ReturnType<typeof Bun.serve>;
  let context: AsyncDisposable & { path: string };

  beforeAll(async () => {
    const archive = gzipSync(await tarOf([file("packed/inside", "out of the archive\n")]));
    server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) =>
        new URL(request.url).pathname === "/fetched.txt"
          ? new Response("from the web\n", { headers: { "last-modified": "Sat, 03 Feb 2001 04:05:06 GMT" } })
          : new Response("no", { status: 404 }),
    });
    const digest = new Bun.CryptoHasher("sha256").update("from the web\n").digest("hex");
    context = await contextOf({
      "app/main.txt": "main\n",
      "app/debug.log": "not to be sent\n",
      "archive.tar.gz": archive,
      ".dockerignore": "**/*.log\nsecret\n",
      secret: "not to be sent either\n",
      Dockerfile: `# escape=\\
ARG BASE=busybox
FROM ${REGISTRY}/\${BASE} AS tools
RUN mkdir -p /out/bin && echo tool > /out/bin/tool && ln -s tool /out/bin/alias && chown 12:34 /out/bin/tool

FROM ${BUSYBOX} AS app
LABEL build-test=1 words="two words"
ARG GREETING=hello \\
    # comments may stand here
    UNSET
ENV NAME=value "QUOTED"="a b" PLACE=/srv
SHELL ["/bin/sh", "-ec"]
WORKDIR \${PLACE}/app
COPY --chown=daemon:daemon --chmod=u=rwX,go=rX app/ ./
ADD archive.tar.gz /unpacked/
ADD --chmod=644 --checksum=sha256:${digest} http://127.0.0.1:${server.port}/fetched.txt /fetched/
COPY <<script.sh /usr/bin/
#!/bin/sh
echo "\${GREETING:-nothing} from \\$0"
script.sh
COPY --from=tools --chmod=755 /out/bin/* /usr/local/bin/
RUN echo "$GREETING,$NAME,$QUOTED,$(pwd),$(id -u)" > /result; ls -ln . /usr/local/bin; echo to-stderr >&2
USER daemon
RUN <<SCRIPT
set -e
id -un
cat /srv/app/main.txt /unpacked/packed/inside /fetched/fetched.txt
SCRIPT
VOLUME /data
EXPOSE 80 8000-8001/udp
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
ENTRYPOINT ["/bin/cat"]
CMD ["/result"]

FROM app AS unused
RUN exit 3
`,
    });
  });
  afterAll(async () => {
    await server.stop(true);
    await context[Symbol.asyncDispose]();
  });

  test("builds to a target, tells it in Docker's words, and runs", async () => {
    const iidfile = join(context.path, "secret");
    const output = await buildOk(
      context.path,
      ...["--target", "app", "-t", tag("app"), "-t", tag("also"), "--label", "given=by the request"],
      ...["--build-arg", "GREETING=hi", "--build-arg", "NOBODY=1", "--iidfile", iidfile],
    );
    const shown = steps(output);
    expect(shown.slice(0, 3)).toEqual([
      "Step 1/24 : ARG BASE=busybox",
      `Step 2/24 : FROM ${REGISTRY}/\${BASE} AS tools`,
      expect.stringMatching(/^Step 3\/24 : RUN mkdir/),
    ]);
    expect(shown.filter((line) => line.startsWith(" ---> Removed intermediate container ID"))).toHaveLength(3);
    expect(shown.slice(-5)).toEqual([
      "Step 24/24 : LABEL given=by the request",
      "[Warning] One or more build-args [NOBODY] were not consumed",
      "Successfully built ID",
      `Successfully tagged ${name}:app`,
      `Successfully tagged ${name}:also`,
    ]);
    expect(output).toContain("\u001b[91mto-stderr\n\u001b[0m");
    expect(output).toContain("daemon\nmain\nout of the archive\nfrom the web\n");
    expect(output).toMatch(/-rwxr-xr-x +1 12 +34 .* tool\n/);
    expect(output).toMatch(/-rw-r--r-- +1 1 +1 .* main.txt\n/);
    expect(output).not.toContain("debug.log");
    expect(await readFile(iidfile, "utf8")).toBe(await inspect<string>(`${name}:app`, ".Id"));
    expect(await dockerOk("run", "--rm", "-l", "build-test", `${name}:app`)).toBe("hi,value,a b,/srv/app,0");
  });

  test("has the configuration and history that it should", async () => {
    expect(await inspect<Record<string, unknown>>(`${name}:app`, ".Config")).toMatchObject({
      User: "daemon",
      WorkingDir: "/srv/app",
      Env: [expect.stringMatching(/^PATH=/), "NAME=value", "QUOTED=a b", "PLACE=/srv"],
      Cmd: ["/result"],
      Entrypoint: ["/bin/cat"],
      Volumes: { "/data": {} },
      ExposedPorts: { "80/tcp": {}, "8000/udp": {}, "8001/udp": {} },
      StopSignal: "SIGINT",
      Shell: ["/bin/sh", "-ec"],
      Labels: { "build-test": "1", words: "two words", given: "by the request" },
      Healthcheck: { Test: ["CMD-SHELL", "true"], Interval: 5e9 },
    });
    const history = await dockerOk("history", "--no-trunc", "--format", "{{.CreatedBy}}", `${name}:app`);
    expect(history).toContain('/bin/sh -ec #(nop)  CMD ["/result"]');
    expect(history).toContain("|1 GREETING=hi /bin/sh -ec echo ");
    expect(history).toMatch(/#\(nop\) COPY dir:[0-9a-f]{64} in \.\/ /);
  });

  test("a second time everything comes out of the cache, a change leaves what is above it", async () => {
    const again = ["--target", "app", "--build-arg", "GREETING=hi", "--label", "given=by the request"];
    expect(await buildOk(context.path, ...again, "-q")).toBe(`${await inspect<string>(`${name}:app`, ".Id")}\n`);
    await utimes(join(context.path, "app/main.txt"), 1, 1);
    const running = (lines: string[]): number => lines.filter((line) => line.startsWith(" ---> Running")).length;
    expect(running(steps(await buildOk(context.path, ...again)))).toBe(0);
    await writeFile(join(context.path, "app/main.txt"), "changed\n");
    const changed = steps(await buildOk(context.path, ...again));
    expect(running(changed)).toBe(2);
    // The RUN of the other stage, then LABEL, two ARG steps in one, ENV, SHELL and WORKDIR.
    expect(changed.filter((line) => line === " ---> Using cache")).toHaveLength(6);
  });
});

describe("stages", () => {
  test("from scratch, from a stage, by number, and triggers of a base image", async () => {
    await using context = await contextOf({
      file: "content\n",
      "base.Dockerfile": `FROM ${BUSYBOX}\nONBUILD ARG WHO\nONBUILD COPY file /triggered-\${WHO}\nCMD cat /triggered-*\n`,
      Dockerfile: `FROM ${name}:base AS one\nFROM scratch\nCOPY --from=one /triggered-* /from/\nCOPY --from=0 /bin/busybox /bin/\nCOPY --from=${BUSYBOX} /etc/passwd /etc/\nCMD ["/bin/busybox", "cat", "/from/triggered-me"]\n`,
    });
    await buildOk(context.path, "-f", join(context.path, "base.Dockerfile"), "-t", tag("base"));
    const output = await buildOk(context.path, "-t", tag("small"), "--build-arg", "WHO=me");
    expect(steps(output)).toContain("# Executing 2 build triggers");
    expect(await inspect<string[] | null>(`${name}:small`, ".RootFS.Layers")).toHaveLength(3);
    expect(await dockerOk("run", "--rm", "-l", "build-test", `${name}:small`)).toBe("content");
  });

  test("--cache-from finds steps in the history of an image that was pulled", async () => {
    const dockerfile = `FROM ${BUSYBOX}\nENV A=1\nRUN echo once > /once\nLABEL last=1\n`;
    const remote = `${REGISTRY}/cached-${name}:1`;
    expect(await buildText(dockerfile, "-t", remote)).toMatchObject({ code: 0 });
    await dockerOk("push", "-q", remote);
    await dockerOk("rmi", remote);
    await dockerOk("pull", "-q", remote);
    made.push(remote);
    const cached = await buildText(`${dockerfile}ENV B=2\n`, "--cache-from", remote, "-t", tag("restored"));
    expect(steps(cached.stdout).filter((line) => /Using cache|Running/.test(line))).toEqual(
      Array(3).fill(" ---> Using cache"),
    );
    const once = await docker(["run", "--rm", "-l", "build-test", `${name}:restored`, "cat", "/once"]);
    expect(once).toMatchObject({ code: 0, stdout: "once\n" });
  });
});

/** Starts a build whose RUN never ends, and resolves when that runs. */
async function endlessBuild(): Promise<ReturnType<typeof Bun.spawn>> {
  const child = Bun.spawn(["docker", "build", "-"], {
    stdin: new Blob([`FROM ${BUSYBOX}\nLABEL build-test=1\nRUN echo begun; sleep 1000\n`]),
    stdout: "pipe",
    stderr: "ignore",
    env: { ...process.env, DOCKER_BUILDKIT: "0" },
    timeout: 120_000,
  });
  let told = "";
  for await (const bytes of child.stdout) {
    told += Buffer.from(bytes).toString();
    if (/^begun$/m.test(told)) break;
  }
  expect(told).toMatch(/^begun$/m);
  return child;
}

/** Resolves when a container has been removed since then. */
async function removal(since: string): Promise<void> {
  const events = Bun.spawn(
    ["docker", "events", "--since", since, "--filter", "event=destroy", "--format", "{{.Action}}"],
    { stdout: "pipe", timeout: 120_000 },
  );
  for await (const _ of events.stdout) break;
  events.kill();
}

describe("failures", () => {
  test("a command that fails ends the build with its code; the container stays unless --force-rm", async () => {
    const before = await containerIds();
    const dockerfile = `FROM ${BUSYBOX}\nLABEL build-test=1\nRUN exit 42\n`;
    expect(await buildText(dockerfile)).toMatchObject({
      code: 42,
      stderr: expect.stringContaining("The command '/bin/sh -c exit 42' returned a non-zero code: 42"),
    });
    const after = await containerIds();
    expect(after).toHaveLength(before.length + 1);
    expect(await dockerOk("ps", "-a", "--filter", "exited=42", "--format", "{{.Command}}", "--no-trunc")).toBe(
      `"/bin/sh -c 'exit 42'"`,
    );
    expect((await buildText(dockerfile, "--force-rm")).code).toBe(42);
    expect(await containerIds()).toEqual(after);
  });

  test("a client that leaves takes its build with it", async () => {
    const before = await containerIds();
    const child = await endlessBuild();
    const since = String(Date.now() / 1000);
    child.kill("SIGKILL");
    await removal(since);
    expect(await containerIds()).toEqual(before);
  });

  test("an endpoint that is killed in the middle of RUN removes its container at the next start", async () => {
    const before = await containerIds();
    const child = await endlessBuild();
    await kill("serve");
    await child.exited;
    const since = String(Date.now() / 1000);
    await restart();
    await removal(since);
    expect(await containerIds()).toEqual(before);
  });

  const BASE = `FROM ${BUSYBOX}\n`;
  test.each<[dockerfile: string, reason: string, ...buildArguments: string[]]>([
    ["FRM x", "dockerfile parse error on line 1: unknown instruction: FRM"],
    [
      `${BASE}COPY none /`,
      "COPY failed: file not found in build context or excluded by .dockerignore: stat none: file does not exist",
    ],
    [`${BASE}COPY ../x /`, "COPY failed: forbidden path outside the build context: ../x ()"],
    [`${BASE}COPY Dockerfile Dockerfile /x`, "the destination must be a directory and end with a /"],
    [`${BASE}COPY --chown=nobody-here Dockerfile /`, "can't find uid for user nobody-here: no such user: nobody-here"],
    [`${BASE}COPY --from=9 /a /b`, "invalid from flag value 9"],
    [`${BASE}RUN --mount=type=cache,target=/c true`, "the --mount option requires BuildKit"],
    [`${BASE}ADD https://example.com/x.git /x`, "is a git repository, which is not supported"],
    [`${BASE}ENV A="\${B:?must be there}"`, "B: must be there"],
    [`${BASE}STOPSIGNAL NOPE`, "invalid signal: NOPE"],
    ["FROM scratch", "No image was generated. Is your Dockerfile empty?"],
    ["FROM scratch\nRUN true", "Please provide a source image with `from` prior to run"],
    [`${BASE}CMD true`, "failed to reach build target other in Dockerfile", "--target", "other"],
    [`${BASE}CMD true`, "only supported on a Docker daemon with experimental features", "--squash"],
    [`${BASE}RUN true`, "HostConfig.CgroupParent is not supported", "--cgroup-parent", "/x"],
    [`${BASE}RUN true`, "network mode host is not supported", "--network", "host"],
  ])("%p is refused", async (dockerfile, reason, ...buildArguments) => {
    const { code, stderr } = await buildText(dockerfile, ...buildArguments);
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining(reason) });
  });
});

describe("contexts that nobody should send", () => {
  const dockerfile = file("Dockerfile", `FROM ${BUSYBOX}\nCOPY link* /\nCOPY . /all/\n`);
  const link = (path: string, linkName: string, type: "symlink" | "link" = "symlink"): TarMember => ({
    header: { name: path, type, linkName },
  });

  test.each([
    ["a name above the context", [file("../../etc/passwd", "x")], "leads out of it"],
    ["a hard link to a file of the machine", [link("x", "/etc/shadow", "link")], "is no file in it"],
    ["a hard link above the context", [link("x", "../../etc/shadow", "link")], "leads out of it"],
    ["a file through a symlink", [link("d", "/etc"), file("d/passwd", "x")], "which is no directory"],
    ["a symlink to a file of the machine", [link("link", "/etc/shadow")], "file does not exist"],
    ["a symlink out of the context", [link("link", "../../../etc/shadow")], "file does not exist"],
    ["a loop of symlinks", [link("link", "link")], "too many levels of symbolic links"],
    ["a whiteout", [file("link"), file(".wh.bin")], "removes a file"],
    ["a very long path", [file(`${"d/".repeat(3000)}x`)], "4096 each"],
  ])("%s", async (_, members, reason) => {
    expect((await postBuild(await tarOf([dockerfile, ...members]))).text).toContain(reason);
  });

  test("what is no archive, or a damaged one", async () => {
    expect(await postBuild(Buffer.from("x".repeat(5000)))).toMatchObject({
      status: 400,
      text: expect.stringContaining("cannot be read"),
    });
    const packed = gzipSync(await tarOf([dockerfile, file("x", "y".repeat(100_000))]));
    expect(await postBuild(packed.subarray(0, packed.length - 100))).toMatchObject({
      status: 400,
      text: expect.stringContaining("damaged"),
    });
    expect(await postBuild(new Uint8Array(0))).toMatchObject({
      status: 400,
      text: expect.stringContaining("Cannot locate specified Dockerfile"),
    });
  });

  test("more files than a context may have: refused, and the endpoint goes on", async () => {
    const header = new Uint8Array((await tarOf([file("a")])).subarray(0, 512));
    // Half a million members that differ only in their names, made by hand for speed.
    const members = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start(controller) {
        for (let index = 0; index <= 500_000; index += 1000) {
          const block = new Uint8Array(512 * 1000);
          for (let offset = 0; offset < 1000; offset++) {
            const one = block.subarray(offset * 512, (offset + 1) * 512);
            one.set(header);
            one.set(Buffer.from(`f${index + offset}`), 0);
            one.fill(0x20, 148, 156);
            const sum = one.reduce((total, byte) => total + byte, 0);
            one.set(Buffer.from(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
          }
          controller.enqueue(block);
        }
        controller.close();
      },
    });
    const packed = await new Response(members.pipeThrough(new CompressionStream("gzip"))).bytes();
    expect(await postBuild(packed)).toMatchObject({
      status: 400,
      text: expect.stringContaining("more than 500000 files"),
    });
    expect((await docker(["version"])).code).toBe(0);
  });

  test("remote contexts: a Dockerfile and an archive from the web, no repositories", async () => {
    const archive = await tarOf([file("Dockerfile", `FROM ${BUSYBOX}\nCOPY remote /remote\n`), file("remote", "here")]);
    await using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) =>
        request.url.endsWith("/Dockerfile")
          ? new Response(`FROM ${BUSYBOX}\nLABEL remote=1\n`, { headers: { "content-type": "text/plain" } })
          : new Response(archive as Uint8Array<ArrayBuffer>, { headers: { "content-type": "application/x-tar" } }),
    });
    const remote = (path: string): string => `remote=${encodeURIComponent(path)}`;
    const nothing = new Uint8Array(0);
    for (const path of ["/Dockerfile", "/context.tar"]) {
      const answer = await postBuild(nothing, remote(`http://127.0.0.1:${server.port}${path}`));
      expect(answer, path).toMatchObject({ status: 200, text: expect.stringContaining("Successfully built") });
    }
    expect(await postBuild(nothing, remote("https://github.com/a/b.git"))).toMatchObject({ status: 501 });
    expect(await postBuild(nothing, remote("ftp://example.com/x"))).toMatchObject({ status: 400 });
    expect(await postBuild(nothing, "version=2")).toMatchObject({
      status: 501,
      text: expect.stringContaining("docker buildx create --driver docker-container"),
    });
  });
});

describe("images of steps", () => {
  test("--all shows them, a parent stays while something was made of it, prune forgets them", async () => {
    const dockerfile = `FROM ${BUSYBOX}\nLABEL own=${name}\nENV X=1\nCMD true\n`;
    expect(await buildText(dockerfile, "-t", tag("chain"))).toMatchObject({ code: 0 });
    const ids = (await dockerOk("history", "-q", "--no-trunc", `${name}:chain`)).split("\n");
    const parent = ids[1] ?? "";
    expect(await dockerOk("images", "-aq", "--no-trunc")).toContain(parent);
    expect(await dockerOk("images", "-q", "--no-trunc")).not.toContain(parent);
    expect(await docker(["rmi", parent])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("image has dependent child images"),
    });
    expect(await dockerOk("builder", "prune", "-f", "--filter", `id=${parent}`)).toContain(parent);
    expect(await dockerOk("images", "-aq", "--no-trunc")).not.toContain(parent);
    expect(await dockerOk("rmi", `${name}:chain`)).toContain(`Deleted: ${ids[0]}`);
  });
});
