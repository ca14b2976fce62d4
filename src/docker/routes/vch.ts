/** What `vch` itself asks of its endpoint, beside the Docker API and under its own path. */
import { Hono } from "hono";
import type { ApiEnvironment, RouterOptions } from "../environment.ts";

export function vchRoutes({ engine }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  app.get("/vch/runs", (c) => c.json(engine.system.recentRuns()));
  return app;
}
