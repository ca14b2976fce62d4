/** `docker import --change` and `docker commit --change`: Dockerfile instructions that change an image's configuration, and nothing else. */
import { invalid } from "../errors.ts";
import { parseGoDuration } from "../time.ts";
import type { ImageConfiguration } from "./image-config.ts";

type Config = ImageConfiguration["config"];

const CHANGE_LIMIT = 1000;
const SHELL = ["/bin/sh", "-c"];
const HEALTH_DURATIONS = {
  interval: "Interval",
  timeout: "Timeout",
  "start-period": "StartPeriod",
  "start-interval": "StartInterval",
} as const;

/** Throws EngineError `invalid` for anything but CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. */
export function applyChanges(changes: readonly string[], base: Config = {}): Config {
  const config: Config = structuredClone(base);
  if (changes.length > CHANGE_LIMIT) throw invalid(`more than ${CHANGE_LIMIT} changes`);
  for (const change of changes) {
    for (const line of change.replace(/\\\n/g, "").split("\n")) {
      if (line.trim() !== "" && !line.trim().startsWith("#")) applyLine(config, line.trim());
    }
  }
  return config;
}

function applyLine(config: Config, line: string): void {
  const [, word = "", rest = ""] = /^(\S+)\s*([\s\S]*)$/.exec(line) ?? [];
  const instruction = word.toUpperCase();
  if (rest === "" && instruction !== "CMD" && instruction !== "ENTRYPOINT") {
    throw invalid(`${instruction} requires at least one argument`);
  }
  switch (instruction) {
    case "CMD":
      config.Cmd = command(rest);
      return;
    case "ENTRYPOINT":
      config.Entrypoint = command(rest);
      return;
    case "ENV":
      for (const [name, value] of pairs(rest, "ENV")) {
        const others = (config.Env ?? []).filter((entry) => !entry.startsWith(`${name}=`));
        config.Env = [...others, `${name}=${value}`];
      }
      return;
    case "LABEL":
      config.Labels = { ...config.Labels, ...Object.fromEntries(pairs(rest, "LABEL")) };
      return;
    case "EXPOSE":
      for (const text of words(rest))
        for (const port of exposedPorts(text)) config.ExposedPorts = { ...config.ExposedPorts, [port]: {} };
      return;
    case "VOLUME":
      for (const path of jsonList(rest) ?? words(rest)) {
        if (path.trim() === "") throw invalid("VOLUME specified can not be an empty string");
        config.Volumes = { ...config.Volumes, [path]: {} };
      }
      return;
    case "USER":
      config.User = single(rest, instruction);
      return;
    case "WORKDIR":
      config.WorkingDir = workingDirectory(config.WorkingDir, rest);
      return;
    case "STOPSIGNAL":
      config.StopSignal = single(rest, instruction);
      return;
    case "ONBUILD":
      if (/^(ONBUILD|FROM|MAINTAINER)\b/i.test(rest))
        throw invalid(`${rest.split(/\s/)[0]} isn't allowed as an ONBUILD trigger`);
      config.OnBuild = [...(config.OnBuild ?? []), rest];
      return;
    case "HEALTHCHECK":
      config.Healthcheck = healthCheck(rest);
      return;
    default:
      throw invalid(`${instruction} is not a valid change command`);
  }
}

function jsonList(text: string): string[] | undefined {
  if (!text.startsWith("[")) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((item) => typeof item === "string") ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined; // Then it is a shell command that begins with "[".
    throw error;
  }
}

const command = (text: string): string[] => jsonList(text) ?? (text === "" ? [] : [...SHELL, text]);

function single(text: string, instruction: string): string {
  const [first = "", ...more] = words(text);
  if (more.length > 0) throw invalid(`${instruction} requires exactly one argument`);
  return first;
}

function workingDirectory(current: string | undefined, text: string): string {
  const path = text.startsWith("/") ? text : `${current ?? ""}/${text}`;
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** Splits at white space, honouring quotes and backslashes. */
function words(text: string): string[] {
  const result: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let index = 0; index < text.length; index++) {
    const character = text.charAt(index);
    if (quote === "" && /\s/.test(character)) {
      if (word !== undefined) result.push(word);
      word = undefined;
    } else if (character === "\\" && quote !== "'" && index + 1 < text.length) {
      index += 1;
      word = (word ?? "") + text.charAt(index);
    } else if (character === quote) quote = "";
    else if (quote === "" && (character === '"' || character === "'")) {
      quote = character;
      word ??= "";
    } else word = (word ?? "") + character;
  }
  if (quote !== "") throw invalid("unexpected end of statement while looking for matching quote");
  if (word !== undefined) result.push(word);
  return result;
}

/** `NAME=value NAME="other value"`, or the old `NAME value with spaces`. */
function pairs(text: string, instruction: string): [string, string][] {
  const [, oldName, oldValue] = /^([^\s=]+)\s+([\s\S]+)$/.exec(text) ?? [];
  if (oldName !== undefined && oldValue !== undefined) return [[oldName, oldValue]];
  return words(text).map((word) => {
    const separator = word.indexOf("=");
    if (separator < 0) throw invalid(`Syntax error - can't find = in "${word}". Must be of the form: name=value`);
    if (separator === 0) throw invalid(`${instruction} names can not be blank`);
    return [word.slice(0, separator), word.slice(separator + 1)];
  });
}

/** `80`, `80/tcp`, `8000-8010/udp` as `port/protocol` each. Throws EngineError `invalid`. */
export function exposedPorts(text: string): string[] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(text);
  const first = Number(match?.[1] ?? 0);
  const last = Number(match?.[2] ?? first);
  if (match === null || first < 1 || last > 65535 || last < first) throw invalid(`invalid containerPort: ${text}`);
  const protocol = match[3]?.toLowerCase() ?? "tcp";
  return Array.from({ length: last - first + 1 }, (_, index) => `${first + index}/${protocol}`);
}

function healthCheck(text: string): NonNullable<Config["Healthcheck"]> {
  const check: NonNullable<Config["Healthcheck"]> = {};
  let rest = text;
  for (;;) {
    const flag = /^--([a-z-]+)=(\S+)\s*/.exec(rest);
    if (flag === null) break;
    const [whole, name = "", value = ""] = flag;
    rest = rest.slice(whole.length);
    if (name === "retries") {
      if (!/^\d+$/.test(value)) throw invalid(`--retries must be at least 0, not ${value}`);
      check.Retries = Number(value);
    } else if (Object.hasOwn(HEALTH_DURATIONS, name)) {
      const duration = parseGoDuration(value);
      if (duration === undefined) throw invalid(`invalid duration "${value}" for --${name}`);
      check[HEALTH_DURATIONS[name as keyof typeof HEALTH_DURATIONS]] = Number(duration);
    } else throw invalid(`unknown flag of HEALTHCHECK: --${name}`);
  }
  const [, kind = "", argument = ""] = /^(\S*)\s*([\s\S]*)$/.exec(rest) ?? [];
  if (kind.toUpperCase() === "NONE") {
    if (argument !== "") throw invalid("HEALTHCHECK NONE takes no arguments");
    return { Test: ["NONE"] };
  }
  if (kind.toUpperCase() !== "CMD") throw invalid(`Unknown type "${kind}" in HEALTHCHECK (try CMD)`);
  if (argument === "") throw invalid("Missing command after HEALTHCHECK CMD");
  const list = jsonList(argument);
  check.Test = list === undefined ? ["CMD-SHELL", argument] : ["CMD", ...list];
  return check;
}
