/** Environment variable that makes daemons log details when it is `debug`. */
export const LOG_LEVEL_VARIABLE = "VCH_LOG";

/** The logger of a part for details, or undefined when nobody asked for them. */
export const debugLog = (part: string): ((message: string) => void) | undefined =>
  process.env[LOG_LEVEL_VARIABLE] === "debug" ? log(part) : undefined;

/** A logger for one part of a daemon: one line per message with time and part, on stderr. */
export function log(part: string): (message: string) => void {
  return (message) => {
    process.stderr.write(`${new Date().toISOString()} ${part}: ${message.replaceAll("\n", "\n  ")}\n`);
  };
}
