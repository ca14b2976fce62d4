/**
 * The API server of the benchmarks, a process of its own: the real engine over a vSphere in memory (nothing boots, nothing is on a
 * wire), and one container, `source`, whose streams come out of memory, so that they measure the API layer alone.
 * usage: bun server.ts SOCKET CONTAINERS
 */
import { serveDockerApi } from "../../../src/docker/index.ts";
import type { ContainerCreateBody, Containers, Engine, StdioStream } from "../../../src/engine/contract.ts";
import { openEngine } from "../../../src/engine/testing/engine-fixture.ts";

const [socket = "", containers = "0"] = Bun.argv.slice(2);
/** As containers and archives deliver it. */
const PIECE = new Uint8Array(64 * 1024);
const SOURCE = "source";

async function* pieces(megabytes: number): AsyncGenerator<Uint8Array> {
  for (let sent = 0; sent < megabytes * 1024 * 1024; sent += PIECE.length) yield PIECE;
}

const source: Pick<Containers, "attach" | "readArchive" | "writeArchive"> = {
  async attach(): Promise<StdioStream> {
    async function* output() {
      for await (const bytes of pieces(MEGABYTES)) yield { stream: 1 as const, bytes };
    }
    const nothing = (): Promise<void> => Promise.resolve();
    return { terminal: false, output: output(), write: nothing, endInput: nothing, detach: () => undefined };
  },
  async readArchive() {
    const tar = pieces(MEGABYTES);
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const next = await tar.next();
          if (next.done) controller.close();
          else controller.enqueue(next.value);
        },
      },
      { highWaterMark: 0 },
    );
    return { stat: { name: "big", size: 0, mode: 0o644, mtime: new Date(0).toISOString(), linkTarget: "" }, tar: body };
  },
  async writeArchive(_reference, _path, tar) {
    for await (const _piece of tar);
  },
};
/** What one stream of `source` carries. */
const MEGABYTES = 1024;

/** `source` answers for itself; everything else is the engine's. */
function withSource(engine: Engine): Engine {
  const instead = new Map<string | symbol, (...given: never[]) => unknown>(Object.entries(source));
  const chosen = new Proxy(engine.containers, {
    get(target, name: keyof Containers) {
      const own = target[name] as (...given: unknown[]) => unknown;
      const other = instead.get(name) as typeof own | undefined;
      return (...given: unknown[]) => (other && given[0] === SOURCE ? other(...given) : own.apply(target, given));
    },
  });
  return { ...engine, containers: chosen };
}

/** Garbage is no memory that streams need. */
process.on("SIGUSR2", () => Bun.gc(true));

const { engine } = await openEngine();
for (let index = 0; index < Number(containers); index++)
  await engine.containers.create(`c${index}`, {
    Image: "busybox",
    Cmd: ["true"],
    Labels: { number: String(index) },
  } as unknown as ContainerCreateBody);
await serveDockerApi({
  engine: withSource(engine),
  listeners: [{ kind: "unix", path: socket, mode: 0o600 }],
  apiInfo: { product: "vch", version: "0" },
  log: () => undefined,
});
console.log("ready");
