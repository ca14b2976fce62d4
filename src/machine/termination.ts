/** Resolves with the signal's name at the first SIGTERM or SIGINT. */
export function untilTermination(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(signal));
  });
}
