import { compareDebVersions } from "./version";

/** A package that another needs. */
export interface DebDependency {
  name: string;
  relation?: "<<" | "<=" | "=" | ">=" | ">>";
  version?: string;
}

/**
 * The packages that a field such as `Depends` names: each needed, any of its alternatives being enough.
 * Facts: Debian Policy Manual 7.1. Restrictions to architectures and build profiles do not occur in binary packages.
 */
export function parseDependencies(field: string): DebDependency[][] {
  return field
    .split(",")
    .map((one) => one.split("|").flatMap((alternative) => parseOne(alternative) ?? []))
    .filter((alternatives) => alternatives.length > 0);
}

function parseOne(text: string): DebDependency | undefined {
  const [, name, relation, version] =
    /^\s*([a-z0-9][a-z0-9+.-]*)(?::[a-z0-9]+)?\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([^\s)]+)\s*\))?/.exec(text) ?? [];
  if (name === undefined) return undefined;
  if (relation === undefined || version === undefined) return { name };
  // The old forms "<" and ">" mean "or equal".
  const exact =
    relation === "<" ? "<=" : relation === ">" ? ">=" : (relation as NonNullable<DebDependency["relation"]>);
  return { name, relation: exact, version };
}

/** Whether a version is what is needed; `undefined`, as a virtual package has it, fits only where any version does. */
export function fitsDependency(version: string | undefined, need: DebDependency): boolean {
  if (need.relation === undefined || need.version === undefined) return true;
  if (version === undefined) return false;
  const order = compareDebVersions(version, need.version);
  switch (need.relation) {
    case "<<":
      return order < 0;
    case "<=":
      return order <= 0;
    case "=":
      return order === 0;
    case ">=":
      return order >= 0;
    case ">>":
      return order > 0;
  }
}
