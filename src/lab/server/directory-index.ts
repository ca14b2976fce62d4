/** A directory as an HTML page. */
export interface IndexRow {
  name: string;
  link: string;
  modified?: Date;
  size?: number;
}

export function directoryIndex(title: string, rows: readonly IndexRow[]): string {
  const lines = rows.map(({ name, link, modified, size }) => {
    const cells = [`<a href="${escapeHtml(link)}">${escapeHtml(name)}</a>`, modified?.toISOString() ?? "", size ?? "-"];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  });
  const heading = escapeHtml(title);
  return (
    `<!DOCTYPE html>\n<html><head><title>${heading}</title></head><body><h1>${heading}</h1>\n<table>\n` +
    `<tr><th>Name</th><th>Last modified</th><th>Size</th></tr>\n${lines.join("\n")}\n</table></body></html>\n`
  );
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
