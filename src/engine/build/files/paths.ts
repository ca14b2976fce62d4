/** Paths of files in images and contexts: plain text, resolved without looking at any file system. */

/** A path without `.`, doubled slashes and a slash at either end; undefined when `..` leads above its beginning. */
export function normalised(path: string): string | undefined {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue;
    if (part === "..") {
      if (parts.pop() === undefined) return undefined;
    } else parts.push(part);
  }
  return parts.join("/");
}

/** The same, where `..` above the root is the root, as in a file system. */
export function cleaned(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** Absolute path of `path` as seen from the directory `base`. */
export const absolute = (base: string, path: string): string =>
  `/${cleaned(path.startsWith("/") ? path : `${base}/${path}`)}`;

export const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

export const joined = (directory: string, name: string): string =>
  directory === "" ? name : name === "" ? directory : `${directory}/${name}`;
