/** Operations of the Docker API that this engine does not have: each says why and what to do instead. */
import { Hono } from "hono";
import { notImplemented } from "../../engine/errors.ts";
import type { ApiEnvironment } from "../environment.ts";

/** The endpoint has the classic builder only; BuildKit runs as a container of its own. */
const BUILDKIT =
  "BuildKit is not part of this endpoint: run it in a container with `docker buildx create --driver docker-container --use`, or set DOCKER_BUILDKIT=0 for the classic builder";

const REFUSALS: readonly [method: string, path: string, reason: string][] = [
  ["POST", "/build/cancel", "builds of the classic builder have no id: a build ends when its client leaves"],
  ["POST", "/session", BUILDKIT],
  ["POST", "/grpc", BUILDKIT],
  ["GET", "/containers/:reference/checkpoints", "checkpoints are not supported: use snapshots of the container's VM"],
  ["POST", "/containers/:reference/checkpoints", "checkpoints are not supported: use snapshots of the container's VM"],
  [
    "DELETE",
    "/containers/:reference/checkpoints/:name",
    "checkpoints are not supported: use snapshots of the container's VM",
  ],
];

export function refusedRoutes(): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();
  for (const [method, path, reason] of REFUSALS) {
    app.on(method, path, () => {
      throw notImplemented(reason);
    });
  }
  return app;
}
