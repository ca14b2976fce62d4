import { parseGoDuration } from "../../time.ts";
import { DockerfileError } from "./syntax-error.ts";
import { type Flag, jsonList } from "./words.ts";

/** Durations in nanoseconds, as in an image's configuration. */
export interface HealthCheck {
  Test: string[];
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
}

const DURATIONS = {
  interval: "Interval",
  timeout: "Timeout",
  "start-period": "StartPeriod",
  "start-interval": "StartInterval",
} as const;
const MINIMUM_NANOSECONDS = 1_000_000n;

export function parseHealthCheck(flags: readonly Flag[], rest: string): HealthCheck {
  const [, kind = "", argument = ""] = /^(\S*)\s*([\s\S]*)$/.exec(rest.trim()) ?? [];
  if (kind === "") throw new DockerfileError("HEALTHCHECK requires at least one argument");
  if (kind.toUpperCase() === "NONE") {
    if (argument !== "" || flags.length > 0) throw new DockerfileError("HEALTHCHECK NONE takes no arguments");
    return { Test: ["NONE"] };
  }
  if (kind.toUpperCase() !== "CMD")
    throw new DockerfileError(`unknown type ${JSON.stringify(kind)} in HEALTHCHECK (try CMD)`);
  if (argument === "") throw new DockerfileError("missing command after HEALTHCHECK CMD");
  const words = jsonList(argument);
  const check: HealthCheck = { Test: words === undefined ? ["CMD-SHELL", argument] : ["CMD", ...words] };
  for (const { name, value = "" } of flags) {
    if (name === "retries") {
      if (!/^\d{1,9}$/.test(value)) throw new DockerfileError(`--retries must be at least 0 (not ${value})`);
      check.Retries = Number(value);
    } else if (Object.hasOwn(DURATIONS, name)) {
      const duration = parseGoDuration(value);
      if (duration === undefined) throw new DockerfileError(`invalid duration ${JSON.stringify(value)} of --${name}`);
      if (duration !== 0n && duration < MINIMUM_NANOSECONDS)
        throw new DockerfileError(`Interval "${name}" cannot be less than 1ms`);
      check[DURATIONS[name as keyof typeof DURATIONS]] = Number(duration);
    } else throw new DockerfileError(`unknown flag: --${name} (HEALTHCHECK)`);
  }
  return check;
}
