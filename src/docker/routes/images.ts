/** Images. Names contain slashes, so these routes match greedily. */
import { Hono } from "hono";
import { invalid, notImplemented } from "../../engine/errors.ts";
import type { ApiVersion } from "../api-version.ts";
import type { ApiContext, ApiEnvironment, RouterOptions } from "../environment.ts";
import { platformParameter } from "../requests/platform.ts";
import { booleanQuery, filtersQuery, integerQuery, textQuery } from "../requests/query.ts";
import { registryCredentials } from "../requests/registry-auth.ts";
import { requestStream } from "../requests/stream-body.ts";
import { imageInspectForVersion, imageSummaryForVersion } from "../responses/older-versions.ts";
import { progressResponse } from "../responses/progress.ts";
import { streamed } from "../responses/streaming.ts";

export function imageRoutes({ engine }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  const { images } = engine;

  app.get("/images/json", async (c) => {
    const filters = new Map(filtersQuery(c));
    const reference = textQuery(c, "filter");
    if (reference !== undefined && c.get("apiVersion") < 41) filters.set("reference", [reference]);
    const list = await images.list({ all: booleanQuery(c, "all"), digests: booleanQuery(c, "digests"), filters });
    return c.json(list.map((image) => imageSummaryForVersion(image, c.get("apiVersion"))));
  });

  app.post("/images/create", async (c) => {
    const image = textQuery(c, "fromImage");
    const platform = c.get("apiVersion") >= 32 ? textQuery(c, "platform") : undefined;
    const tag = textQuery(c, "tag");
    if (image !== undefined) {
      const credentials = registryCredentials(c.req.header("x-registry-auth"));
      return progressResponse(
        (progress, signal) => images.pull(image, { tag, platform, credentials, progress, signal }),
        c.req.raw.signal,
      );
    }
    const source = textQuery(c, "fromSrc");
    if (source === undefined) throw invalid('one of the parameters "fromImage" and "fromSrc" is needed');
    return progressResponse(
      (progress, signal) =>
        images.import(source === "-" ? requestStream(c) : { url: source }, {
          repository: textQuery(c, "repo"),
          tag,
          message: textQuery(c, "message") ?? `Imported from ${source}`,
          changes: c.req.queries("changes") ?? [],
          platform,
          progress,
          signal,
        }),
      c.req.raw.signal,
    );
  });

  app.post("/images/load", (c) => {
    const platform = onePlatform(c, 48);
    return progressResponse(
      (progress, signal) =>
        images.load(requestStream(c), { platform, quiet: booleanQuery(c, "quiet", true), progress, signal }),
      c.req.raw.signal,
    );
  });

  app.post("/images/prune", async (c) =>
    c.json(await images.prune(filtersQuery(c, ["dangling", "label", "label!", "until"]))),
  );

  app.get("/images/search", async (c) => {
    const term = textQuery(c, "term");
    if (term === undefined) throw invalid('missing query parameter "term"');
    const results = await images.search(term, {
      limit: integerQuery(c, "limit") ?? 0,
      filters: filtersQuery(c),
      credentials: registryCredentials(c.req.header("x-registry-auth")),
      signal: c.req.raw.signal,
    });
    return c.json(results);
  });

  app.get("/images/get", async (c) => archive(await images.save(c.req.queries("names") ?? [], saveOptions(c))));

  app.get("/images/:name{.+}/get", async (c) => archive(await images.save([c.req.param("name")], saveOptions(c))));

  app.get("/images/:name{.+}/json", async (c) => {
    const image = await images.inspect(c.req.param("name"), { platform: onePlatform(c, 49) });
    return c.json(imageInspectForVersion(image, c.get("apiVersion")));
  });

  app.get("/images/:name{.+}/history", async (c) =>
    c.json(await images.history(c.req.param("name"), { platform: onePlatform(c, 48) })),
  );

  app.get("/images/:name{.+}/attestations", async (c) => {
    // A pull takes the image for one platform out of its index; attestations stay in the registry.
    await images.inspect(c.req.param("name"));
    throw notImplemented(
      "attestations are not kept: a pull stores the image of one platform; read them from the registry with `docker buildx imagetools inspect`",
    );
  });

  app.post("/images/:name{.+}/push", (c) => {
    const credentials = registryCredentials(c.req.header("x-registry-auth"));
    const tag = textQuery(c, "tag");
    const platform = onePlatform(c, 46);
    return progressResponse(
      (progress, signal) => images.push(c.req.param("name"), { tag, platform, credentials, progress, signal }),
      c.req.raw.signal,
    );
  });

  app.get("/distribution/:name{.+}/json", async (c) =>
    c.json(
      await images.distribution(c.req.param("name"), {
        credentials: registryCredentials(c.req.header("x-registry-auth")),
        signal: c.req.raw.signal,
      }),
    ),
  );

  app.post("/images/:name{.+}/tag", async (c) => {
    const repository = textQuery(c, "repo");
    if (repository === undefined) throw invalid('missing query parameter "repo"');
    await images.tag(c.req.param("name"), repository, textQuery(c, "tag"));
    return c.body(null, 201);
  });

  app.delete("/images/:name{.+}", async (c) => {
    const removed = await images.remove(c.req.param("name"), {
      force: booleanQuery(c, "force"),
      noPrune: booleanQuery(c, "noprune"),
      platforms:
        c.get("apiVersion") < 50
          ? []
          : (c.req.queries("platforms") ?? []).flatMap((text) => platformParameter(text) ?? []),
    });
    return c.json(removed);
  });

  return app;
}

/** The `platform` parameter of operations that have had it since API version `since`; older clients' is not looked at. */
function onePlatform(c: ApiContext, since: ApiVersion): string | undefined {
  if (c.get("apiVersion") < since) return undefined;
  const given = c.req.queries("platform") ?? [];
  if (given.length > 1) throw invalid("only one platform can be chosen: the store keeps one platform of each image");
  return platformParameter(given[0]);
}

const saveOptions = (c: ApiContext): { platform?: string } => ({ platform: onePlatform(c, 48) });

const archive = (tar: AsyncIterable<Uint8Array>): Response => streamed(tar, { "content-type": "application/x-tar" });
