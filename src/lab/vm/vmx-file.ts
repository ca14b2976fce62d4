/** The `.vmx` text format: `key = "value"` lines; special characters as `|` and two hex digits. */

/** Bytes of a `.vmx` that is read; larger ones are not configuration files. */
export const VMX_LIMIT = 4 * 1024 * 1024;

const escapeValue = (value: string): string =>
  value.replace(/[|"#\x00-\x1f]/g, (c) => `|${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);

const unescapeValue = (value: string): string =>
  value.replace(/\|([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

export function formatVmx(entries: Iterable<[string, string]>): string {
  let text = '.encoding = "UTF-8"\n';
  for (const [key, value] of entries) text += `${escapeValue(key)} = "${escapeValue(value)}"\n`;
  return text;
}

/** Keys keep their case; looking them up is the reader's business. Lines that are no assignments are skipped. */
export function parseVmx(text: string): Map<string, string> {
  const entries = new Map<string, string>();
  for (const line of text.split("\n")) {
    const match = /^\s*([^=#"\s][^="]*?)\s*=\s*"([^"]*)"\s*$/.exec(line);
    if (match?.[1] === undefined || match[1] === ".encoding") continue;
    entries.set(unescapeValue(match[1]), unescapeValue(match[2] ?? ""));
  }
  return entries;
}
