import { Hono } from "hono";
import type { Schemas } from "../../engine/contract.ts";
import type { ApiEnvironment, RouterOptions } from "../environment.ts";
import { jsonBody } from "../requests/json-body.ts";
import { booleanQuery, filtersQuery } from "../requests/query.ts";
import { notASwarmManager } from "./swarm.ts";

/** What Docker fills in when a client names no driver. */
const DEFAULT_DRIVER = "local";

export function volumeRoutes({ engine }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  const { volumes } = engine;

  app.get("/volumes", async (c) => c.json({ Volumes: await volumes.list(filtersQuery(c)), Warnings: [] }));

  app.post("/volumes/create", async (c) => {
    const request = await jsonBody<Partial<Schemas["VolumeCreateRequest"]>>(c, "VolumeCreate", {});
    if (request.ClusterVolumeSpec !== undefined) throw notASwarmManager();
    return c.json(await volumes.create({ ...request, Driver: request.Driver || DEFAULT_DRIVER }), 201);
  });

  app.post("/volumes/prune", async (c) => {
    const filters = new Map(filtersQuery(c, ["label", "label!", "all"]));
    // Before 1.42 a prune took named volumes too; since then only anonymous ones, unless `all` is set.
    if (c.get("apiVersion") < 42) filters.set("all", ["true"]);
    return c.json(await volumes.prune(filters));
  });

  app.get("/volumes/:name", async (c) => c.json(await volumes.inspect(c.req.param("name"))));

  app.put("/volumes/:name", () => {
    throw notASwarmManager();
  });

  app.delete("/volumes/:name", async (c) => {
    await volumes.remove(c.req.param("name"), { force: booleanQuery(c, "force") });
    return c.body(null, 204);
  });

  return app;
}
