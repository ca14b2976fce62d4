/**
 * The Docker Engine API document, version 1.56 (moby/moby, api/swagger.yaml, commit
 * b985e2313a8676e18072b442911fc8f64f17d440, Apache-2.0). A development and test input: nothing at run time reads it.
 */
import { join } from "node:path";

export interface ApiSchema {
  $ref?: string;
  type?: string | string[];
  format?: string;
  enum?: unknown[];
  properties?: Record<string, ApiSchema>;
  required?: string[];
  items?: ApiSchema;
  allOf?: ApiSchema[];
  additionalProperties?: ApiSchema | boolean;
  "x-nullable"?: boolean;
}

export interface ApiOperation {
  operationId: string;
  summary?: string;
  /** Media types of the answer, where they are not the document's. */
  produces?: string[];
  parameters?: { name: string; in: string; schema?: ApiSchema }[];
  responses: Record<string, { schema?: ApiSchema }>;
}

export interface ApiDocument {
  info: { version: string };
  produces: string[];
  definitions: Record<string, ApiSchema>;
  paths: Record<string, Record<string, ApiOperation>>;
}

const FILE = join(import.meta.dir, "engine-api-1.56.yaml.gz");

export async function apiYaml(): Promise<string> {
  return new TextDecoder().decode(Bun.gunzipSync(await Bun.file(FILE).bytes()));
}

export async function apiDocument(): Promise<ApiDocument> {
  // The file is pinned by its commit; its shape is what the types above say.
  return Bun.YAML.parse(await apiYaml()) as ApiDocument;
}
