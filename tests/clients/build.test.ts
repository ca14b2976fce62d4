/** Building images with clients that we did not write: compose of both generations, SDKs, and BuildKit through buildx. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUSYBOX, docker, dockerOk, inspect, type Result, run, uniqueName } from "../e2e/docker.ts";

const CLIENTS = join(
  process.env.VCH_TEST_CACHE ?? join(process.env.XDG_CACHE_HOME ?? `${process.env.HOME}/.cache`, "vch-tests"),
  "clients",
);
/** Some of the clients are compiled. */
const INSTALL_MILLISECONDS = 3_600_000;
const SESSION_MILLISECONDS = 600_000;
const here = import.meta.dir;
const name = uniqueName("client-built");
const images: string[] = [];

const session = (command: string[], environment: Record<string, string> = {}): Promise<Result> =>
  run(command, { environment, timeoutMilliseconds: SESSION_MILLISECONDS });
const image = (what: string): string => {
  images.push(`${name}:${what}`);
  return `${name}:${what}`;
};

beforeAll(async () => {
  expect(await run([join(here, "install"), CLIENTS], { timeoutMilliseconds: INSTALL_MILLISECONDS })).toMatchObject({
    code: 0,
  });
  await dockerOk("pull", "-q", BUSYBOX);
}, INSTALL_MILLISECONDS);
afterAll(async () => {
  await docker(["rmi", "-f", ...images]);
});

async function composeBuild(built: string, command: string[], environment: Record<string, string>): Promise<void> {
  const variables = { IMAGE: BUSYBOX, NAME: built, ...environment };
  const compose = (...words: string[]): Promise<Result> =>
    session([...command, "-p", name, "-f", join(here, "build-project/compose.yaml"), ...words], variables);
  try {
    expect(await compose("build")).toMatchObject({ code: 0 });
    expect(await inspect<Record<string, string>>(built, ".Config.Labels")).toMatchObject({ role: "app" });
    const once = await compose("run", "--rm", "-T", "app");
    expect(once.stdout).toContain("built by compose");
  } finally {
    expect(await compose("down", "-v")).toMatchObject({ code: 0 });
  }
}

test(
  "docker-compose 1 builds",
  () => composeBuild(image("compose1"), ["/usr/bin/docker-compose"], {}),
  SESSION_MILLISECONDS,
);

test(
  "docker compose 2 builds with the classic builder",
  () => composeBuild(image("compose2"), [join(CLIENTS, "cli-plugins/docker-compose")], { DOCKER_BUILDKIT: "0" }),
  SESSION_MILLISECONDS,
);

test(
  "Docker SDK for Python builds, and tells what failed",
  async () => {
    const script = `
import docker, io, sys
client = docker.from_env()
base, tag = sys.argv[1:]
image, log = client.images.build(fileobj=io.BytesIO(b"FROM %s\\nLABEL a=b\\nENV C=d\\n" % base.encode()), tag=tag, rm=True, labels={"given": "x"})
assert tag in image.tags and image.labels["a"] == "b" and image.labels["given"] == "x", image.attrs
assert any("Successfully built" in line.get("stream", "") for line in log)
try:
    client.images.build(fileobj=io.BytesIO(b"FROM %s\\nRUN exit 7\\n" % base.encode()), forcerm=True)
except docker.errors.BuildError as error:
    assert "returned a non-zero code: 7" in error.msg, error.msg
else:
    sys.exit("a failed build was not told")
print("session complete")
`;
    const result = await session([join(CLIENTS, "python/bin/python"), "-c", script, BUSYBOX, image("python")]);
    expect(result).toMatchObject({ code: 0, stdout: "session complete\n" });
  },
  SESSION_MILLISECONDS,
);

test(
  "dockerode builds",
  async () => {
    const context = await mkdtemp(join(tmpdir(), "vch-dockerode-"));
    try {
      await writeFile(join(context, "Dockerfile"), `FROM ${BUSYBOX}\nCOPY file /copied\nCMD ["cat", "/copied"]\n`);
      await writeFile(join(context, "file"), "copied by dockerode\n");
      const script = `
const Docker = (await import("dockerode")).default;
const docker = new Docker();
const [context, tag] = process.argv.slice(2);
const stream = await docker.buildImage({ context, src: ["Dockerfile", "file"] }, { t: tag });
const lines = await new Promise((resolve, reject) => docker.modem.followProgress(stream, (error, all) => error ? reject(error) : resolve(all)));
if (!lines.some((line) => line.aux?.ID?.startsWith("sha256:"))) throw new Error("no id: " + JSON.stringify(lines));
console.log("session complete");
`;
      const path = join(CLIENTS, "node/build.mjs");
      await writeFile(path, script);
      expect(await session(["node", path, context, image("dockerode")])).toMatchObject({
        code: 0,
        stdout: "session complete\n",
      });
    } finally {
      await rm(context, { recursive: true });
    }
  },
  SESSION_MILLISECONDS,
);

/** An image like moby/buildkit, made by the endpoint's own builder out of BuildKit's programs and Debian's runc. */
async function makeBuildKitImage(tag: string, context: string): Promise<void> {
  for (const program of ["buildkitd", "buildctl"]) await cp(join(CLIENTS, "buildkit", program), join(context, program));
  const runc = (await run(["sh", "-c", "command -v runc"])).stdout.trim();
  await cp(runc, join(context, "buildkit-runc"));
  const { stdout } = await run(["ldd", runc]);
  for (const [library] of stdout.matchAll(/\/lib\S+/g)) {
    await mkdir(join(context, "libraries", library, ".."), { recursive: true });
    await cp(library, join(context, "libraries", library), { dereference: true });
  }
  await writeFile(
    join(context, "Dockerfile"),
    `FROM ${BUSYBOX}\nCOPY libraries/ /\nCOPY buildkitd buildctl buildkit-runc /usr/bin/\nVOLUME /var/lib/buildkit\nENTRYPOINT ["buildkitd"]\n`,
  );
  const built = await docker(["build", "-q", "-t", tag, context], {
    environment: { DOCKER_BUILDKIT: "0" },
    timeoutMilliseconds: SESSION_MILLISECONDS,
  });
  expect(built).toMatchObject({ code: 0 });
}

test(
  "BuildKit in a container of the endpoint, driven by buildx",
  async () => {
    const work = await mkdtemp(join(tmpdir(), "vch-buildkit-"));
    const builder = `${name}-builder`.replaceAll("-", "");
    const context = join(work, "context");
    const configuration = { DOCKER_CONFIG: join(work, "config"), BUILDX_BUILDER: builder };
    const client = (...words: string[]): Promise<Result> => session(["docker", ...words], configuration);
    try {
      await mkdir(join(work, "config"));
      await symlink(join(CLIENTS, "cli-plugins"), join(work, "config/cli-plugins"));
      await mkdir(join(work, "image"));
      await makeBuildKitImage(image("buildkit"), join(work, "image"));
      await mkdir(context);
      await cp("/bin/busybox", join(context, "busybox"));
      await writeFile(
        join(context, "Dockerfile"),
        `FROM scratch
COPY busybox /bin/busybox
RUN --mount=type=cache,target=/cache ["/bin/busybox", "sh", "-c", "/bin/busybox mkdir /made; echo by BuildKit > /made/file"]
CMD ["/bin/busybox", "cat", "/made/file"]
`,
      );
      await writeFile(
        join(context, "compose.yaml"),
        `services: { app: { image: "${image("composed")}", build: ., network_mode: bridge } }\n`,
      );
      const driver = ["--driver", "docker-container"];
      const driverOptions = ["--driver-opt", `image=${name}:buildkit,memory=1g,default-load=true`];
      expect(await client("buildx", "create", "--name", builder, ...driver, ...driverOptions)).toMatchObject({
        code: 0,
      });
      // As an ordinary user types it.
      expect(await client("build", "-t", image("loaded"), context)).toMatchObject({ code: 0 });
      expect(await dockerOk("run", "--rm", `${name}:loaded`)).toBe("by BuildKit");
      const composed = await client("compose", "-p", name, "-f", join(context, "compose.yaml"), "build");
      expect(composed).toMatchObject({ code: 0 });
      expect(await inspect<string[]>(`${name}:composed`, ".Config.Cmd")).toEqual(["/bin/busybox", "cat", "/made/file"]);
    } finally {
      expect(await client("buildx", "rm", builder)).toMatchObject({ code: 0 });
      await rm(work, { recursive: true });
    }
    expect((await docker(["ps", "-aq", "--filter", `name=buildx_buildkit_${builder}`])).stdout).toBe("");
  },
  SESSION_MILLISECONDS,
);
