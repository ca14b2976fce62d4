/** ISO 9660 level 2 allows 31 characters in all, dot included. */
const MAX_FILE_NAME = 30;
const MAX_DIRECTORY_NAME = 31;
const MAX_EXTENSION = 3;

/**
 * Plain ISO 9660 identifiers for the entries of one directory, unique in it: upper case, digits and `_`, one dot. Only
 * firmware-level readers such as isolinux see these; Linux takes the Rock Ridge names.
 */
export function isoIdentifiers(entries: Iterable<readonly [name: string, isDirectory: boolean]>): Map<string, string> {
  const identifiers = new Map<string, string>();
  const taken = new Set<string>();
  for (const [name, isDirectory] of entries) {
    const [stem, extension] = isDirectory ? [clean(name), ""] : splitExtension(name);
    const room = (isDirectory ? MAX_DIRECTORY_NAME : MAX_FILE_NAME) - extension.length;
    for (let attempt = 0; ; attempt++) {
      const suffix = attempt === 0 ? "" : `_${attempt.toString(36).toUpperCase()}`;
      const shortened = stem.slice(0, room - suffix.length) + suffix;
      const identifier = isDirectory ? shortened : `${shortened}.${extension};1`;
      if (taken.has(identifier)) continue;
      taken.add(identifier);
      identifiers.set(name, identifier);
      break;
    }
  }
  return identifiers;
}

function splitExtension(name: string): [stem: string, extension: string] {
  const dot = name.lastIndexOf(".");
  if (dot <= 0) return [clean(name), ""];
  const extension = clean(name.slice(dot + 1));
  return extension.length > MAX_EXTENSION ? [clean(name), ""] : [clean(name.slice(0, dot)), extension];
}

function clean(text: string): string {
  return text.toUpperCase().replace(/[^A-Z0-9_]/g, "_") || "_";
}
