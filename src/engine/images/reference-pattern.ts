/** The `reference` filter of `docker images`: shell patterns as in Go's path.Match, against a name with or without its tag. */

/** @param name familiar, with tag or digest: `busybox:latest` */
export function matchesReference(pattern: string, name: string): boolean {
  const at = name.indexOf("@");
  const colon = name.lastIndexOf(":");
  const end = at >= 0 ? at : colon > name.lastIndexOf("/") ? colon : name.length;
  const repository = name.slice(0, end);
  const expression = patternExpression(pattern);
  return expression !== undefined && (expression.test(name) || expression.test(repository));
}

function patternExpression(pattern: string): RegExp | undefined {
  let source = "";
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern.charAt(index);
    if (character === "*") source += "[^/]*";
    else if (character === "?") source += "[^/]";
    else if (character === "[") {
      const end = pattern.indexOf("]", index + 2);
      if (end < 0) return undefined;
      source += pattern.slice(index, end + 1).replaceAll("\\", "\\\\");
      index = end;
    } else {
      if (character === "\\") index += 1;
      source += pattern.charAt(index).replace(/[.*+?^${}()|[\]\\/]/, "\\$&");
    }
  }
  try {
    return new RegExp(`^${source}$`);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined; // A damaged pattern matches nothing.
    throw error;
  }
}
