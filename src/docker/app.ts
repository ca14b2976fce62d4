/** The whole Docker Engine API as one Hono application. */
import { Hono } from "hono";
import { EngineError, notFound } from "../engine/errors.ts";
import { MAXIMUM_API_VERSION, parseApiVersion, versionText } from "./api-version.ts";
import type { ApiEnvironment, RouterOptions } from "./environment.ts";
import { errorResponse, messageOf, statusOf } from "./errors.ts";
import type { RequestHandler } from "./http/connection.ts";
import { buildRoutes } from "./routes/build.ts";
import { containerFileRoutes } from "./routes/container-files.ts";
import { containerStreamRoutes } from "./routes/container-streams.ts";
import { containerRoutes } from "./routes/containers.ts";
import { execRoutes } from "./routes/execs.ts";
import { imageRoutes } from "./routes/images.ts";
import { networkRoutes } from "./routes/networks.ts";
import { pluginRoutes } from "./routes/plugins.ts";
import { refusedRoutes } from "./routes/refused.ts";
import { swarmRoutes } from "./routes/swarm.ts";
import { systemRoutes } from "./routes/system.ts";
import { vchRoutes } from "./routes/vch.ts";
import { volumeRoutes } from "./routes/volumes.ts";

const VERSION_PREFIX = /^\/v(\d{1,3}\.\d{1,3})(?=\/|$)/;

export function dockerApi(options: RouterOptions): RequestHandler {
  const app = new Hono<ApiEnvironment>({ getPath: (request) => withoutVersion(pathOf(request)) });
  const { log, apiInfo } = options;

  app.use(async (c, next) => {
    const started = performance.now();
    const prefix = VERSION_PREFIX.exec(pathOf(c.req.raw));
    c.set("apiVersion", MAXIMUM_API_VERSION);
    try {
      if (prefix?.[1] !== undefined) c.set("apiVersion", parseApiVersion(prefix[1]));
      await next();
    } catch (error) {
      c.res = errorResponse(error);
    }
    c.res.headers.set("api-version", versionText(MAXIMUM_API_VERSION));
    c.res.headers.set("ostype", "linux");
    c.res.headers.set("server", `Docker/${apiInfo.version} (linux)`);
    if (c.req.method !== "GET" && c.req.method !== "HEAD") {
      log("info", "request", {
        method: c.req.method,
        path: c.req.path,
        status: c.res.status,
        client: c.env.exchange.peer.commonName ?? c.env.exchange.peer.address,
        milliseconds: Math.round(performance.now() - started),
      });
    }
  });

  const routers = [
    systemRoutes(options),
    containerRoutes(options),
    containerStreamRoutes(options),
    containerFileRoutes(options),
    execRoutes(options),
    imageRoutes(options),
    buildRoutes(options),
    volumeRoutes(options),
    networkRoutes(options),
    swarmRoutes(),
    pluginRoutes(),
    vchRoutes(options),
    refusedRoutes(),
  ];
  for (const router of routers) app.route("/", router);

  app.notFound(() => errorResponse(notFound("page not found")));
  app.onError((error, c) => {
    if (statusOf(error) === 500) {
      log("error", "request failed", {
        method: c.req.method,
        path: c.req.path,
        error: messageOf(error),
        // What the engine refuses, it explains; where the code was matters for what nobody foresaw.
        ...(error instanceof EngineError ? {} : { stack: error.stack }),
      });
    }
    return errorResponse(error);
  });
  return (request, environment) => app.fetch(request, environment);
}

function pathOf(request: Request): string {
  const { url } = request;
  const start = url.indexOf("/", url.indexOf("://") + 3);
  const query = url.indexOf("?", start);
  return query === -1 ? url.slice(start) : url.slice(start, query);
}

function withoutVersion(path: string): string {
  const prefix = VERSION_PREFIX.exec(path);
  return prefix === null ? path : path.slice(prefix[0].length) || "/";
}
