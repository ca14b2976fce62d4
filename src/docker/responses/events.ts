import type { DockerEvent } from "../../engine/contract.ts";
import type { ApiVersion } from "../api-version.ts";
import { streamed } from "./streaming.ts";

const RECORD_SEPARATOR = "\x1e";
const JSON_LINES = "application/jsonl";
const NDJSON = "application/x-ndjson";
const JSON_SEQUENCE = "application/json-seq";
/** From this version on events lost their fields of before 1.22, and the stream got a media type of its own. */
const CURRENT_SHAPE_SINCE = 52;
/** Image create events are new in this version. */
const IMAGE_CREATE_SINCE = 46;

/** The media type for an event stream. Only types named outright count, as in Docker; wildcards do not. */
export function eventStreamType(accept: string | undefined, version: ApiVersion): string {
  const named = (accept ?? "").split(",").map((type) => type.split(";")[0]?.trim().toLowerCase());
  const asked = [JSON_LINES, NDJSON, JSON_SEQUENCE].find((type) => named.includes(type));
  return asked ?? (version < CURRENT_SHAPE_SINCE ? "application/json" : JSON_LINES);
}

export function eventsResponse(events: AsyncIterable<DockerEvent>, version: ApiVersion, type: string): Response {
  const prefix = type === JSON_SEQUENCE ? RECORD_SEPARATOR : "";
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for await (const event of events) {
      if (version < IMAGE_CREATE_SINCE && event.Type === "image" && event.Action === "create") continue;
      yield encoded(event, version, prefix);
    }
  }
  return streamed(chunks(), { "content-type": type });
}

const encoder = new TextEncoder();
/** The lines of events that went out already: with many listeners, each line is made once. */
const lines = new WeakMap<DockerEvent, Map<string, Uint8Array>>();

function encoded(event: DockerEvent, version: ApiVersion, prefix: string): Uint8Array {
  const known = lines.get(event) ?? new Map<string, Uint8Array>();
  const key = `${version < CURRENT_SHAPE_SINCE}${prefix}`;
  const line = known.get(key) ?? encoder.encode(`${prefix}${eventJson(event, version)}\n`);
  if (known.size === 0) lines.set(event, known);
  known.set(key, line);
  return line;
}

/** `timeNano` exceeds what a JavaScript number holds exactly, so it is written as raw digits. */
export function eventJson(event: DockerEvent, version: ApiVersion): string {
  const { timeNano, ...rest } = event;
  const older = version < CURRENT_SHAPE_SINCE ? fieldsBefore122(event) : {};
  return `${JSON.stringify({ ...older, ...rest }).slice(0, -1)},"timeNano":${timeNano}}`;
}

function fieldsBefore122({ Type, Action, Actor }: DockerEvent): Record<string, string> {
  if (Type === "container") return { status: Action, id: Actor.ID, from: Actor.Attributes.image ?? "" };
  return Type === "image" ? { status: Action, id: Actor.ID } : {};
}
