/**
 * The generated tables of docs/vsphere.md. `bun tests/vsphere/tables.ts` writes them; a test compares.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FILE_SERVICE, OPERATIONS, type Operation } from "../../src/vsphere/index.ts";
import { method, methodNames } from "../../src/vsphere/vim25/index.ts";
import { DIFFERENCES, SERVERS } from "./servers.ts";
import { UNPROVEN } from "./unproven.ts";

const ROOT = join(import.meta.dir, "../..");
export const PAGE = join(ROOT, "docs/vsphere.md");

const row = (...cells: string[]): string => `| ${cells.join(" | ")} |`;
const table = (head: string[], rows: string[][]): string =>
  [row(...head), row(...head.map(() => "---")), ...rows.map((cells) => row(...cells))].join("\n");
const code = (text: string): string => `\`${text}\``;

function operationRow(name: string, on: string, { privileges, purpose }: Operation): string[] {
  return [code(name), on, privileges.join(", "), purpose];
}

function operations(): string {
  const methods = Object.entries(OPERATIONS).map(([name, operation]) =>
    operationRow(name, method(name)?.on ?? "", operation),
  );
  const files = Object.entries(FILE_SERVICE).map(([name, operation]) => operationRow(`${name} /folder`, "", operation));
  return table(["method", "of", "privileges", "for"], [...methods, ...files]);
}

/** Methods that the lab's managed objects register: the names in files that do so. */
export function servedMethods(): string[] {
  const folder = join(ROOT, "src/lab");
  const known = new Set(methodNames());
  const served = new Set<string>();
  for (const file of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!file.endsWith(".ts") || file.endsWith(".test.ts")) continue;
    const text = readFileSync(join(folder, file), "utf8");
    if (!text.includes("this.methods(") && !/: Record<string, Method>/.test(text)) continue;
    for (const [, name = ""] of text.matchAll(/[\s{,[]"?([A-Z]\w+)"?\s*[:(,\]]/g))
      if (known.has(name)) served.add(name);
  }
  return [...served].sort();
}

function served(): string {
  const byType = Map.groupBy(servedMethods(), (name) => method(name)?.on ?? "");
  const rows = [...byType].sort(([a], [b]) => (a < b ? -1 : 1));
  return table(
    ["object", "methods"],
    rows.map(([type, names]) => [type, names.map(code).join(" ")]),
  );
}

const unproven = (): string =>
  table(
    ["not provable from here", "how the driver finds out", "what it does then", "tested by"],
    UNPROVEN.map(({ behaviour, probe, fallback, test }) => [behaviour, probe, fallback, test ? code(test.file) : "—"]),
  );

const differences = (): string =>
  table(
    ["difference", "servers", "what it means"],
    Object.entries(DIFFERENCES).map(([name, meaning]) => [
      name,
      SERVERS.filter((server) => server.differences.some((one) => one === name))
        .map((server) => server.name)
        .join(", "),
      meaning,
    ]),
  );

const TABLES: Record<string, () => string> = { operations, served, unproven, differences };

/** The page with its tables made anew. Throws when a table has lost its place. */
export function withTables(page: string): string {
  let text = page;
  for (const [name, make] of Object.entries(TABLES)) {
    const begin = `<!-- ${name}: made by tests/vsphere/tables.ts -->`;
    const end = `<!-- end of ${name} -->`;
    const from = text.indexOf(begin);
    const to = text.indexOf(end, from);
    if (from < 0 || to < 0) throw new Error(`docs/vsphere.md has no place for the table "${name}"`);
    text = `${text.slice(0, from + begin.length)}\n${make()}\n${text.slice(to)}`;
  }
  return text;
}

if (import.meta.main) writeFileSync(PAGE, withTables(readFileSync(PAGE, "utf8")));
