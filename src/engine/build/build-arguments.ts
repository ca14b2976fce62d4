/** ARG: what a build's request gives, what a Dockerfile declares, and which of it a stage sees. */

/** Usable by RUN without a declaration, and left out of history and cache (Dockerfile reference, predefined ARGs). */
const PREDEFINED = new Set(
  ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"].flatMap((name) => [name, name.toLowerCase()]),
);

export type GivenArguments = ReadonlyMap<string, string | null>;

/** Declared before the first FROM, and the platform's. */
export class GlobalArguments {
  readonly #values = new Map<string, string | undefined>();
  readonly #used = new Set<string>();

  constructor(
    readonly given: GivenArguments,
    automatic: Readonly<Record<string, string>>,
  ) {
    for (const [name, value] of Object.entries(automatic)) this.#values.set(name, value);
  }

  declare(name: string, value: string | undefined): void {
    this.#values.set(name, value);
    this.markUsed(name);
  }

  get(name: string): string | undefined {
    if (!this.#values.has(name)) return undefined;
    return this.given.get(name) ?? this.#values.get(name);
  }

  markUsed(name: string): void {
    this.#used.add(name);
  }

  /** Given by the request and never declared. */
  unused(): string[] {
    return [...this.given.keys()].filter((name) => !this.#used.has(name) && !PREDEFINED.has(name)).sort();
  }
}

/** What one stage has declared so far. */
export class StageArguments {
  readonly #declared = new Map<string, string | undefined>();

  constructor(readonly globals: GlobalArguments) {}

  declare(name: string, value: string | undefined): void {
    this.#declared.set(name, value);
    this.globals.markUsed(name);
  }

  get(name: string): string | undefined {
    if (!this.#declared.has(name))
      return PREDEFINED.has(name) ? (this.globals.given.get(name) ?? undefined) : undefined;
    return this.globals.given.get(name) ?? this.#declared.get(name) ?? this.globals.get(name);
  }

  /** `NAME=value` of those that have a value and are not in `environment`; `forHistory` leaves the predefined ones out. */
  environment(environment: readonly string[], forHistory = false): string[] {
    const taken = new Set(environment.map((entry) => entry.slice(0, entry.indexOf("="))));
    const names = new Set([
      ...this.#declared.keys(),
      ...[...this.globals.given.keys()].filter((name) => PREDEFINED.has(name)),
    ]);
    return [...names]
      .filter((name) => !taken.has(name) && !(forHistory && PREDEFINED.has(name) && !this.#declared.has(name)))
      .sort()
      .flatMap((name) => {
        const value = this.get(name);
        return value === undefined ? [] : [`${name}=${value}`];
      });
  }
}
