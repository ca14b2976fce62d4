/** The real API server in front of the fake engine, on a unix socket and on TLS, for one test file. */
import { mkdtemp, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAuthority } from "../../src/ca/index.ts";
import { serveDockerApi } from "../../src/docker/index.ts";
import { type FakeEngine, fakeEngine } from "./fake-engine.ts";
import { startValidatingProxy } from "./validating-proxy.ts";

export interface ServerFixture {
  engine: FakeEngine;
  directory: string;
  socket: string;
  port: number;
  logged: { level: string; message: string; fields: Record<string, unknown> }[];
  close(): Promise<void>;
}

/** Every response over `socket` is checked against the API document, and `close` throws when one was wrong. */
export async function startServer(options: { validated: boolean } = { validated: true }): Promise<ServerFixture> {
  const directory = await mkdtemp(join(tmpdir(), "vch-docker-api-"));
  const authority = await createAuthority(directory);
  const server = await authority.issueServer();
  await authority.issueClient({ commonName: "ada" });
  const engine = fakeEngine();
  const logged: ServerFixture["logged"] = [];
  const direct = join(directory, "direct.sock");
  const socket = options.validated ? join(directory, "docker.sock") : direct;
  const api = await serveDockerApi({
    engine,
    listeners: [
      { kind: "unix", path: direct, mode: 0o660 },
      {
        kind: "tls",
        host: "127.0.0.1",
        port: 0,
        certificatePem: server.certificatePem,
        keyPem: server.keyPem,
        clientAuthorityPem: authority.certificatePem,
      },
    ],
    apiInfo: { product: "vch", version: "0.0.1" },
    log: (level, message, fields) => logged.push({ level, message, fields }),
  });
  const port = Number(api.addresses[1]?.split(":").at(-1));
  const connect = () => net.connect({ path: direct, allowHalfOpen: true });
  const proxy = options.validated ? await startValidatingProxy({ socket, connect }) : undefined;
  return {
    engine,
    directory,
    socket,
    port,
    logged,
    async close() {
      await proxy?.close();
      await api.close();
      await rm(directory, { recursive: true });
      if (proxy !== undefined && proxy.checked() === 0) throw new Error("no response was checked");
      if (proxy !== undefined && proxy.problems.length > 0)
        throw new Error(`responses differ from the API document:\n${proxy.problems.join("\n")}`);
    },
  };
}
