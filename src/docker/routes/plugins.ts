/** Managed plugins: there are none and none can be installed. */
import { Hono } from "hono";
import { notFound, notImplemented } from "../../engine/errors.ts";
import type { ApiEnvironment } from "../environment.ts";

export function pluginRoutes(): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  app.get("/plugins", (c) => c.json([]));
  app.on(["GET", "POST"], ["/plugins/privileges", "/plugins/pull", "/plugins/create"], () => {
    throw notImplemented(
      "plugins are not supported: volumes and networks are provided by vSphere; see the volume stores and networks of this endpoint",
    );
  });
  app.all("/plugins/:name{.+?}/:action", (c) => {
    throw notFound(`plugin "${c.req.param("name")}" not found`);
  });
  app.delete("/plugins/:name{.+}", (c) => {
    throw notFound(`plugin "${c.req.param("name")}" not found`);
  });
  return app;
}
