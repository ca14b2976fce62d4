/** A logger for one part of a daemon: one line per message with time and part, on stderr. */
export function log(part: string): (message: string) => void {
  return (message) => {
    process.stderr.write(`${new Date().toISOString()} ${part}: ${message.replaceAll("\n", "\n  ")}\n`);
  };
}
