/** The swarm family, answered as by a Docker engine that is in no swarm. */
import { Hono } from "hono";
import { EngineError, notImplemented } from "../../engine/errors.ts";
import type { ApiEnvironment } from "../environment.ts";

export function notASwarmManager(): EngineError {
  return new EngineError(
    "unavailable",
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
  );
}

const NO_SWARM =
  "swarm mode is not supported: every container is a VM, and vSphere schedules VMs; run containers or compose projects instead";

export function swarmRoutes(): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  app.on("POST", ["/swarm/init", "/swarm/join"], () => {
    throw notImplemented(NO_SWARM);
  });
  app.on("POST", ["/swarm/leave", "/swarm/unlock"], () => {
    throw new EngineError("unavailable", "This node is not part of a swarm");
  });
  for (const family of ["swarm", "services", "nodes", "tasks", "secrets", "configs"]) {
    app.all(`/${family}`, () => {
      throw notASwarmManager();
    });
    app.all(`/${family}/*`, () => {
      throw notASwarmManager();
    });
  }
  return app;
}
