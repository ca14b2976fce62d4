/** `docker build` with the classic builder, and `docker builder prune`. */
import { Hono } from "hono";
import { invalid, notImplemented } from "../../engine/errors.ts";
import type { ApiEnvironment, RouterOptions } from "../environment.ts";
import { buildHostConfig } from "../requests/build-host-config.ts";
import { stringMapQuery, textListQuery } from "../requests/json-query.ts";
import { booleanQuery, filtersQuery, integerQuery, textQuery } from "../requests/query.ts";
import { registryConfig } from "../requests/registry-config.ts";
import { requestStream } from "../requests/stream-body.ts";
import { buildResponse } from "../responses/build-output.ts";

const MAX_TAGS = 100;

export function buildRoutes({ engine }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();

  app.post("/build", async (c) => {
    if (
      textQuery(c, "version") === "2" ||
      textQuery(c, "outputs") !== undefined ||
      textQuery(c, "session") !== undefined
    )
      throw notImplemented(
        "BuildKit is not part of this endpoint: run it in a container with `docker buildx create --driver docker-container --use`, or set DOCKER_BUILDKIT=0 for the classic builder",
      );
    if (booleanQuery(c, "squash")) throw invalid("squash is only supported with experimental mode");
    const tags = c.req.queries("t")?.filter((tag) => tag !== "") ?? [];
    if (tags.length > MAX_TAGS) throw invalid(`more than ${MAX_TAGS} tags`);
    const options = {
      context: requestStream(c),
      remote: textQuery(c, "remote"),
      dockerfile: textQuery(c, "dockerfile") ?? "Dockerfile",
      tags,
      quiet: booleanQuery(c, "q"),
      noCache: booleanQuery(c, "nocache"),
      pull: booleanQuery(c, "pull"),
      removeIntermediate: booleanQuery(c, "rm", true),
      forceRemove: booleanQuery(c, "forcerm"),
      buildArguments: stringMapQuery(c, "buildargs", { nulls: true }),
      labels: Object.fromEntries(stringMapQuery(c, "labels", { nulls: false })) as Record<string, string>,
      cacheFrom: textListQuery(c, "cachefrom"),
      target: textQuery(c, "target"),
      platform: c.get("apiVersion") >= 32 ? textQuery(c, "platform") : undefined,
      hostConfig: buildHostConfig(c),
      credentials: registryConfig(c.req.header("x-registry-config")),
    };
    return await buildResponse(
      (progress, signal) => engine.builds.build({ ...options, progress, signal }),
      c.req.raw.signal,
    );
  });

  app.post("/build/prune", async (c) => {
    for (const name of ["keep-storage", "reserved-space", "max-used-space", "min-free-space"])
      if ((integerQuery(c, name) ?? 0) !== 0)
        throw notImplemented(
          `${name} is not supported: the cache of the classic builder are images, whose disks many share. Choose with --filter until=…`,
        );
    return c.json(await engine.builds.prune(filtersQuery(c)));
  });

  return app;
}
