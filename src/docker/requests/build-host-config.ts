/** What a build says of the containers that RUN uses. The engine judges every field as it does for `docker create`. */
import type { HostConfig } from "../../engine/contract.ts";
import { invalid } from "../../engine/errors.ts";
import type { ApiContext } from "../environment.ts";
import { jsonQuery, textListQuery } from "./json-query.ts";
import { integerQuery, textQuery } from "./query.ts";

const MAX_ULIMITS = 100;

export function buildHostConfig(c: ApiContext): Partial<HostConfig> {
  const networkMode = textQuery(c, "networkmode");
  const given: Partial<HostConfig> = {
    Memory: integerQuery(c, "memory"),
    MemorySwap: integerQuery(c, "memswap"),
    CpuShares: integerQuery(c, "cpushares"),
    CpuPeriod: integerQuery(c, "cpuperiod"),
    CpuQuota: integerQuery(c, "cpuquota"),
    CpusetCpus: textQuery(c, "cpusetcpus"),
    CpusetMems: textQuery(c, "cpusetmems"),
    CgroupParent: textQuery(c, "cgroupparent"),
    Isolation: textQuery(c, "isolation") as HostConfig["Isolation"],
    ShmSize: integerQuery(c, "shmsize"),
    NetworkMode: networkMode === "default" ? undefined : networkMode,
    ExtraHosts: c.req.queries("extrahosts")?.filter((host) => host !== ""),
    SecurityOpt: textListQuery(c, "securityopt"),
    Ulimits: ulimits(c),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

function ulimits(c: ApiContext): NonNullable<HostConfig["Ulimits"]> {
  const value = jsonQuery(c, "ulimits");
  if (value === undefined || value === null) return [];
  const malformed = (): Error => invalid('invalid value for "ulimits": it must be a list of {"Name","Hard","Soft"}');
  if (!Array.isArray(value) || value.length > MAX_ULIMITS) throw malformed();
  return value.map((item: unknown) => {
    if (typeof item !== "object" || item === null) throw malformed();
    const { Name, Hard, Soft } = item as Record<string, unknown>;
    if (typeof Name !== "string" || !Number.isSafeInteger(Hard) || !Number.isSafeInteger(Soft)) throw malformed();
    return { Name, Hard: Number(Hard), Soft: Number(Soft) };
  });
}
