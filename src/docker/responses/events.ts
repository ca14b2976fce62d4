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
  const encoder = new TextEncoder();
  const prefix = type === JSON_SEQUENCE ? RECORD_SEPARATOR : "";
  async function* lines(): AsyncGenerator<Uint8Array> {
    for await (const event of events) {
      if (version < IMAGE_CREATE_SINCE && event.Type === "image" && event.Action === "create") continue;
      yield encoder.encode(`${prefix}${eventJson(event, version)}\n`);
    }
  }
  return streamed(lines(), { "content-type": type });
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
