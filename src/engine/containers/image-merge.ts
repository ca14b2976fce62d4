/** The configuration that holds: what the client asked for over what the image says, by Docker's rules. */
import type { ContainerConfig } from "../contract.ts";
import { invalid } from "../errors.ts";
import type { ImageRuntimeConfig } from "../images/contract.ts";

type Given = Partial<ContainerConfig>;
type Health = NonNullable<ContainerConfig["Healthcheck"]>;

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NANOSECONDS_PER_MILLISECOND = 1_000_000;

export function mergeImage(given: Given, image: ImageRuntimeConfig): Given {
  const entrypointGiven = given.Entrypoint !== undefined && given.Entrypoint !== null;
  const cleared = entrypointGiven && (given.Entrypoint?.length === 0 || given.Entrypoint?.[0] === "");
  const entrypoint = cleared ? undefined : entrypointGiven ? given.Entrypoint : (image.Entrypoint ?? undefined);
  // An entrypoint of the client's own makes the image's CMD meaningless.
  const command = given.Cmd?.length ? given.Cmd : entrypointGiven ? [] : (image.Cmd ?? []);
  return {
    ...given,
    User: given.User || (image.User ?? ""),
    ExposedPorts: { ...image.ExposedPorts, ...given.ExposedPorts },
    Env: mergeEnvironment(image.Env ?? [], given.Env ?? []),
    Cmd: command,
    Entrypoint: entrypoint,
    Volumes: { ...image.Volumes, ...given.Volumes },
    WorkingDir: given.WorkingDir || image.WorkingDir || "",
    Labels: { ...image.Labels, ...given.Labels },
    StopSignal: given.StopSignal || image.StopSignal || undefined,
    StopTimeout: given.StopTimeout ?? image.StopTimeout,
    Shell: given.Shell ?? image.Shell,
    Healthcheck: mergeHealth(given.Healthcheck, image.Healthcheck),
  };
}

/** The command line. Throws Docker's text when there is none. */
export function commandLine(config: Given): string[] {
  const line = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  if (line.length === 0) throw invalid("no command specified");
  return line;
}

/** The client's variables replace the image's; a name without "=" removes one. PATH is always there. */
export function mergeEnvironment(image: readonly string[], given: readonly string[]): string[] {
  const result = new Map<string, string>();
  for (const entry of [PATH, ...image, ...given]) {
    const separator = entry.indexOf("=");
    if (separator === 0 || entry === "" || entry.includes("\0"))
      throw invalid(`invalid environment variable: ${JSON.stringify(entry)}`);
    if (separator < 0) result.delete(entry);
    else result.set(entry.slice(0, separator), entry);
  }
  return [...result.values()];
}

function mergeHealth(given: Health | undefined, image: ImageRuntimeConfig["Healthcheck"]): Health | undefined {
  const merged: Health = {
    Test: given?.Test?.length ? given.Test : image?.Test,
    Interval: given?.Interval || image?.Interval,
    Timeout: given?.Timeout || image?.Timeout,
    StartPeriod: given?.StartPeriod || image?.StartPeriod,
    StartInterval: given?.StartInterval || image?.StartInterval,
    Retries: given?.Retries || image?.Retries,
  };
  if (!merged.Test?.length) return undefined;
  if (!["NONE", "CMD", "CMD-SHELL"].includes(merged.Test[0] ?? ""))
    throw invalid(`Unknown healthcheck type: '${merged.Test[0]}' (expected 'CMD')`);
  const durations = [
    ["Interval", merged.Interval],
    ["Timeout", merged.Timeout],
    ["StartPeriod", merged.StartPeriod],
    ["StartInterval", merged.StartInterval],
  ] as const;
  for (const [name, value] of durations)
    if (value && value < NANOSECONDS_PER_MILLISECOND) throw invalid(`${name} in Healthcheck cannot be less than 1ms`);
  if ((merged.Retries ?? 0) < 0) throw invalid("Retries in Healthcheck cannot be negative");
  return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== undefined)) as Health;
}
