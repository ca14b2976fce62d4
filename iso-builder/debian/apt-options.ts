/** Options of apt's configuration files (`apt.conf`), by their full name in lower case; of lists, the last value. */
export type AptOptions = ReadonlyMap<string, string>;

const token = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|#(?!clear)[^\n]*|"([^"]*)"|([{};])|([^\s{};"]+)/g;

/**
 * Reads apt's configuration language: `Name::Part "value";`, and `Name { Part "value"; };`.
 * Facts: apt.conf(5). Directives (`#include`, `#clear`) are left out.
 */
export function parseAptOptions(text: string, into: Map<string, string> = new Map()): AptOptions {
  const scopes: string[] = [];
  let name: string | undefined;
  let value: string | undefined;
  const full = (last: string): string => [...scopes, last].join("::").toLowerCase();
  for (const [, quoted, sign, word] of text.matchAll(token)) {
    if (sign === "{") {
      scopes.push(name ?? "");
      [name, value] = [undefined, undefined];
    } else if (sign === "}") {
      scopes.pop();
      [name, value] = [undefined, undefined];
    } else if (sign === ";") {
      if (name !== undefined && value !== undefined) into.set(full(name), value);
      [name, value] = [undefined, undefined];
    } else if (name === undefined && word !== undefined) {
      name = word;
    } else if (name !== undefined) {
      value = quoted ?? word;
    }
  }
  return into;
}
