/** Checks responses against the Docker Engine API document. Usable by any test that talks to an endpoint. */
import Ajv, { type ValidateFunction } from "ajv";
import { type ApiDocument, type ApiOperation, type ApiSchema, apiDocument } from "../../src/docker/openapi/document.ts";

export class ResponseValidator {
  readonly #ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
  readonly #compiled = new Map<string, ValidateFunction>();
  readonly #routes: { path: string; pattern: RegExp; operations: Record<string, ApiOperation> }[];

  private constructor(readonly document: ApiDocument) {
    this.#routes = Object.entries(document.paths)
      .map(([path, operations]) => ({
        path,
        operations,
        pattern: new RegExp(`^${path.replace(/\{(\w+)\}/g, (_, name) => (name === "name" ? ".+" : "[^/]+"))}$`),
      }))
      // Fixed segments win over parameters: /images/json is not an image.
      .sort((a, b) => a.path.split("{").length - b.path.split("{").length);
    const definitions = Object.fromEntries(
      Object.entries(document.definitions).map(([name, schema]) => [name, jsonSchema(schema)]),
    );
    this.#ajv.addSchema({ $id: "api", definitions });
  }

  static async load(): Promise<ResponseValidator> {
    return new ResponseValidator(await apiDocument());
  }

  /**
   * What is wrong with an answer, as sentences; empty when it conforms. `path` may carry a version and a query.
   * Answers that the document does not describe are wrong too.
   */
  problems(method: string, path: string, status: number, body: unknown): string[] {
    const plain = path.replace(/^\/v\d+\.\d+(?=\/)/, "").replace(/\?.*$/, "");
    const route = this.#routes.find(
      ({ pattern, operations }) => pattern.test(plain) && operations[method.toLowerCase()] !== undefined,
    );
    const operation = route?.operations[method.toLowerCase()];
    if (route === undefined || operation === undefined) return [`${method} ${plain} is not in the API document`];
    const response = operation.responses[String(status)];
    const where = `${method} ${route.path} → ${status}`;
    if (response === undefined) return status >= 400 ? this.#check(where, ERROR, body) : [`${where} is not documented`];
    return response.schema === undefined ? [] : this.#check(where, response.schema, body);
  }

  /** The whole response: status, headers, content type and body. `body` undefined means that it was not looked at. */
  check(response: {
    method: string;
    target: string;
    status: number;
    headers: ReadonlyMap<string, string>;
    body: Uint8Array | undefined;
  }): string[] {
    const { method, target, status, headers, body } = response;
    const path = target.replace(/^\w+:\/\/[^/]+/, "").replace(/\?.*$/, "");
    const where = `${method} ${path} → ${status}`;
    const problems: string[] = [];
    for (const name of ["api-version", "ostype", "server"]) {
      if (!headers.has(name)) problems.push(`${where}: no ${name} header`);
    }
    const type = headers.get("content-type")?.split(";")[0]?.trim() ?? "";
    const text = body === undefined || method === "HEAD" ? undefined : new TextDecoder().decode(body);
    if (status >= 400) {
      if (text === undefined) return problems;
      // The docker CLI shows a message only when the type is exactly this.
      if (headers.get("content-type") !== "application/json")
        problems.push(`${where}: an error of type ${JSON.stringify(type)}`);
      // Paths that are no operation have no entry in the document, and answer as they should.
      if (status === 404 && text.includes("page not found")) return problems;
      const described =
        this.#operation(method, path) === undefined
          ? this.#check(where, ERROR, parse(text))
          : this.problems(method, path, status, parse(text));
      return [...problems, ...described];
    }
    const operation = this.#operation(method, path);
    if (operation === undefined) return [...problems, `${where}: not in the API document`];
    if (status === 101) return problems;
    if (status === 204 || status === 304 || text === undefined || text === "") {
      return [...problems, ...(operation.responses[String(status)] ? [] : [`${where}: not documented`])];
    }
    // The document describes the newest shapes.
    const version = Number(/^\/v1\.(\d+)\//.exec(path)?.[1] ?? Number.POSITIVE_INFINITY);
    const older = version < NEWEST_SHAPES && OLDER_SHAPES.some((pattern) => pattern.test(path));
    const produced = [...(operation.produces ?? this.document.produces), ...(older ? ["application/json"] : [])];
    if (!produced.includes(type) && !STREAM_TYPES.includes(type)) {
      problems.push(`${where}: type ${JSON.stringify(type)} instead of ${produced.join(" or ")}`);
    }
    if (older) return problems;
    if (type === "application/json" && !isLines(text)) {
      return [...problems, ...this.problems(method, path, status, parse(text))];
    }
    if (type === "application/json" || STREAM_TYPES.includes(type)) {
      for (const line of text.split(/[\n\x1e]+/)) {
        if (line.trim() === "") continue;
        const value = parse(line);
        if (typeof value !== "object" || value === null) problems.push(`${where}: a line that is no JSON object`);
        else if (/\/events$/.test(path)) problems.push(...this.problems(method, path, status, value));
      }
    }
    return problems;
  }

  #operation(method: string, path: string): ApiOperation | undefined {
    const plain = path.replace(/^\/v1\.\d+(?=\/)/, "");
    const route = this.#routes.find(
      ({ pattern, operations }) => pattern.test(plain) && operations[method.toLowerCase()] !== undefined,
    );
    return route?.operations[method.toLowerCase()];
  }

  #check(where: string, schema: ApiSchema, body: unknown): string[] {
    let validate = this.#compiled.get(where);
    if (validate === undefined) {
      validate = this.#ajv.compile(jsonSchema(schema));
      this.#compiled.set(where, validate);
    }
    if (validate(body)) return [];
    return (validate.errors ?? [])
      .map(({ instancePath, message }) => `${where}: ${instancePath || "body"} ${message}`)
      .filter((problem) => !UNDOCUMENTED.some((pattern) => pattern.test(problem)));
  }
}

/** Streams of JSON lines, which the document names by their older type. */
const STREAM_TYPES = ["application/jsonl", "application/x-ndjson", "application/json-seq"];

/** First version with today's shapes of what OLDER_SHAPES names. */
const NEWEST_SHAPES = 52;
const OLDER_SHAPES = [/\/system\/df$/, /\/events$/];

/** More than one JSON document, one per line: progress of a pull, stats, events. */
const isLines = (text: string): boolean => /\}\s*\n\s*\{/.test(text.trim()) && parse(text) === undefined;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // The schema says what is missing.
  }
}

/** Where dockerd itself departs from its document, and clients rely on it. */
const UNDOCUMENTED = [
  // Null while the process runs.
  /^GET \/exec\/\{id\}\/json → 200: \/ExitCode must be integer$/,
  // Null for a layer without a name.
  /^GET \/images\/\{name\}\/history → 200: \/\d+\/Tags must be array$/,
];

const ERROR: ApiSchema = { $ref: "#/definitions/ErrorResponse" };

/** Swagger 2.0 schema → JSON Schema: nullable types, and references into the one added schema. */
function jsonSchema(schema: ApiSchema): object {
  if (schema.$ref !== undefined) return { $ref: `api${schema.$ref}` };
  const { type, enum: values, properties, required, items, allOf, additionalProperties } = schema;
  const nullable = schema["x-nullable"] === true;
  return {
    ...(type === undefined ? {} : { type: nullable ? [type, "null"].flat() : type }),
    ...(values === undefined ? {} : { enum: nullable ? [...values, null] : values }),
    ...(properties === undefined
      ? {}
      : {
          properties: Object.fromEntries(Object.entries(properties).map(([name, value]) => [name, jsonSchema(value)])),
        }),
    ...(required === undefined ? {} : { required }),
    ...(items === undefined ? {} : { items: jsonSchema(items) }),
    ...(allOf === undefined ? {} : { allOf: allOf.map(jsonSchema) }),
    ...(additionalProperties === undefined
      ? {}
      : {
          additionalProperties:
            typeof additionalProperties === "object" ? jsonSchema(additionalProperties) : additionalProperties,
        }),
  };
}
