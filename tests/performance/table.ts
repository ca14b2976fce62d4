/** Medians, and tables of them. */

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
};

/** Name, smallest, median and largest value of each row, in whole numbers. */
export function printTable(head: string, rows: readonly [string, readonly number[]][]): void {
  const width = Math.max(head.length, ...rows.map(([name]) => name.length));
  const cells = (...values: (string | number)[]): string => values.map((value) => String(value).padStart(9)).join("");
  console.log(`${head.padEnd(width)}${cells("min", "median", "max")}`);
  for (const [name, values] of rows) {
    const known = values.filter((value) => Number.isFinite(value));
    const text =
      known.length === 0
        ? cells("-", "-", "-")
        : cells(...[Math.min(...known), median(known), Math.max(...known)].map(Math.round));
    console.log(`${name.padEnd(width)}${text}`);
  }
}
