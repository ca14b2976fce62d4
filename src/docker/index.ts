/** Entry of the Docker API: an engine in, listening sockets out. */
import type { Engine } from "../engine/contract.ts";
import { dockerApi } from "./app.ts";
import type { ApiInfo, ApiLog } from "./environment.ts";
import { messageOf } from "./errors.ts";
import { pingAnswers } from "./ping.ts";
import { type ListenerAddress, type ListenerOptions, startHttpServer } from "./http/server.ts";

export type { ApiInfo, ApiLog } from "./environment.ts";
export type { ListenerAddress, ListenerOptions } from "./http/server.ts";

export interface DockerApiOptions {
  engine: Engine;
  /** At least one. There is no listener without authentication but the unix socket, which the file system guards. */
  listeners: readonly ListenerOptions[];
  apiInfo: ApiInfo;
  log: ApiLog;
}

export interface DockerApiServer {
  /** In the order of the listeners, as Docker writes them: `unix:///path`, `tcp://host:port`. */
  addresses: ListenerAddress[];
  /** Closes the listeners and all connections. Containers are not touched. */
  close(): Promise<void>;
}

/** Serves the Docker Engine API. Rejects when a listener's address cannot be had. */
export async function serveDockerApi(options: DockerApiOptions): Promise<DockerApiServer> {
  const { engine, apiInfo, log } = options;
  const server = await startHttpServer({
    listeners: options.listeners,
    handler: dockerApi({ engine, apiInfo, log }),
    ready: pingAnswers(apiInfo),
    onError: (error) => log("error", "connection failed", { error: messageOf(error) }),
  });
  return { addresses: server.addresses, close: () => server.close() };
}
