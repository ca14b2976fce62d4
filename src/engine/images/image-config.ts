/** Reads an image's configuration (Docker's and OCI's are the same), which a stranger made: types and sizes are checked. */
import { isDigest } from "../../registry/digest.ts";
import { invalid } from "../errors.ts";
import type { ImageRuntimeConfig } from "./contract.ts";

export interface HistoryEntry {
  created?: string;
  created_by?: string;
  author?: string;
  comment?: string;
  empty_layer?: boolean;
}

export interface ImageConfiguration {
  architecture: string;
  variant?: string;
  os: string;
  osVersion?: string;
  created?: string;
  author?: string;
  comment?: string;
  config: ImageRuntimeConfig & { OnBuild?: string[]; ArgsEscaped?: boolean };
  /** Digests of the uncompressed layers, lowest first. */
  diffIds: string[];
  history: HistoryEntry[];
}

const LAYER_LIMIT = 1024;
const HISTORY_LIMIT = 8192;
const ENTRY_LIMIT = 65_536;

type JsonObject = Record<string, unknown>;
const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const bad = (reason: string) => invalid(`invalid image configuration: ${reason}`);

const optionalText = (object: JsonObject, name: string): string | undefined => {
  const value = object[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw bad(`${name} is not a string`);
  return value;
};

const optionalTexts = (object: JsonObject, name: string): string[] | undefined => {
  const value = object[name];
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value) || value.length > ENTRY_LIMIT || !value.every((item) => typeof item === "string")) {
    throw bad(`${name} is not a list of strings`);
  }
  return value;
};

const optionalNumber = (object: JsonObject, name: string): number | undefined => {
  const value = object[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isFinite(value)) throw bad(`${name} is not a number`);
  return value;
};

const optionalObject = (object: JsonObject, name: string): JsonObject | undefined => {
  const value = object[name];
  if (value === undefined || value === null) return undefined;
  if (!isObject(value) || Object.keys(value).length > ENTRY_LIMIT) throw bad(`${name} is not an object`);
  return value;
};

/** Names only, as in Volumes and ExposedPorts. */
const optionalSet = (object: JsonObject, name: string): Record<string, object> | undefined => {
  const value = optionalObject(object, name);
  return value === undefined ? undefined : Object.fromEntries(Object.keys(value).map((key) => [key, {}]));
};

/** Throws EngineError `invalid`. */
export function parseImageConfiguration(text: string): ImageConfiguration {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) throw bad("it is not JSON");
    throw error;
  }
  if (!isObject(document)) throw bad("it is not a JSON object");
  const rootfs = optionalObject(document, "rootfs");
  if (rootfs === undefined || rootfs.type !== "layers") throw bad("rootfs.type is not layers");
  const diffIds = optionalTexts(rootfs, "diff_ids") ?? [];
  if (diffIds.length > LAYER_LIMIT) throw bad(`more than ${LAYER_LIMIT} layers`);
  if (!diffIds.every(isDigest)) throw bad("a diff_id is not a digest");
  const history = document.history ?? [];
  if (!Array.isArray(history) || history.length > HISTORY_LIMIT) throw bad("history is not a list");
  const architecture = optionalText(document, "architecture") ?? "";
  const os = optionalText(document, "os") || "linux";
  return {
    architecture,
    variant: optionalText(document, "variant"),
    os,
    osVersion: optionalText(document, "os.version"),
    created: optionalText(document, "created"),
    author: optionalText(document, "author"),
    comment: optionalText(document, "comment"),
    config: parseRuntimeConfig(optionalObject(document, "config") ?? {}),
    diffIds,
    history: history.map((entry) => {
      if (!isObject(entry)) throw bad("a history entry is not an object");
      return {
        created: optionalText(entry, "created"),
        created_by: optionalText(entry, "created_by"),
        author: optionalText(entry, "author"),
        comment: optionalText(entry, "comment"),
        empty_layer: entry.empty_layer === true,
      };
    }),
  };
}

function parseRuntimeConfig(config: JsonObject): ImageConfiguration["config"] {
  const labels = optionalObject(config, "Labels");
  if (labels !== undefined && !Object.values(labels).every((value) => typeof value === "string")) {
    throw bad("a label is not a string");
  }
  const health = optionalObject(config, "Healthcheck");
  const parsed: ImageConfiguration["config"] = {
    User: optionalText(config, "User"),
    ExposedPorts: optionalSet(config, "ExposedPorts"),
    Env: optionalTexts(config, "Env"),
    Entrypoint: optionalTexts(config, "Entrypoint"),
    Cmd: optionalTexts(config, "Cmd"),
    Volumes: optionalSet(config, "Volumes"),
    WorkingDir: optionalText(config, "WorkingDir"),
    Labels: labels as Record<string, string> | undefined,
    StopSignal: optionalText(config, "StopSignal"),
    StopTimeout: optionalNumber(config, "StopTimeout"),
    Shell: optionalTexts(config, "Shell"),
    OnBuild: optionalTexts(config, "OnBuild"),
    ArgsEscaped: config.ArgsEscaped === true ? true : undefined,
    Healthcheck:
      health === undefined
        ? undefined
        : {
            Test: optionalTexts(health, "Test"),
            Interval: optionalNumber(health, "Interval"),
            Timeout: optionalNumber(health, "Timeout"),
            StartPeriod: optionalNumber(health, "StartPeriod"),
            StartInterval: optionalNumber(health, "StartInterval"),
            Retries: optionalNumber(health, "Retries"),
          },
  };
  // Absent stays absent: what inspect shows and what containers merge must be what the image says.
  return JSON.parse(JSON.stringify(parsed)) as ImageConfiguration["config"];
}
