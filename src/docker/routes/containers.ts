/** Containers: life cycle and queries. Streams, files and stdio are in routers of their own. */
import { Hono } from "hono";
import type { ContainerConfig, ContainerCreateBody, ContainerUpdateBody } from "../../engine/contract.ts";
import { invalid } from "../../engine/errors.ts";
import type { ApiContext, ApiEnvironment, RouterOptions } from "../environment.ts";
import { jsonBody } from "../requests/json-body.ts";
import { booleanQuery, dimensionQuery, filtersQuery, integerQuery, textQuery } from "../requests/query.ts";
import { containerInspectForVersion, containerSummaryForVersion } from "../responses/older-versions.ts";

/** Longest body of a start request that old clients send as an empty JSON value. */
const EMPTY_START_BODY_BYTES = 7;

export function containerRoutes({ engine }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  const { containers } = engine;

  app.get("/containers/json", async (c) => {
    const limit = integerQuery(c, "limit");
    const list = await containers.list({
      all: booleanQuery(c, "all"),
      size: booleanQuery(c, "size"),
      filters: filtersQuery(c),
      ...(limit !== undefined && limit > 0 ? { limit } : {}),
    });
    return c.json(list.map((summary) => containerSummaryForVersion(summary, c.get("apiVersion"))));
  });

  app.post("/containers/create", async (c) => {
    const body = await jsonBody<ContainerCreateBody>(c, "ContainerCreate");
    const created = await containers.create(textQuery(c, "name"), withoutQuery(c, body), textQuery(c, "platform"));
    return c.json(created, 201);
  });

  app.post("/containers/prune", async (c) =>
    c.json(await containers.prune(filtersQuery(c, ["until", "label", "label!"]))),
  );

  app.get("/containers/:reference/json", async (c) => {
    const container = await containers.inspect(c.req.param("reference"), { size: booleanQuery(c, "size") });
    return c.json(containerInspectForVersion(container, c.get("apiVersion")));
  });

  app.get("/containers/:reference/top", async (c) =>
    c.json(await containers.top(c.req.param("reference"), textQuery(c, "ps_args") ?? "-ef")),
  );

  app.post("/containers/:reference/start", async (c) => {
    if (c.req.raw.body !== null && !(Number(c.req.header("content-length")) <= EMPTY_START_BODY_BYTES)) {
      throw invalid(
        "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
      );
    }
    if (textQuery(c, "checkpoint") !== undefined) {
      throw invalid("checkpoints are not supported: start the container without --checkpoint");
    }
    await containers.start(c.req.param("reference"));
    return c.body(null, 204);
  });

  app.post("/containers/:reference/stop", async (c) => {
    await containers.stop(c.req.param("reference"), stopOptions(c));
    return c.body(null, 204);
  });

  app.post("/containers/:reference/restart", async (c) => {
    await containers.restart(c.req.param("reference"), stopOptions(c));
    return c.body(null, 204);
  });

  app.post("/containers/:reference/kill", async (c) => {
    await containers.kill(c.req.param("reference"), textQuery(c, "signal"));
    return c.body(null, 204);
  });

  app.post("/containers/:reference/rename", async (c) => {
    const name = textQuery(c, "name");
    if (name === undefined) throw invalid("Neither old nor new names may be empty");
    await containers.rename(c.req.param("reference"), name);
    return c.body(null, 204);
  });

  app.post("/containers/:reference/resize", async (c) => {
    const rows = dimensionQuery(c, "h", "height");
    await containers.resize(c.req.param("reference"), rows, dimensionQuery(c, "w", "width"));
    return c.body(null, 200);
  });

  app.post("/containers/:reference/pause", async (c) => {
    await containers.pause(c.req.param("reference"));
    return c.body(null, 204);
  });

  app.post("/containers/:reference/unpause", async (c) => {
    await containers.unpause(c.req.param("reference"));
    return c.body(null, 204);
  });

  app.post("/containers/:reference/update", async (c) => {
    const body = await jsonBody<ContainerUpdateBody>(c, "ContainerUpdate");
    return c.json(await containers.update(c.req.param("reference"), body));
  });

  app.get("/containers/:reference/changes", async (c) => c.json(await containers.changes(c.req.param("reference"))));

  app.post("/commit", async (c) => {
    const config = await jsonBody<Partial<ContainerConfig>>(c, "Commit", {});
    const reference = textQuery(c, "container");
    if (reference === undefined) throw invalid('missing query parameter "container"');
    const created = await containers.commit(reference, {
      repository: textQuery(c, "repo"),
      tag: textQuery(c, "tag"),
      author: textQuery(c, "author"),
      comment: textQuery(c, "comment"),
      pause: booleanQuery(c, "pause", true),
      changes: c.req.queries("changes") ?? [],
      config,
    });
    return c.json(created, 201);
  });

  app.delete("/containers/:reference", async (c) => {
    await containers.remove(c.req.param("reference"), {
      force: booleanQuery(c, "force"),
      volumes: booleanQuery(c, "v"),
      link: booleanQuery(c, "link"),
    });
    return c.body(null, 204);
  });

  return app;
}

/** The signal is a parameter since 1.42; older clients cannot mean one. */
function stopOptions(c: ApiContext): { timeoutSeconds?: number; signal?: string } {
  const timeoutSeconds = integerQuery(c, "t");
  const signal = c.get("apiVersion") >= 42 ? textQuery(c, "signal") : undefined;
  return {
    ...(timeoutSeconds === undefined ? {} : { timeoutSeconds }),
    ...(signal === undefined ? {} : { signal }),
  };
}

/** Parameters of the query that some clients (dockerode) repeat in the body, where Docker overlooks them. */
const REPEATED_PARAMETERS = ["name", "platform"];

function withoutQuery(c: ApiContext, body: ContainerCreateBody): ContainerCreateBody {
  const repeated = Object.entries(body).filter(
    ([name, value]) => REPEATED_PARAMETERS.includes(name) && value === c.req.query(name),
  );
  if (repeated.length === 0) return body;
  const names = repeated.map(([name]) => name);
  return Object.fromEntries(Object.entries(body).filter(([name]) => !names.includes(name))) as ContainerCreateBody;
}
