/** Containers: files in and out (`docker cp`, `docker export`), always as tar streams. */
import { Hono } from "hono";
import type { PathStat } from "../../engine/contract.ts";
import type { ApiEnvironment, RouterOptions } from "../environment.ts";
import { booleanQuery, requiredQuery } from "../requests/query.ts";
import { requestStream } from "../requests/stream-body.ts";
import { streamedBody } from "../responses/streaming.ts";

const TAR = "application/x-tar";

export function containerFileRoutes({ engine }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  const { containers } = engine;

  // Hono routes HEAD here too.
  app.get("/containers/:reference/archive", async (c) => {
    const reference = c.req.param("reference");
    const path = requiredQuery(c, "path");
    if (c.req.method === "HEAD") {
      const stat = await containers.pathStat(reference, path);
      return new Response(null, { headers: { "x-docker-container-path-stat": encodedStat(stat) } });
    }
    const { stat, tar } = await containers.readArchive(reference, path);
    return streamedBody(tar, { "content-type": TAR, "x-docker-container-path-stat": encodedStat(stat) });
  });

  app.put("/containers/:reference/archive", async (c) => {
    const path = requiredQuery(c, "path");
    await containers.writeArchive(c.req.param("reference"), path, requestStream(c), {
      noOverwriteDirNonDir: booleanQuery(c, "noOverwriteDirNonDir"),
      copyOwner: booleanQuery(c, "copyUIDGID"),
    });
    return c.body(null, 200);
  });

  app.get("/containers/:reference/export", async (c) =>
    // The document's type for it, unlike that of `cp`.
    streamedBody(await containers.export(c.req.param("reference")), { "content-type": "application/octet-stream" }),
  );

  return app;
}

function encodedStat({ name, size, mode, mtime, linkTarget }: PathStat): string {
  return Buffer.from(JSON.stringify({ name, size, mode, mtime, linkTarget }), "utf8").toString("base64");
}
