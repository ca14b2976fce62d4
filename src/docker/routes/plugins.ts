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
  const absent = (name: string): Error => notFound(`plugin "${name}" not found`);
  app.get("/plugins/:name{.+}/json", (c) => {
    throw absent(c.req.param("name"));
  });
  for (const action of ["enable", "disable", "upgrade", "push", "set"]) {
    app.post(`/plugins/:name{.+}/${action}`, (c) => {
      throw absent(c.req.param("name"));
    });
  }
  app.delete("/plugins/:name{.+}", (c) => {
    throw absent(c.req.param("name"));
  });
  return app;
}
