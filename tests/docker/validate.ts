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
    const plain = path.replace(/^\/v1\.\d+(?=\/)/, "").replace(/\?.*$/, "");
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

  #check(where: string, schema: ApiSchema, body: unknown): string[] {
    let validate = this.#compiled.get(where);
    if (validate === undefined) {
      validate = this.#ajv.compile(jsonSchema(schema));
      this.#compiled.set(where, validate);
    }
    if (validate(body)) return [];
    return (validate.errors ?? [])
      .map(({ instancePath, message }) => `${where}: ${instancePath || "body"} ${message}`)
      .filter((problem) => !UNDOCUMENTED.includes(problem));
  }
}

/** Where dockerd itself departs from its document, and clients rely on it. */
const UNDOCUMENTED = [
  // Null while the process runs.
  "GET /exec/{id}/json → 200: /ExitCode must be integer",
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
