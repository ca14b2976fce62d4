/** Docker's list filters: unknown names are refused, labels match by key or key=value. */
import type { Filters } from "./contract.ts";
import { invalid } from "./errors.ts";

/** Refuse filters that this list does not know, as dockerd does. */
export function checkFilters(filters: Filters, known: readonly string[]): void {
  for (const name of filters.keys()) if (!known.includes(name)) throw invalid(`invalid filter '${name}'`);
}

/** True when the filter is absent or one of its values satisfies the test. */
export function anyOf(filters: Filters, name: string, test: (value: string) => boolean): boolean {
  const values = filters.get(name);
  return values === undefined || values.length === 0 || values.some(test);
}

/** Every `label` value must hold, and no `label!` value. */
export function labelsMatch(filters: Filters, labels: Record<string, string>): boolean {
  const holds = (expression: string): boolean => {
    const separator = expression.indexOf("=");
    if (separator < 0) return Object.hasOwn(labels, expression);
    const key = expression.slice(0, separator);
    return Object.hasOwn(labels, key) && labels[key] === expression.slice(separator + 1);
  };
  return (filters.get("label") ?? []).every(holds) && !(filters.get("label!") ?? []).some(holds);
}

/** A boolean filter value ("true", "1", "false", "0"), or undefined when absent. */
export function booleanFilter(filters: Filters, name: string): boolean | undefined {
  const values = filters.get(name);
  if (values === undefined || values.length === 0) return undefined;
  const meanings = values.map((value) => {
    if (["1", "t", "true", "True", "TRUE"].includes(value)) return true;
    if (["0", "f", "false", "False", "FALSE"].includes(value)) return false;
    throw invalid(`invalid filter '${name}=[${values.join(" ")}]'`);
  });
  if (new Set(meanings).size > 1) throw invalid(`invalid filter '${name}=[${values.join(" ")}]'`);
  return meanings[0];
}

/** Docker matches names and ids as regular expressions; a damaged expression is compared as text. */
export function expressionMatches(expression: string, text: string): boolean {
  try {
    return new RegExp(expression).test(text);
  } catch (error) {
    if (error instanceof SyntaxError) return text.includes(expression);
    throw error;
  }
}
