/** Images. Names contain slashes, so these routes match greedily. */
import { Hono } from "hono";
import { invalid, notImplemented } from "../../engine/errors.ts";
import type { ApiEnvironment, RouterOptions } from "../environment.ts";
import { booleanQuery, filtersQuery, textQuery } from "../requests/query.ts";
import { registryCredentials } from "../requests/registry-auth.ts";
import { requestStream } from "../requests/stream-body.ts";
import { imageInspectForVersion, imageSummaryForVersion } from "../responses/older-versions.ts";
import { progressResponse } from "../responses/progress.ts";

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
    if (source !== "-") {
      throw notImplemented(
        "importing from a URL is not supported: download the archive and pipe it into `docker import -`",
      );
    }
    return progressResponse(
      (progress, signal) =>
        images.import(requestStream(c), {
          repository: textQuery(c, "repo"),
          tag,
          message: textQuery(c, "message") ?? "Imported from -",
          changes: c.req.queries("changes") ?? [],
          platform,
          progress,
          signal,
        }),
      c.req.raw.signal,
    );
  });

  app.post("/images/load", (c) => {
    if (textQuery(c, "platform") !== undefined && c.get("apiVersion") >= 48) {
      throw notImplemented(
        "loading a chosen platform is not supported: the platform of this endpoint is loaded; leave out --platform",
      );
    }
    return progressResponse(
      (progress, signal) => images.load(requestStream(c), { quiet: booleanQuery(c, "quiet", true), progress, signal }),
      c.req.raw.signal,
    );
  });

  app.post("/images/prune", async (c) =>
    c.json(await images.prune(filtersQuery(c, ["dangling", "label", "label!", "until"]))),
  );

  app.get("/images/search", () => {
    throw notImplemented("searching Docker Hub is not supported: search at https://hub.docker.com");
  });

  app.on("GET", ["/images/get", "/images/:name{.+}/get"], () => {
    throw notImplemented(
      "saving images is not supported yet: copy the image from its registry with skopeo or `docker save` on another engine",
    );
  });

  app.get("/images/:name{.+}/json", async (c) => {
    const image = await images.inspect(c.req.param("name"));
    return c.json(imageInspectForVersion(image, c.get("apiVersion")));
  });

  app.get("/images/:name{.+}/history", async (c) => c.json(await images.history(c.req.param("name"))));

  app.post("/images/:name{.+}/push", () => {
    throw notImplemented(
      "pushing images is not supported yet: push from where the image was built, with `docker push` or skopeo",
    );
  });

  app.post("/images/:name{.+}/tag", async (c) => {
    const repository = textQuery(c, "repo");
    if (repository === undefined) throw invalid('missing query parameter "repo"');
    await images.tag(c.req.param("name"), repository, textQuery(c, "tag"));
    return c.body(null, 201);
  });

  app.delete("/images/:name{.+}", async (c) => {
    if (c.req.queries("platforms") !== undefined && c.get("apiVersion") >= 50) {
      throw notImplemented("removing single platforms of an image is not supported: leave out --platform");
    }
    const removed = await images.remove(c.req.param("name"), {
      force: booleanQuery(c, "force"),
      noPrune: booleanQuery(c, "noprune"),
    });
    return c.json(removed);
  });

  return app;
}
