/** The real API server in front of the fake engine, on a unix socket and on TLS, for one test file. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAuthority } from "../../src/ca/index.ts";
import { serveDockerApi } from "../../src/docker/index.ts";
import { type FakeEngine, fakeEngine } from "./fake-engine.ts";

export interface ServerFixture {
  engine: FakeEngine;
  directory: string;
  socket: string;
  port: number;
  logged: { level: string; message: string; fields: Record<string, unknown> }[];
  close(): Promise<void>;
}

export async function startServer(): Promise<ServerFixture> {
  const directory = await mkdtemp(join(tmpdir(), "vch-docker-api-"));
  const authority = await createAuthority(directory);
  const server = await authority.issueServer();
  await authority.issueClient({ commonName: "ada" });
  const engine = fakeEngine();
  const logged: ServerFixture["logged"] = [];
  const socket = join(directory, "docker.sock");
  const api = await serveDockerApi({
    engine,
    listeners: [
      { kind: "unix", path: socket, mode: 0o660 },
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
  return {
    engine,
    directory,
    socket,
    port,
    logged,
    async close() {
      await api.close();
      await rm(directory, { recursive: true });
    },
  };
}
