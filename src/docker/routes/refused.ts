/** Operations of the Docker API that this engine does not have: each says why and what to do instead. */
import { Hono } from "hono";
import { notImplemented } from "../../engine/errors.ts";
import type { ApiEnvironment } from "../environment.ts";

const BUILD =
  "building images is not supported yet: build elsewhere (docker buildx, podman), push to a registry, then pull from it";

const REFUSALS: readonly [method: string, path: string, reason: string][] = [
  ["POST", "/build", BUILD],
  ["POST", "/build/prune", "there is no build cache: nothing to prune"],
  ["POST", "/build/cancel", BUILD],
  ["POST", "/session", BUILD],
  ["POST", "/grpc", BUILD],
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
