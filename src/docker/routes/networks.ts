import { Hono } from "hono";
import type { NetworkCreateBody, Schemas } from "../../engine/contract.ts";
import { invalid } from "../../engine/errors.ts";
import type { ApiEnvironment, RouterOptions } from "../environment.ts";
import { jsonBody } from "../requests/json-body.ts";
import { booleanQuery, filtersQuery, textQuery } from "../requests/query.ts";
import { networkForVersion } from "../responses/older-versions.ts";

export function networkRoutes({ engine }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  const { networks } = engine;

  app.get("/networks", async (c) => {
    const list = await networks.list(filtersQuery(c));
    return c.json(list.map((network) => networkForVersion(network, c.get("apiVersion"))));
  });

  app.post("/networks/create", async (c) => {
    const body = await jsonBody<NetworkCreateBody>(c, "NetworkCreate");
    if (!body.Name) throw invalid("invalid network name: name is empty");
    return c.json(await networks.create(body), 201);
  });

  app.post("/networks/prune", async (c) => c.json(await networks.prune(filtersQuery(c, ["until", "label", "label!"]))));

  app.get("/networks/:reference", async (c) => {
    const scope = textQuery(c, "scope");
    const network = await networks.inspect(c.req.param("reference"), {
      verbose: booleanQuery(c, "verbose"),
      ...(scope === undefined ? {} : { scope }),
    });
    return c.json(networkForVersion(network, c.get("apiVersion")));
  });

  app.post("/networks/:reference/connect", async (c) => {
    const body = await jsonBody<Schemas["NetworkConnectRequest"]>(c, "NetworkConnect");
    if (!body.Container) throw invalid('invalid JSON: field "Container" must name a container');
    await networks.connect(c.req.param("reference"), body.Container, body.EndpointConfig ?? undefined);
    return c.body(null, 200);
  });

  app.post("/networks/:reference/disconnect", async (c) => {
    const body = await jsonBody<Schemas["NetworkDisconnectRequest"]>(c, "NetworkDisconnect");
    if (!body.Container) throw invalid('invalid JSON: field "Container" must name a container');
    await networks.disconnect(c.req.param("reference"), body.Container, body.Force ?? false);
    return c.body(null, 200);
  });

  app.delete("/networks/:reference", async (c) => {
    await networks.remove(c.req.param("reference"));
    return c.body(null, 204);
  });

  return app;
}
