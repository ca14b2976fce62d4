import { invalid } from "../../engine/errors.ts";

/** The part of the API document that matters for reading requests. */
export type RequestSchema =
  | { type: "string" | "boolean" | "integer" | "number" | "any" }
  | { type: "array"; items: RequestSchema }
  | { type: "map"; values: RequestSchema }
  | { type: "object"; properties: Record<string, RequestSchema> };

const MAX_DEPTH = 64;
/** Fields that Docker also takes as one plain string. */
const STRING_OR_LIST = new Set(["Cmd", "Entrypoint", "HostConfig.CapAdd", "HostConfig.CapDrop"]);

/**
 * Checks a JSON value against a schema and returns it as Go's decoder would understand it: field names match without
 * regard to case, null means absent. Unknown fields are kept for the engine to judge. Throws `invalid` with the path.
 */
export function conform(value: unknown, schema: RequestSchema, path: string, depth = 0): unknown {
  if (depth > MAX_DEPTH) throw invalid(`invalid JSON: ${path} is nested more than ${MAX_DEPTH} levels deep`);
  switch (schema.type) {
    case "any":
      return value;
    case "array":
      if (typeof value === "string" && STRING_OR_LIST.has(path)) return [value];
      if (!Array.isArray(value)) throw mismatch(value, "a list", path);
      return value.map((item: unknown, index) =>
        item === null && schema.items.type === "string"
          ? ""
          : conform(item, schema.items, `${path}[${index}]`, depth + 1),
      );
    case "map":
      return Object.fromEntries(
        fields(value, path).map(([name, item]) => [
          name,
          item === null ? emptyMapValue(schema.values) : conform(item, schema.values, join(path, name), depth + 1),
        ]),
      );
    case "object":
      return conformObject(fields(value, path), schema.properties, path, depth);
    case "integer":
      if (!Number.isSafeInteger(value)) throw mismatch(value, "an integer", path);
      return value;
    default:
      if (typeof value !== schema.type) throw mismatch(value, `a ${schema.type}`, path);
      return value;
  }
}

function conformObject(
  entries: [string, unknown][],
  properties: Record<string, RequestSchema>,
  path: string,
  depth: number,
): Record<string, unknown> {
  const result: Record<string, unknown> = Object.create(null);
  let folded: Map<string, string> | undefined;
  for (const [given, item] of entries) {
    let name = given;
    if (!Object.hasOwn(properties, given)) {
      folded ??= new Map(Object.keys(properties).map((known) => [known.toLowerCase(), known]));
      name = folded.get(given.toLowerCase()) ?? given;
    }
    if (item === null) continue;
    const schema = Object.hasOwn(properties, name) ? properties[name] : undefined;
    result[name] = schema === undefined ? item : conform(item, schema, join(path, name), depth + 1);
  }
  return { ...result };
}

function fields(value: unknown, path: string): [string, unknown][] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw mismatch(value, "an object", path);
  return Object.entries(value);
}

/** Docker's clients write sets as `{"80/tcp": {}}`; a null there stands for the empty value, not for absence. */
function emptyMapValue(schema: RequestSchema): unknown {
  switch (schema.type) {
    case "array":
      return [];
    case "object":
    case "map":
      return {};
    case "string":
      return "";
    default:
      return null;
  }
}

function mismatch(value: unknown, wanted: string, path: string): Error {
  const given = value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
  return invalid(`invalid JSON: ${path === "" ? "the body" : `field "${path}"`} must be ${wanted}, not ${given}`);
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
