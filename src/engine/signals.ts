/** Linux signal names and numbers (x86-64), as Docker accepts them: KILL, SIGKILL, 9, RTMIN+3. */
import { invalid } from "./errors.ts";

const NAMES = [
  "",
  "HUP",
  "INT",
  "QUIT",
  "ILL",
  "TRAP",
  "ABRT",
  "BUS",
  "FPE",
  "KILL",
  "USR1",
  "SEGV",
  "USR2",
  "PIPE",
  "ALRM",
  "TERM",
  "STKFLT",
  "CHLD",
  "CONT",
  "STOP",
  "TSTP",
  "TTIN",
  "TTOU",
  "URG",
  "XCPU",
  "XFSZ",
  "VTALRM",
  "PROF",
  "WINCH",
  "IO",
  "PWR",
  "SYS",
];
const ALIASES: Record<string, number> = { IOT: 6, CLD: 17, POLL: 29, RTMIN: 34, RTMAX: 64 };
const LAST_SIGNAL = 64;

export const SIGKILL = 9;
export const SIGTERM = 15;

/** The signal's number. Throws EngineError invalid with Docker's text. */
export function signalNumber(text: string): number {
  if (/^\d+$/.test(text)) {
    const value = Number(text);
    if (value >= 1 && value <= LAST_SIGNAL) return value;
    throw invalid(`invalid signal: ${text}`);
  }
  const name = text.toUpperCase().replace(/^SIG/, "");
  const index = NAMES.indexOf(name);
  if (index > 0) return index;
  const realTime = /^(RTMIN|RTMAX)(?:([+-])(\d+))?$/.exec(name);
  if (realTime) {
    const offset = Number(realTime[3] ?? 0) * (realTime[2] === "-" ? -1 : 1);
    const value = (ALIASES[realTime[1] ?? ""] ?? 0) + offset;
    if (value >= 34 && value <= LAST_SIGNAL) return value;
  }
  const alias = ALIASES[name];
  if (alias !== undefined) return alias;
  throw invalid(`invalid signal: ${text}`);
}
