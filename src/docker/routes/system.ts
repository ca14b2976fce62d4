/** /version, /info, /events, /system/df, /auth. */
import { Hono } from "hono";
import type { RegistryCredentials } from "../../engine/contract.ts";
import { invalid } from "../../engine/errors.ts";
import { EVENT_FILTERS } from "../../engine/events/event-filter.ts";
import { MAXIMUM_API_VERSION, MINIMUM_API_VERSION, versionText } from "../api-version.ts";
import type { ApiEnvironment, RouterOptions } from "../environment.ts";
import { jsonBody } from "../requests/json-body.ts";
import { booleanQuery, filtersQuery, timestampQuery } from "../requests/query.ts";
import { diskUsageForVersion } from "../responses/disk-usage.ts";
import { eventStreamType, eventsResponse } from "../responses/events.ts";
import { infoForVersion } from "../responses/older-versions.ts";

const DISK_USAGE_TYPES = ["container", "image", "volume", "build-cache"];

export function systemRoutes({ engine, apiInfo }: RouterOptions): Hono<ApiEnvironment> {
  const app = new Hono<ApiEnvironment>();

  app.get("/version", async (c) => {
    const version = await engine.system.version();
    const apiVersions = {
      ApiVersion: versionText(MAXIMUM_API_VERSION),
      MinAPIVersion: versionText(MINIMUM_API_VERSION),
    };
    const runtime = `bun${Bun.version}`;
    const { Version, GitCommit, BuildTime, KernelVersion, Os, Arch } = version;
    return c.json({
      Platform: { Name: apiInfo.product },
      Components: [
        {
          Name: "Engine",
          Version,
          Details: {
            ...apiVersions,
            Arch,
            BuildTime,
            Experimental: "false",
            GitCommit,
            GoVersion: runtime,
            KernelVersion,
            Os,
          },
        },
      ],
      Version,
      ...apiVersions,
      GitCommit,
      GoVersion: runtime,
      Os,
      Arch,
      KernelVersion,
      BuildTime,
    });
  });

  app.get("/info", async (c) => c.json(infoForVersion(await engine.system.info(), c.get("apiVersion"))));

  app.get("/events", (c) => {
    const since = timestampQuery(c, "since");
    const until = timestampQuery(c, "until");
    if (since !== undefined && until !== undefined && until < since) {
      throw invalid(
        `\`since\` time (${c.req.query("since")}) cannot be after \`until\` time (${c.req.query("until")})`,
      );
    }
    const filters = filtersQuery(c, EVENT_FILTERS);
    const events = engine.events.subscribe({ since, until, filters, signal: c.req.raw.signal });
    return eventsResponse(events, c.get("apiVersion"), eventStreamType(c.req.header("accept"), c.get("apiVersion")));
  });

  app.get("/system/df", async (c) => {
    const version = c.get("apiVersion");
    const types = version >= 42 ? (c.req.queries("type") ?? []) : [];
    for (const type of types) if (!DISK_USAGE_TYPES.includes(type)) throw invalid(`unknown object type: ${type}`);
    const wanted = types.length === 0 ? DISK_USAGE_TYPES : types;
    const usage = await engine.system.diskUsage(wanted);
    return c.json(diskUsageForVersion(usage, wanted, version, booleanQuery(c, "verbose")));
  });

  app.post("/auth", async (c) => {
    const credentials = await jsonBody<RegistryCredentials>(c, "Auth");
    return c.json(await engine.system.authenticate(credentials));
  });

  return app;
}
